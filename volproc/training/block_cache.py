"""Blocks of sources that are kept in memory, the least recently used given up first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.types import Index, Region, Shape, region_shape
from volproc.plan.blocks import ChunkGrid

LEAST_SIDE = 32
"""Voxels: storage chunks are joined until a block has this side, so that there are few blocks."""


@dataclass(slots=True)
class BlockCache:
    """Blocks of any sources, of no more than a number of bytes together.

    Parameters
    ----------
    num_bytes : int
        Most bytes; a block that is larger by itself is not kept.
    """

    num_bytes: int
    blocks: OrderedDict[tuple[int, Index], npt.NDArray[Any]] = field(default_factory=OrderedDict)
    held: int = 0

    def find(self, key: tuple[int, Index]) -> npt.NDArray[Any] | None:
        """Return a block, or None if it is not held."""
        if key in self.blocks:
            self.blocks.move_to_end(key)
        return self.blocks.get(key)

    def keep(self, key: tuple[int, Index], block: npt.NDArray[Any]) -> None:
        """Take a block, and give up others for it."""
        if block.nbytes > self.num_bytes:
            return
        self.blocks[key] = block
        self.held += block.nbytes
        while self.held > self.num_bytes:
            _, old = self.blocks.popitem(last=False)
            self.held -= old.nbytes


class CachedSource:
    """A source whose blocks are kept while there is room.

    Parameters
    ----------
    source : Source
        What is read.
    cache : BlockCache
        Where blocks are kept; several sources share one.
    """

    def __init__(self, source: Source, cache: BlockCache) -> None:
        self.source, self.cache = source, cache
        sides = (
            min(n, c * max(1, -(-LEAST_SIDE // c)))
            for n, c in zip(source.shape, source.chunks, strict=True)
        )
        self.grid = ChunkGrid(source.shape, tuple(sides))

    @property
    def shape(self) -> Shape:
        """Size in voxels."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels."""
        return self.source.dtype

    @property
    def chunks(self) -> Shape:
        """Region that storage reads at once."""
        return self.source.chunks

    def identity(self) -> str:
        """Identity of what is read."""
        return self.source.identity()

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Read one region, from blocks that are held or are read now."""
        out = np.empty(region_shape(region), self.dtype)
        sides = self.grid.chunks
        first = [s.start // n for s, n in zip(region, sides, strict=True)]
        last = [-(-s.stop // n) for s, n in zip(region, sides, strict=True)]
        for step in np.ndindex(*(b - a for a, b in zip(first, last, strict=True))):
            index = tuple(a + i for a, i in zip(first, step, strict=True))
            place = self.grid[index].write
            both = tuple(
                slice(max(r.start, p.start), min(r.stop, p.stop))
                for r, p in zip(region, place, strict=True)
            )
            out[_inside(both, region)] = self._block(index, place)[_inside(both, place)]
        return out

    def _block(self, index: Index, place: Region) -> npt.NDArray[Any]:
        key = (id(self), index)
        block = self.cache.find(key)
        if block is None:
            block = self.source.read(place)
            self.cache.keep(key, block)
        return block


def _inside(box: Region, outer: Region) -> Region:
    """Where a box lies in one around it."""
    return tuple(
        slice(b.start - o.start, b.stop - o.start) for b, o in zip(box, outer, strict=True)
    )
