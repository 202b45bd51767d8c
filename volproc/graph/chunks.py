"""The chunks of a lazy array as regions; what needs no more than that imports no Dask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, product

from volproc.core.types import Index, Region, Shape

Cuts = tuple[tuple[int, ...], ...]
"""Sizes of the chunks along each axis."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk of a lazy array."""

    index: Index
    region: Region

    @property
    def offset(self) -> Shape:
        """First voxel."""
        return tuple(s.start for s in self.region)


def iterate_chunks(cuts: Cuts) -> Iterator[Chunk]:
    """Chunks in raster order.

    >>> [chunk.offset for chunk in iterate_chunks(((2, 1), (4,)))]
    [(0, 0), (2, 0)]
    """
    # all chunks of one layer share its slice: a graph of many chunks is planned in half the time
    spans = [list(map(slice, accumulate((0, *cut[:-1])), accumulate(cut))) for cut in cuts]
    indices = product(*(range(len(cut)) for cut in cuts))
    yield from map(Chunk, indices, product(*spans))


def widen(region: Region, halo: int, shape: Shape) -> Region:
    """Region with a halo, as far as the volume goes.

    >>> widen((slice(0, 4), slice(4, 6)), 2, (9, 7))
    (slice(0, 6, None), slice(2, 7, None))
    """
    return tuple(
        slice(max(0, side.start - halo), min(size, side.stop + halo))
        for side, size in zip(region, shape, strict=True)
    )
