"""Class maps made of layers: picks painted as balls, and segmentations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.types import Region, Shape


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
        Centres, voxels.
    radius : float
        Voxels; a voxel whose centre lies closer is inside.
    """

    zyx: npt.NDArray[np.float64]
    radius: float

    def mask(self, region: Region) -> npt.NDArray[np.bool_]:
        """Where in a region the balls are."""
        corner = np.array([s.start for s in region])
        size = np.array([s.stop - s.start for s in region])
        out = np.zeros(tuple(size), bool)
        low = np.maximum(np.ceil(self.zyx - self.radius).astype(int) - corner, 0)
        high = np.minimum(np.floor(self.zyx + self.radius).astype(int) + 1 - corner, size)
        for k in np.flatnonzero((low < high).all(axis=1)):
            box = tuple(slice(a, b) for a, b in zip(low[k], high[k], strict=True))
            z, y, x = (
                np.arange(s.start, s.stop) + c - p
                for s, c, p in zip(box, corner, self.zyx[k], strict=True)
            )
            distance = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2
            out[box] |= distance <= self.radius**2
        return out

    def identity(self) -> str:
        """Hash of centres and radius."""
        return f"balls of {self.radius} at {hash(self.zyx.tobytes())}"


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
