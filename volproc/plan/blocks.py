"""Chunks, halos and the blocks they make: arithmetic only, no arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil, prod

from volproc.core.block import Block
from volproc.core.errors import HaloError, ShapeError
from volproc.core.types import Index, Region, Shape, axis_names


@dataclass(frozen=True, slots=True)
class ChunkGrid:
    """How a volume is cut into blocks.

    Parameters
    ----------
    shape : tuple of int
        Size of the volume, (z, y, x), in voxels; (y, x) for a micrograph.
    chunks : tuple of int
        Size of one write region, in voxels. The last chunk of an axis is smaller if the size
        does not divide evenly.
    halo : tuple of int
        Extra voxels read on each side. Dask calls this ``depth``. Empty means none.

    Raises
    ------
    HaloError
        If a halo is larger than its chunk, where the halo is needed, so that a block would need
        more than its direct neighbours.
    ShapeError
        If a size is not positive, or if the tuples have different lengths.

    Examples
    --------
    >>> grid = ChunkGrid(shape=(8, 64, 100), chunks=(8, 32, 32), halo=(0, 4, 4))
    >>> grid.numblocks, len(grid)
    ((1, 2, 4), 8)
    >>> [block.read[2] for block in grid][:4]
    [slice(0, 36, None), slice(28, 68, None), slice(60, 100, None), slice(92, 100, None)]
    """

    shape: Shape
    chunks: Shape
    halo: Shape = ()

    def __post_init__(self) -> None:
        if not self.halo:
            object.__setattr__(self, "halo", (0,) * len(self.shape))
        if not len(self.shape) == len(self.chunks) == len(self.halo):
            msg = (
                f"shape {self.shape}, chunks {self.chunks} and halo {self.halo} differ in their "
                "number of axes. Give one number an axis to each."
            )
            raise ShapeError(msg)
        if min(self.shape) < 1 or min(self.chunks) < 1 or min(self.halo) < 0:
            msg = (
                f"shape {self.shape} and chunks {self.chunks} must be positive and halo "
                f"{self.halo} must not be negative."
            )
            raise ShapeError(msg)
        axes = axis_names(len(self.shape))
        for axis, size, chunk, halo in zip(axes, self.shape, self.chunks, self.halo, strict=True):
            if halo > chunk and chunk < size:
                msg = (
                    f"halo {halo} exceeds chunk {chunk} along {axis}: a block would read past its "
                    f"neighbours. Use chunks of at least {halo} voxels, or a smaller halo."
                )
                raise HaloError(msg)

    @property
    def numblocks(self) -> Index:
        """Number of blocks along each axis."""
        return tuple(
            ceil(size / chunk) for size, chunk in zip(self.shape, self.chunks, strict=True)
        )

    @property
    def dask_chunks(self) -> tuple[tuple[int, ...], ...]:
        """Sizes of all chunks along each axis, as Dask writes them.

        >>> ChunkGrid((5, 4), (2, 4)).dask_chunks
        ((2, 2, 1), (4,))
        """
        return tuple(
            tuple(min(chunk, size - start) for start in range(0, size, chunk))
            for size, chunk in zip(self.shape, self.chunks, strict=True)
        )

    def __len__(self) -> int:
        return prod(self.numblocks)

    def __iter__(self) -> Iterator[Block]:
        for index in self.indices():
            yield self[index]

    def indices(self) -> Iterator[Index]:
        """Positions of all blocks, in raster order."""
        yield from product(*map(range, self.numblocks))

    def __getitem__(self, index: Index) -> Block:
        write = self._region(index, (0,) * len(self.shape))
        read = self._region(index, self.halo)
        return Block(tuple(index), read, write)

    def _region(self, index: Index, margin: Shape) -> Region:
        return tuple(
            slice(max(0, i * chunk - m), min(size, (i + 1) * chunk + m))
            for i, chunk, size, m in zip(index, self.chunks, self.shape, margin, strict=True)
        )
