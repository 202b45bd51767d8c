"""Painters of targets: what the voxels of a region become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from volproc.core.types import Region, Shape, region_shape
from volproc.io.create import create
from volproc.io.lazy import lazy_chunks
from volproc.plan.blocks import ChunkGrid
from volproc.training.layers import Bumps, Layer

Voxels = npt.NDArray[np.unsignedinteger] | npt.NDArray[np.floating]


class Painter(Protocol):
    """Makes the voxels of any region."""

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger] | np.dtype[np.floating]:
        """Type of the voxels."""
        ...

    def paint(self, region: Region) -> Voxels:
        """Voxels of one region, (z, y, x)."""
        ...


@dataclass(frozen=True, slots=True)
class LabelPainter:
    """Paints classes; where several overlap, the greatest value wins.

    Parameters
    ----------
    layers : sequence of (int, Layer)
        Value of a class, and where it is.
    dtype : dtype
        Type of the voxels.
    """

    layers: Sequence[tuple[int, Layer]]
    dtype: np.dtype[np.unsignedinteger]

    def paint(self, region: Region) -> Voxels:
        """Values of one region."""
        out = np.zeros(region_shape(region), self.dtype)
        for value, layer in self.layers:
            np.maximum(out, self.dtype.type(value), out=out, where=layer.mask(region))
        return out


@dataclass(frozen=True, slots=True)
class HeatPainter:
    """Paints one class as heights of 0 to 1.

    Parameters
    ----------
    bumps : Bumps or None
        The class as points.
    layers : sequence of Layer
        The class as segmentations, which are 1 inside.

    Notes
    -----
    float16 tells heights of 2⁻²⁴ from 0, so that the whole flank of a Gaussian is kept; a byte
    would end it at 1/510.
    """

    dtype: ClassVar[np.dtype[np.float16]] = np.dtype(np.float16)

    bumps: Bumps | None
    layers: Sequence[Layer]

    def paint(self, region: Region) -> Voxels:
        """Heights of one region."""
        out = np.zeros(region_shape(region), np.float16)
        if self.bumps is not None:
            out = self.bumps.values(region).astype(np.float16)
        for layer in self.layers:
            out[layer.mask(region)] = 1
        return out


def write_painted(
    address: str, shape: Shape, painter: Painter, *, voxel_size: float, overwrite: bool
) -> None:
    """Paint a volume block by block; nothing appears under the address before it is whole.

    Parameters
    ----------
    address : str
        Segmentation to write.
    shape : tuple of int
        Size, (z, y, x), voxels.
    painter : Painter
        Makes the voxels.
    voxel_size : float
        Å per voxel.
    overwrite : bool
        Replace one that is there.
    """
    sink = create(
        address,
        shape=shape,
        dtype=painter.dtype,
        voxel_size=(voxel_size,) * 3,
        kind="intensity" if painter.dtype.kind == "f" else "labels",
        overwrite=overwrite,
    )
    try:
        blocks = lazy_chunks(shape, sink.chunks, painter.dtype.itemsize)
        for block in ChunkGrid(shape, blocks):
            sink.write(block.write, painter.paint(block.write))
        sink.finish()
    except BaseException:
        sink.discard()
        raise
