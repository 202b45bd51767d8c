"""Super-blocks: boxes of neighbouring blocks, boxes of such boxes, up to one that holds all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil, prod

from volproc.core.types import Index

NUM_BLOCKS = 16
"""Blocks of the smallest super-blocks, as far as there are so many."""

FAN_IN = 8
"""Super-blocks that a larger one holds."""

FIRST_AXIS = 4
"""How many blocks the smallest super-blocks span along y and x before they grow along the first
axis: flat ones, since objects are numbered layer by layer along it."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the tree: a grid of parts, grouped to boxes."""

    parts: Index
    """Parts along each axis: blocks, or the boxes of the level below."""

    box: Index
    """Parts of a box along each axis."""

    @property
    def boxes(self) -> Index:
        """Boxes along each axis."""
        return tuple(ceil(n / b) for n, b in zip(self.parts, self.box, strict=True))

    def indices(self) -> Iterator[Index]:
        """Positions of all boxes, in raster order."""
        yield from product(*map(range, self.boxes))

    def children(self, index: Index) -> list[Index]:
        """Positions of the parts of one box, in raster order.

        >>> Level((3, 5), (1, 4)).children((2, 1))
        [(2, 4)]
        """
        return list(product(*self._spans(index)))

    def outer_sides(self, index: Index) -> list[int]:
        """For each part of a box, its sides that are sides of the box, as bits.

        Bit ``2 * axis + side`` stands for one side, axes counted as (z, y, x) also in two axes.

        >>> Level((1, 1, 2), (1, 1, 2)).outer_sides((0, 0, 0))
        [31, 47]
        """
        lead = 3 - len(index)
        per_axis = [
            [((i == span[0]) | (i == span[-1]) << 1) << 2 * (lead + axis) for i in span]
            for axis, span in enumerate(self._spans(index))
        ]
        return [sum(bits) for bits in product(*per_axis)]

    def parent(self, part: Index) -> tuple[Index, int]:
        """Box that a part lies in, and the part's place among `children`."""
        box = tuple(p // b for p, b in zip(part, self.box, strict=True))
        place = 0
        for at, span in zip(part, self._spans(box), strict=True):
            place = place * len(span) + at - span[0]
        return box, place

    def _spans(self, index: Index) -> list[range]:
        return [
            range(i * b, min((i + 1) * b, n))
            for i, b, n in zip(index, self.box, self.parts, strict=True)
        ]


def plan_superblocks(numblocks: Index) -> list[Level]:
    """Group a grid of blocks to a tree of boxes.

    Parameters
    ----------
    numblocks : tuple of int
        Blocks along each axis.

    Returns
    -------
    levels : list of Level
        From the smallest boxes to the one that holds all; at least one.

    Examples
    --------
    >>> [level.boxes for level in plan_superblocks((8, 8, 8))]
    [(8, 2, 2), (4, 1, 1), (1, 1, 1)]
    """
    levels = [Level(numblocks, _box(numblocks, NUM_BLOCKS, FIRST_AXIS))]
    while prod(levels[-1].boxes) > 1:
        boxes = levels[-1].boxes
        levels.append(Level(boxes, _box(boxes, FAN_IN, 1)))
    return levels


def _box(parts: Index, size: int, first_axis: int) -> Index:
    """Box of some ``size`` parts, as near a cube as they allow, the first axis growing late."""
    box = [1] * len(parts)
    while prod(box) < size:
        growable = [a for a in range(len(parts)) if box[a] < parts[a]]
        if not growable:
            break
        axis = min(growable, key=lambda a: (box[a] * (first_axis if a == 0 else 1), -a))
        box[axis] *= 2
    return tuple(box)
