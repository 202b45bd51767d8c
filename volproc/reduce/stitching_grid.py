"""Chunks of any size, the blocks that a halo makes of them, and which blocks see each other."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate, product
from math import prod

from volproc.core.errors import HaloError, ShapeError
from volproc.core.types import Index, Region, Shape, axis_names

Cuts = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class OverlapGrid:
    """How a volume is cut into chunks whose blocks overlap.

    Along one axis, three chunks and their blocks with a halo of 2::

        |aaaaaa|bbbbb|ccc|       chunks tile the volume
        |------==|               block of a
             |==----===|         block of b
                  |=====|        block of c; "=" is also seen by another block

    Parameters
    ----------
    cuts : tuple of tuple of int
        Sizes of the chunks along each axis, as ``dask.array.Array.chunks``; any sizes.
    halo : tuple of int
        Extra voxels of a block on each side, cut off at the volume's edge; (z, y, x) or (y, x).

    Raises
    ------
    HaloError
        If a halo is negative, or zero along an axis that is cut: two blocks that see no common
        voxel cannot be matched.
    ShapeError
        If the two differ in their axes, or a chunk is empty.

    Examples
    --------
    >>> grid = OverlapGrid(((4,), (6, 5, 3)), (0, 2))
    >>> [grid.block((0, i))[1] for i in range(3)]
    [slice(0, 8, None), slice(4, 13, None), slice(9, 14, None)]
    >>> grid.block_sizes
    ((4,), (8, 9, 5))
    """

    cuts: Cuts
    halo: Shape
    edges: Cuts = field(init=False, repr=False, compare=False)
    """Places where chunks begin along each axis, and the volume's end."""

    def __post_init__(self) -> None:
        if len(self.cuts) != len(self.halo) or len(self.cuts) not in (2, 3):
            msg = (
                f"chunks {self.cuts} and halo {self.halo} have one entry an axis, (z, y, x) or "
                "(y, x). Give as many to each."
            )
            raise ShapeError(msg)
        for axis, cut, halo in zip(axis_names(len(self.cuts)), self.cuts, self.halo, strict=True):
            if not cut or min(cut) < 1:
                msg = f"chunks have at least one voxel, got {cut} along {axis}. Drop empty ones."
                raise ShapeError(msg)
            if halo < 0 or (halo == 0 and len(cut) > 1):
                msg = (
                    f"the halo along {axis} is {halo}, and there are {len(cut)} chunks: blocks "
                    "without common voxels cannot be matched. Give a halo of at least 1, better "
                    "the length of the largest object, or one chunk along this axis."
                )
                raise HaloError(msg)
        edges = tuple((0, *accumulate(cut)) for cut in self.cuts)
        object.__setattr__(self, "edges", edges)

    @property
    def shape(self) -> Shape:
        """Size of the volume, voxels."""
        return tuple(edge[-1] for edge in self.edges)

    @property
    def numblocks(self) -> Index:
        """Number of blocks along each axis."""
        return tuple(map(len, self.cuts))

    def __len__(self) -> int:
        return prod(self.numblocks)

    @property
    def block_sizes(self) -> Cuts:
        """Sizes of the blocks along each axis, as ``dask.array.Array.chunks`` of the blocks."""
        return tuple(
            tuple(
                min(edge[-1], edge[i + 1] + halo) - max(0, edge[i] - halo)
                for i in range(len(edge) - 1)
            )
            for edge, halo in zip(self.edges, self.halo, strict=True)
        )

    def indices(self) -> Iterator[Index]:
        """Positions of all blocks, in raster order."""
        yield from product(*map(range, self.numblocks))

    def ordinal(self, index: Index) -> int:
        """Place of a block in raster order.

        >>> OverlapGrid(((2, 2), (3, 3, 3)), (1, 1)).ordinal((1, 2))
        5
        """
        place = 0
        for i, n in zip(index, self.numblocks, strict=True):
            place = place * n + i
        return place

    def chunk(self, index: Index) -> Region:
        """Region that a block owns, in voxels of the volume."""
        return tuple(slice(e[i], e[i + 1]) for e, i in zip(self.edges, index, strict=True))

    def block(self, index: Index) -> Region:
        """Region that a block sees: its chunk and the halo, inside the volume."""
        return tuple(
            slice(max(0, e[i] - h), min(e[-1], e[i + 1] + h))
            for e, i, h in zip(self.edges, index, self.halo, strict=True)
        )

    def partners(self, index: Index) -> list[Index]:
        """Blocks after this one in raster order that see some of the same voxels.

        With a halo of at most half a chunk these are the 13 (in two axes 4) upper neighbours.
        """
        return [i for i in self._near(index, 2) if i > tuple(index)]

    def givers(self, index: Index) -> list[Index]:
        """Blocks that see voxels of a block's chunk, the block itself among them."""
        return self._near(index, 1)

    def _near(self, index: Index, halos: int) -> list[Index]:
        spans = []
        for edge, i, halo in zip(self.edges, index, self.halo, strict=True):
            reach = halos * halo
            first = bisect_right(edge, edge[i] - reach, 1) - 1
            last = min(bisect_left(edge, edge[i + 1] + reach), len(edge) - 1)
            spans.append(range(first, last))
        return list(product(*spans))


def common(one: Region, other: Region) -> Region:
    """Region that two regions share; not empty if they see each other.

    >>> common((slice(0, 5),), (slice(3, 9),))
    (slice(3, 5, None),)
    """
    return tuple(
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )


def within(region: Region, frame: Region) -> Region:
    """Region in voxels of the frame that holds it.

    >>> within((slice(3, 5),), (slice(2, 9),))
    (slice(1, 3, None),)
    """
    return tuple(
        slice(s.start - f.start, s.stop - f.start) for s, f in zip(region, frame, strict=True)
    )
