"""Class maps made of layers: picks painted as balls, and segmentations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.types import ZYX, Region, Shape, region_shape


class Layer(Protocol):
    """One class, wherever it is."""

    def mask(self, region: Region) -> npt.NDArray[np.bool_]:
        """Where in a region the class is, (z, y, x)."""
        ...

    def identity(self) -> str:
        """Text that changes when the content may have changed."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Balls:
    """A ball about each point.

    Parameters
    ----------
    zyx : ndarray of float64, (n, 3)
        Centres, voxels; they are not rounded.
    radius : float
        Voxels; a voxel whose centre lies no farther away is inside.
    lengths : tuple of float
        Length of a voxel along z, y and x, in the unit of the radius: 1 where voxels are cubes.
    """

    zyx: npt.NDArray[np.float64]
    radius: float
    lengths: ZYX[float] = (1.0, 1.0, 1.0)

    def mask(self, region: Region) -> npt.NDArray[np.bool_]:
        """Where in a region the balls are."""
        out = np.zeros(region_shape(region), bool)
        for box, squared in squared_distances(self.zyx, self.radius, self.lengths, region):
            out[box] |= squared <= self.radius**2
        return out

    def identity(self) -> str:
        """Hash of centres and radius."""
        content = sha256(self.zyx.tobytes()).hexdigest()[:16]
        return f"balls of {self.radius} in {self.lengths} at {content}"


@dataclass(frozen=True, slots=True, eq=False)
class Bumps:
    """A Gaussian about each point: 1 at the centre, one half at the radius.

    Parameters
    ----------
    zyx, radius, lengths
        As in `Balls`: the voxels of one half and more are those of its balls.
    """

    zyx: npt.NDArray[np.float64]
    radius: float
    lengths: ZYX[float] = (1.0, 1.0, 1.0)

    def values(self, region: Region) -> npt.NDArray[np.float32]:
        """Heights in a region, the greatest where bumps overlap; 0 beyond three radii."""
        out = np.zeros(region_shape(region), np.float32)
        reach = 3 * self.radius
        for box, squared in squared_distances(self.zyx, reach, self.lengths, region):
            heights = np.where(squared <= reach**2, 0.5 ** (squared / self.radius**2), 0)
            out[box] = np.maximum(out[box], heights.astype(np.float32))
        return out


def squared_distances(
    zyx: npt.NDArray[np.float64], reach: float, lengths: ZYX[float], region: Region
) -> Iterator[tuple[Region, npt.NDArray[np.float64]]]:
    """Boxes around points that meet a region, with squared distances from the point.

    Parameters
    ----------
    zyx : ndarray of float64, (n, 3)
        Points, voxels of the volume.
    reach : float
        How far a box goes from its point.
    lengths : tuple of float
        Length of a voxel along z, y and x, in the unit of ``reach``.
    region : Region
        Part of the volume.

    Yields
    ------
    box : Region
        In the region.
    squared : ndarray of float64, (z, y, x)
        For each voxel of the box.
    """
    corner = np.array([s.start for s in region])
    size = np.array(region_shape(region))
    sides = reach / np.array(lengths)
    low = np.maximum(np.ceil(zyx - sides).astype(int) - corner, 0)
    high = np.minimum(np.floor(zyx + sides).astype(int) + 1 - corner, size)
    for k in np.flatnonzero((low < high).all(axis=1)):
        box = tuple(slice(a, b) for a, b in zip(low[k], high[k], strict=True))
        z, y, x = (
            (np.arange(s.start, s.stop) + c - p) * length
            for s, c, p, length in zip(box, corner, zyx[k], lengths, strict=True)
        )
        yield box, z[:, None, None] ** 2 + y[:, None] ** 2 + x**2


@dataclass(frozen=True, slots=True, eq=False)
class NonZero:
    """Where a segmentation is not zero."""

    source: Source

    def mask(self, region: Region) -> npt.NDArray[np.bool_]:
        """Where in a region the segmentation is not zero."""
        return self.source.read(region) != 0

    def identity(self) -> str:
        """Identity of the segmentation."""
        return self.source.identity()


@dataclass(frozen=True, slots=True, eq=False)
class LayeredClasses:
    """A class map, painted region by region; later layers hide earlier ones.

    Parameters
    ----------
    shape : tuple of int
        Size, (z, y, x), voxels.
    chunks : tuple of int
        Region that is best read at once.
    layers : sequence of (int, Layer)
        Position of a class, and where it is.
    """

    shape: Shape
    chunks: Shape
    layers: Sequence[tuple[int, Layer]]

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Type of the voxels."""
        return np.dtype(np.uint8)

    def read(self, region: Region) -> npt.NDArray[np.uint8]:
        """Paint one region."""
        out = np.zeros(tuple(s.stop - s.start for s in region), np.uint8)
        for position, layer in self.layers:
            out[layer.mask(region)] = position
        return out

    def identity(self) -> str:
        """Identities of all layers."""
        return "; ".join(f"{position}: {layer.identity()}" for position, layer in self.layers)
