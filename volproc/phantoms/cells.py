"""Synthetic stacks of crowded nuclei with known instances."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from volproc.core.errors import ConfigError, ShapeError

PIXEL_ANGSTROM = 5000.0
"""Å per pixel in y and x: half a micrometre."""

TRIES = 40
"""Places tried for each nucleus that would fit into the volume side by side."""

Image = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class CellSpec:
    """All that a stack of nuclei depends on.

    Parameters
    ----------
    shape : tuple of int
        Size in voxels, (z, y, x).
    seed : int
        The same seed gives the same voxels.
    z_step : float
        Spacing of slices over that of pixels; 4 is common in confocal stacks.
    radius : tuple of float
        Least and greatest mean radius, pixels.
    closeness : float
        Least distance of two nuclei, over the sum of their radii: 1 just touches, below it they
        press on one another and share a flat border.
    fill : float
        Part of the volume at which no more nuclei are added.
    noise : float
        Standard deviation of the noise, where 1 is the brightness of a nucleus.
    blur : float
        Standard deviation of the optical blur in y and x, pixels; along z it is twice that.

    Raises
    ------
    ConfigError
        If a number is out of range.
    ShapeError
        If there are not three axes.
    """

    shape: tuple[int, int, int]
    seed: int = 0
    z_step: float = 1.0
    radius: tuple[float, float] = (7.0, 14.0)
    closeness: float = 0.85
    fill: float = 0.35
    noise: float = 0.15
    blur: float = 1.0

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            msg = f"a stack of nuclei has three axes of one voxel or more, got {self.shape}."
            raise ShapeError(msg)
        least, greatest = self.radius
        given = (self.z_step, least, greatest, self.closeness, self.fill)
        if not all(isfinite(v) and v > 0 for v in given) or least > greatest:
            msg = f"z_step, radius, closeness and fill are positive, radius ascending, got {given}."
            raise ConfigError(msg)
        if self.fill >= 1 or not (self.noise >= 0 and self.blur >= 0):
            msg = (
                f"fill is below 1, noise and blur are not negative, got {self.fill}, {self.noise}, "
                f"{self.blur}."
            )
            raise ConfigError(msg)

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Å per voxel, (z, y, x)."""
        return (self.z_step * PIXEL_ANGSTROM, PIXEL_ANGSTROM, PIXEL_ANGSTROM)


def make_cells(spec: CellSpec) -> tuple[Image, Labels]:
    """Make a stack of bright, textured nuclei on an uneven ground, and their instances.

    Parameters
    ----------
    spec : CellSpec
        What it is made of.

    Returns
    -------
    image : ndarray of float32, (z, y, x)
        Grey values; a nucleus has about 1, the ground about 0.2.
    labels : ndarray of uint32, (z, y, x)
        Instances 1..n without gaps, 0 = background.

    Notes
    -----
    Ellipsoids at random places and turns; a voxel inside several belongs to the one whose centre
    is nearest in units of its own radii, so that nuclei that press on one another have a border.
    The whole stack is made at once, at some 30 bytes a voxel.

    Examples
    --------
    >>> image, labels = make_cells(CellSpec((8, 64, 64), seed=1))
    >>> image.shape, int(labels.max()) == len(np.unique(labels)) - 1
    ((8, 64, 64), True)
    """
    rng = np.random.default_rng(spec.seed)
    labels, brightness = _place(spec, rng)
    spacing = np.array([spec.z_step, 1.0, 1.0])
    texture = _smooth_noise(rng, spec.shape, 2.0 / spacing)
    signal = brightness[labels] * (1 + 0.15 * texture * (labels > 0))
    ground = 0.2 + 0.06 * _smooth_noise(rng, spec.shape, 40.0 / spacing)
    blur = spec.blur * np.array([2.0, 1.0, 1.0]) / spacing
    image = gaussian_filter((signal + ground).astype(np.float32), blur)
    image += (spec.noise * rng.standard_normal(spec.shape)).astype(np.float32)
    return image, labels


def _place(spec: CellSpec, rng: np.random.Generator) -> tuple[Labels, Image]:
    """Instances, and the brightness of each."""
    size = np.array(spec.shape) * (spec.z_step, 1.0, 1.0)
    num_tries = TRIES * (1 + int(np.prod(size) / np.prod(2 * np.full(3, spec.radius[0]))))
    owners = np.zeros(spec.shape, np.uint32)
    nearness = np.ones(spec.shape, np.float32)
    centres, radii = np.empty((0, 3)), np.empty(0)
    brightness = [0.0]
    for _ in range(num_tries):
        radius = rng.uniform(*spec.radius)
        centre = rng.uniform(-0.3 * radius, size + 0.3 * radius)
        axes = radius * rng.uniform(0.8, 1.25, 3)
        turn = _random_turn(rng)
        distance = np.linalg.norm(centres - centre, axis=1)
        if (distance < spec.closeness * (radii + radius)).any():
            continue
        if not _paint(owners, nearness, len(brightness), centre, axes, turn, spec.z_step):
            continue
        centres, radii = np.vstack([centres, centre]), np.append(radii, radius)
        brightness.append(rng.uniform(0.7, 1.3))
        if np.count_nonzero(owners) >= spec.fill * owners.size:
            break
    kept, labels = np.unique(owners, return_inverse=True)
    shift = 0 if kept[0] == 0 else 1  # where no background is left
    levels = np.array(brightness, np.float32)[kept]
    if shift:
        levels = np.r_[np.float32(0), levels]
    return (labels.reshape(spec.shape) + shift).astype(np.uint32), levels


def _paint(
    owners: Labels,
    nearness: Image,
    number: int,
    centre: npt.NDArray[np.float64],
    axes: npt.NDArray[np.float64],
    turn: npt.NDArray[np.float64],
    z_step: float,
) -> bool:
    """Give an ellipsoid the voxels that are nearest to it; whether it got any."""
    spacing = np.array([z_step, 1.0, 1.0])
    reach = axes.max()
    lower = np.maximum(np.floor((centre - reach) / spacing), 0).astype(int)
    upper = np.minimum(np.ceil((centre + reach) / spacing) + 1, owners.shape).astype(int)
    if (upper <= lower).any():
        return False
    box = tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))
    grid = np.meshgrid(*(np.arange(a, b) for a, b in zip(lower, upper, strict=True)), indexing="ij")
    offset = np.stack([g * s - c for g, s, c in zip(grid, spacing, centre, strict=True)], -1)
    scaled = np.sqrt((((offset @ turn.T) / axes) ** 2).sum(-1)).astype(np.float32)
    won = scaled < nearness[box]
    owners[box][won] = number
    nearness[box][won] = scaled[won]
    return bool(won.any())


def _random_turn(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A rotation, all of them alike likely."""
    turn, upper = np.linalg.qr(rng.standard_normal((3, 3)))
    return turn * np.sign(np.diag(upper))


def _smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int, int], sigma: npt.NDArray[np.float64]
) -> Image:
    """Noise of a grain, with deviation 1."""
    noise = gaussian_filter(rng.standard_normal(shape).astype(np.float32), sigma, mode="wrap")
    return noise / max(float(noise.std()), 1e-6)
