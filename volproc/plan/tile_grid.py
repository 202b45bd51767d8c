"""Blocks of a prediction by tiles: what one pass keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

from volproc.core.block import Block
from volproc.core.types import Index, Shape
from volproc.plan.tiles import HaloTiles, QuarterTiles


@dataclass(frozen=True, slots=True)
class TileGrid:
    """What passes keep as the blocks that a volume is written in.

    Parameters
    ----------
    tiles : HaloTiles or QuarterTiles
        How the volume is cut.
    batch_size : int
        Tiles of a pass, beside each other along the last axis.

    Examples
    --------
    >>> grid = TileGrid(QuarterTiles((20,), (8,)), 2)
    >>> [(b.index, b.read[0], b.write[0]) for b in grid][:2]
    [((0,), slice(0, 12, None), slice(0, 10, None)), ((1,), slice(8, 20, None), slice(10, 18, None))]
    >>> grid.chunks, grid.dask_chunks, len(grid)
    ((2,), ((10, 8, 2),), 3)
    """  # noqa: E501

    tiles: HaloTiles | QuarterTiles
    batch_size: int = 1

    @property
    def shape(self) -> Shape:
        """Size of the volume, voxels."""
        return self.tiles.shape

    @property
    def chunks(self) -> Shape:
        """Size of which all cuts between blocks are multiples, voxels."""
        if isinstance(self.tiles, HaloTiles):
            return self.tiles.core
        return tuple(p // 4 for p in self.tiles.patch)

    @property
    def numblocks(self) -> Index:
        """Passes along each axis."""
        *others, last = self.tiles.numblocks
        return (*others, -(-last // self.batch_size))

    @property
    def dask_chunks(self) -> tuple[tuple[int, ...], ...]:
        """Sizes of what is kept along each axis, as Dask writes them."""
        found = []
        for axis, count in enumerate(self.numblocks):
            index = [0] * len(self.shape)
            sides = []
            for number in range(count):
                index[axis] = number
                side = self[tuple(index)].write[axis]
                sides.append(side.stop - side.start)
            found.append(tuple(sides))
        return tuple(found)

    def __len__(self) -> int:
        return prod(self.numblocks)

    def __iter__(self) -> Iterator[Block]:
        for index in self.indices():
            yield self[index]

    def indices(self) -> Iterator[Index]:
        """Positions of all passes, in raster order."""
        yield from product(*map(range, self.numblocks))

    def __getitem__(self, index: Index) -> Block:
        *others, last = index
        begin = last * self.batch_size
        end = min(begin + self.batch_size, self.tiles.numblocks[-1]) - 1
        first, final = self.tiles[(*others, begin)], self.tiles[(*others, end)]
        reads = zip(first.read, final.read, self.shape, strict=True)
        read = tuple(slice(a.start, min(b.stop, size)) for a, b, size in reads)
        keeps = zip(first.keep, final.keep, strict=True)
        return Block(tuple(index), read, tuple(slice(a.start, b.stop) for a, b in keeps))
