"""How a lamella is cleaned: the numbers in voxels, and the steps of one block."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, prod
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source, decoded_chunks
from volproc.core.errors import ConfigError, PlanError, ShapeError, nearest
from volproc.core.types import Region, Shape
from volproc.plan.blocks import ChunkGrid
from volproc.reduce.gaussian import gaussian_radius, smooth_region
from volproc.reduce.lamella_voxels import THRESHOLD, lamella_voxels, probabilities_of

Hull = Literal["slice", "plane", "volume", "none"]
"""What a lamella becomes: the convex hull of each slice, all between two planes, CryoSiam's hull in
three dimensions, or what it is."""

Empty = Literal["error", "keep-empty"]
"""What becomes of a map in which no lamella is found."""

SMOOTH_NM = 3.0
"""Standard deviation of the smoothing, nm: slabs of 7 nm stay as thick, those of 4 nm vanish."""

SIGMA = (10.0, 5.0, 5.0)
"""CryoSiam's standard deviation, voxels, whatever their size."""

HALF = 0.5
"""Where a smoothed mask is cut: a flat face stays where it is."""

MOST_RADIUS = 256
"""Voxels per side that a smoothing may take: four times the memory of what is usual."""

SIDE = 192
"""Longest side of a block, voxels."""


@dataclass(frozen=True, slots=True)
class LamellaRule:
    """How a lamella is found in a map, and what it becomes; see `make_lamella_rule`."""

    sigma: tuple[float, ...]
    """Standard deviation of the smoothing along each axis, voxels."""

    hull: Hull
    """What the largest component becomes."""

    threshold: float | None = None
    """Probability above which voxels are lamella."""

    class_value: int | None = None
    """Class that is lamella."""

    min_voxels: float = 0.0
    """Size that the largest component needs."""

    is_compatible: bool = False
    """Smooth the probabilities themselves, with zeros around them, as CryoSiam does."""

    name: str = "the map"
    """Of the map, for messages."""

    @property
    def radius(self) -> Shape:
        """Halo of a block, voxels."""
        return gaussian_radius(self.sigma)

    def widened(self, region: Region, shape: Shape) -> Region:
        """Region with the halo, as far as the volume goes."""
        return tuple(
            slice(max(0, s.start - r), min(n, s.stop + r))
            for s, r, n in zip(region, self.radius, shape, strict=True)
        )

    def smooth(self, source: Source, region: Region) -> npt.NDArray[np.bool_]:
        """Read a region with its halo; give what is lamella after smoothing.

        Raises
        ------
        DtypeError, NonFiniteError
            If the voxels are none of a lamella.
        """
        read = self.widened(region, source.shape)
        voxels = source.read(read)
        if self.is_compatible:
            likely = probabilities_of(voxels, read, name=self.name).astype(np.float32, copy=False)
            smooth = smooth_region(likely, read, region, sigma=self.sigma, edge="constant")
            found: npt.NDArray[np.bool_] = smooth > self._least
            return found
        mask = lamella_voxels(
            voxels, read, name=self.name, threshold=self.threshold, class_value=self.class_value
        )
        if not mask.any():
            return np.zeros([s.stop - s.start for s in region], np.bool_)
        part = mask.astype(np.float32)
        smooth = smooth_region(part, read, region, sigma=self.sigma, edge="reflect")
        is_in: npt.NDArray[np.bool_] = smooth > HALF
        return is_in

    def raw(self, source: Source, region: Region) -> npt.NDArray[np.bool_]:
        """Voxels of a region that are lamella before anything is done."""
        likely = probabilities_of(source.read(region), region, name=self.name)
        found: npt.NDArray[np.bool_] = likely > self._least
        return found

    @property
    def _least(self) -> np.float32:
        return np.float32(THRESHOLD if self.threshold is None else self.threshold)

    def choose(self, counts: npt.NDArray[np.int64]) -> int | None:
        """Number of the largest component, from 1; the first one of several.

        Parameters
        ----------
        counts : ndarray of int64, (n,)
            Voxels of each component after smoothing.

        Returns
        -------
        number : int or None
            None where there is none, or all are too small.
        """
        if not len(counts):
            return None
        largest = int(np.argmax(counts))
        return largest + 1 if counts[largest] >= self.min_voxels else None

    def nothing(self, counts: npt.NDArray[np.int64]) -> ConfigError:
        """Error of a map without a lamella, to be raised."""
        if len(counts):
            found = f"the largest part has {int(counts.max())} voxels, fewer than the "
            found += f"{self.min_voxels:.0f} that were asked for (min_size_nm3=, --min-size)"
        else:
            found = "nothing is left of it after smoothing"
        msg = (
            f"{self.name} has no lamella: {found}. Look at it; a lower threshold or less smoothing "
            'may help, and empty="keep-empty" ("volproc lamella --empty keep-empty") gives an '
            "empty mask."
        )
        return ConfigError(msg)


def make_lamella_rule(
    shape: Shape,
    voxel_size: tuple[float, ...] | None,
    *,
    threshold: float | None = None,
    class_value: int | None = None,
    smooth_nm: float | None = None,
    min_size_nm3: float | None = None,
    hull: Hull = "slice",
    compat: Literal["cryosiam"] | None = None,
    name: str = "the map",
) -> LamellaRule:
    """Turn a user's numbers into voxels, and refuse those that cannot be.

    Parameters
    ----------
    shape : tuple of int
        Size of the map, (z, y, x).
    voxel_size : tuple of float or None
        Å per voxel, (z, y, x); not needed with ``compat``.
    threshold, class_value, smooth_nm, min_size_nm3, hull, compat
        As in `volproc.clean_lamella`.
    name : str
        Of the map, for messages.

    Raises
    ------
    ConfigError, PlanError, ShapeError
        As in `volproc.clean_lamella`.
    """
    _refuse_wrong(shape, hull, threshold, class_value)
    if compat is not None:
        given = {
            "class_value": class_value, "smooth_nm": smooth_nm, "min_size_nm3": min_size_nm3,
        }  # fmt: skip
        wrong = [key for key, value in given.items() if value is not None]
        if wrong or hull not in ("slice", "volume"):
            msg = (
                f"CryoSiam's own way has a smoothing of {SIGMA} voxels, no least size and hulls of "
                f"slices or of the volume, got {', '.join(wrong) or f'hull {hull}'}. Leave it out, "
                "or leave compat= out."
            )
            raise ConfigError(msg)
        return LamellaRule(SIGMA, hull, threshold, is_compatible=True, name=name)
    if hull == "volume":
        msg = 'the hull "volume" is CryoSiam\'s alone. Add compat="cryosiam", or use "slice".'
        raise ConfigError(msg)
    smooth, least = SMOOTH_NM if smooth_nm is None else smooth_nm, min_size_nm3 or 0.0
    for key, value in (("smooth_nm", smooth), ("min_size_nm3", least)):
        if not (isfinite(value) and value >= 0):
            msg = f"{key} is a number from 0 on, got {value}. Use 0 for none."
            raise ConfigError(msg)
    assert voxel_size is not None, "sizes in nm need a voxel size"
    rule = LamellaRule(
        tuple(10 * smooth / v for v in voxel_size),
        hull,
        threshold,
        class_value,
        least * 1000 / prod(voxel_size),
        name=name,
    )
    if max(rule.radius) > MOST_RADIUS:
        msg = (
            f"smoothing by {smooth:g} nm reaches {max(rule.radius)} voxels, and a block takes at "
            f"most {MOST_RADIUS} from its neighbours. Smooth less, or use a coarser map."
        )
        raise PlanError(msg)
    return rule


def _refuse_wrong(
    shape: Shape, hull: Hull, threshold: float | None, class_value: int | None
) -> None:
    """Refuse what cannot be in any way of cleaning."""
    if len(shape) != 3 or 0 in shape:
        msg = f"a lamella is cleaned in a volume, (z, y, x), got shape {shape}. Select one channel."
        raise ShapeError(msg)
    if hull not in get_args(Hull):
        msg = f'there is no hull "{hull}"; {nearest(str(hull), get_args(Hull))}'
        raise ConfigError(msg)
    if threshold is not None and not 0 <= threshold <= 1:
        msg = f"a threshold is a probability, in 0…1, got {threshold}. Use 0.5, say."
        raise ConfigError(msg)
    if threshold is not None and class_value is not None:
        msg = f"threshold {threshold} and class {class_value} exclude each other: give one of them."
        raise ConfigError(msg)


def lamella_grid(source: Source, *, side: int = SIDE) -> ChunkGrid:
    """Blocks of a map: near cubes, of whole storage chunks where those are smaller.

    Parameters
    ----------
    source : Source
        The map.
    side : int
        Longest side of a block, voxels.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> lamella_grid(SimpleNamespace(shape=(40, 960, 928), chunks=(1, 960, 64))).chunks
    (40, 192, 192)
    """
    sizes = []
    for size, chunk in zip(source.shape, decoded_chunks(source), strict=True):
        longest = max(1, side // chunk) * chunk if chunk <= side else side
        number = -(-size // longest)
        even = -(-size // number)
        sizes.append(min(size, -(-even // chunk) * chunk if chunk <= side else even))
    return ChunkGrid(source.shape, tuple(sizes))


def as_mask(found: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Mask as it is written: 0 and 1."""
    return np.ascontiguousarray(found).astype(np.uint8)
