"""Volumes with their truth, from which patches are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.errors import ShapeError
from volproc.core.types import ZYX, Index, Region, Shape, region_shape, whole


@dataclass(frozen=True, slots=True, eq=False)
class ArraySource:
    """An array in memory, read as a source is."""

    array: npt.NDArray[Any]

    @property
    def shape(self) -> Shape:
        """Size in voxels."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels."""
        return self.array.dtype

    @property
    def chunks(self) -> Shape:
        """All at once."""
        return self.array.shape

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Copy one region."""
        return self.array[region].copy()

    def identity(self) -> str:
        """Nothing that outlives the process."""
        return f"array:{id(self.array)}"


@dataclass(frozen=True, slots=True, eq=False)
class MappedClasses:
    """Values of a class map, turned to positions in a model's classes while they are read."""

    source: Source
    positions: Mapping[int, int]

    @property
    def shape(self) -> Shape:
        """Size in voxels."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Type of the voxels."""
        return np.dtype(np.uint8)

    @property
    def chunks(self) -> Shape:
        """Region that storage reads at once."""
        return self.source.chunks

    def read(self, region: Region) -> npt.NDArray[np.uint8]:
        """Read one region and map it; values without a class become 0."""
        raw = self.source.read(region)
        out = np.zeros(raw.shape, np.uint8)
        for value, position in self.positions.items():
            out[raw == value] = position
        return out

    def identity(self) -> str:
        """Identity of what is mapped, and how."""
        return f"{self.source.identity()} as {sorted(self.positions.items())}"


@dataclass(frozen=True, slots=True, eq=False)
class LabelledVolume:
    """One volume with its class map.

    Parameters
    ----------
    name : str
        What messages call it.
    image : Source
        Voxels, (z, y, x), any real type. With ``noise``, the voxels without noise.
    classes : Source
        uint8 positions in the model's classes, of the same shape.
    shift, scale : float
        ``(voxel - shift) / scale`` is what the network sees, without ``noise``.
    positions : dict of int to ndarray of int, (n, 3)
        Some voxels of each class that occurs, the background left out.
    noise : Source or None
        Noise at level 1, to be added at a level that each patch draws for itself.
    noise_levels : tuple of float
        Lowest and highest level.
    noise_std : float
        Standard deviation of the noise at level 1.
    voxel_size : tuple of float
        Å per voxel, (z, y, x).
    centres : dict of int to ndarray of float, (n, 3)
        Known centres of the particles of a class, voxels. Of a class that is left out they are
        found in the class map.

    Raises
    ------
    ShapeError
        If image and class map differ in shape.
    """

    name: str
    image: Source
    classes: Source
    shift: float
    scale: float
    positions: dict[int, npt.NDArray[np.int64]]
    noise: Source | None = None
    noise_levels: tuple[float, float] = (0.0, 0.0)
    noise_std: float = 0.0
    voxel_size: ZYX[float] = (1.0, 1.0, 1.0)
    centres: dict[int, npt.NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_same_shape(self.name, self.image.shape, self.classes.shape)

    @property
    def shape(self) -> Shape:
        """Size in voxels."""
        return self.image.shape

    def draw_start(
        self, rng: np.random.Generator, patch: Shape, *, around: int | None = None
    ) -> Index:
        """First voxel of a random patch; it may be negative where the volume is smaller.

        Parameters
        ----------
        rng : numpy Generator
            Source of chance.
        patch : tuple of int
            Size of the patch.
        around : int, optional
            Class of which the patch holds at least one voxel.
        """
        room = np.array(self.shape) - patch
        if around is None or around not in self.positions:
            start = rng.integers(0, np.maximum(room, 0) + 1)
        else:
            voxels = self.positions[around]
            voxel = voxels[rng.integers(len(voxels))]
            start = voxel - rng.integers(0, patch)
        # Inference lays a patch over the middle of a smaller volume.
        start = np.where(room >= 0, np.clip(start, 0, np.maximum(room, 0)), -(-room // 2))
        return tuple(int(v) for v in start)

    def patch(
        self, start: Index, patch: Shape, rng: np.random.Generator | None = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """Scaled voxels and truth of one patch.

        Parameters
        ----------
        start : tuple of int
            First voxel; it may be negative.
        patch : tuple of int
            Size; beyond the volume the image is 0, the mean of a volume that is scaled by its
            mean, as inference pads it, and the truth is background.
        rng : numpy Generator, optional
            Draws the noise level and where the noise comes from; without it the noise is that of
            the place itself, at the middle of its range.

        Returns
        -------
        image : ndarray of float32, (z, y, x)
        classes : ndarray of uint8, (z, y, x)
        """
        region = tuple(
            slice(max(a, 0), min(a + p, n))
            for a, p, n in zip(start, patch, self.shape, strict=True)
        )
        image = self.image.read(region).astype(np.float32)
        scale = self.scale
        if self.noise is not None:
            level, place = self._draw_noise(region, rng)
            image += np.float32(level) * place
            scale = float(np.hypot(self.scale, level * self.noise_std))
        image -= np.float32(self.shift)
        image /= np.float32(scale)
        beyond = [
            (s.start - a, a + p - s.stop) for s, a, p in zip(region, start, patch, strict=True)
        ]
        classes = self.classes.read(region)
        if any(map(sum, beyond)):
            image = np.pad(image, beyond)
            classes = np.pad(classes, beyond)
        return image, classes

    def _draw_noise(
        self, region: Region, rng: np.random.Generator | None
    ) -> tuple[float, npt.NDArray[np.float32]]:
        """Level of the noise, and the noise of some place, mirrored at random."""
        assert self.noise is not None
        low, high = self.noise_levels
        if rng is None:
            return (low + high) / 2, self.noise.read(region)
        size = region_shape(region)
        start = rng.integers(0, np.array(self.shape) - size + 1)
        block = self.noise.read(
            tuple(slice(int(a), int(a) + n) for a, n in zip(start, size, strict=True))
        )
        axes = tuple(axis for axis in range(3) if rng.random() < 0.5)
        return float(rng.uniform(low, high)), np.flip(block, axes)


def check_same_shape(name: str, image: Shape, classes: Shape) -> None:
    """Refuse a class map of another shape than its image.

    Raises
    ------
    ShapeError
        With both shapes.
    """
    if tuple(image) != tuple(classes):
        msg = (
            f"the class map of {name} has shape {tuple(classes)}, its image {tuple(image)}. "
            "Give two arrays of one shape, (z, y, x)."
        )
        raise ShapeError(msg)


def keep_in_memory(source: Source) -> ArraySource:
    """Read all of a source."""
    return ArraySource(source.read(whole(source.shape)))


def choose_volume(
    volumes: Sequence[LabelledVolume], rng: np.random.Generator, foreground: float, turn: int
) -> tuple[LabelledVolume, int | None]:
    """Choose a volume, and the class that the next patch is placed on.

    Parameters
    ----------
    volumes : sequence of LabelledVolume
        All of them.
    rng : numpy Generator
        Source of chance.
    foreground : float
        Probability that the patch is placed on a class.
    turn : int
        Counts patches, so that classes take turns.

    Returns
    -------
    volume : LabelledVolume
    around : int or None
    """
    present = sorted({value for volume in volumes for value in volume.positions})
    if present and rng.random() < foreground:
        around = present[turn % len(present)]
        holders = [v for v in volumes if around in v.positions]
        return holders[int(rng.integers(len(holders)))], around
    weights = np.cumsum([float(prod(v.shape)) for v in volumes])
    chosen = int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))
    return volumes[min(chosen, len(volumes) - 1)], None
