"""What is seen at every plane between two slices of a volume: counts that merge over blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, product
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from volproc.core.errors import DtypeError
from volproc.core.types import Index, Shape
from volproc.reduce.objects import measure_block
from volproc.reduce.seam_kernels import (
    FOREGROUND,
    NUM_COUNTS,
    count_pairs,
    sum_mantissas,
)
from volproc.reduce.tables import ObjectTable, empty_table, merge_tables

Kind = Literal["labels", "intensity"]

Counts = npt.NDArray[Any]
"""Rows of planes: int64 for labels, Python integers for intensities."""

JUMP, PAIRS, STEP = 0, 1, 2
"""Columns of an intensity's counts: sum of the absolute differences in units of 2**-149, their
number, and from `STEP` on the signed sum over each tile of the plane."""

UNIT = 2.0**-149
"""The smallest float32."""

Tiles = tuple[tuple[int, ...], ...]
"""Edges of the tiles along each axis, 0 and the size of the volume included."""

MOST_TILES = 8
"""Tiles along an axis: more would tell little more, and take memory at every plane."""


def find_tiles(cuts: Sequence[Sequence[int]]) -> Tiles:
    """Cut planes into tiles of whole blocks, whose steps are seen apart.

    >>> find_tiles(((2, 2, 1), (1,) * 20))
    ((0, 2, 4, 5), (0, 3, 6, 9, 12, 15, 18, 20))
    """
    tiles = []
    for cut in cuts:
        edges = (0, *accumulate(cut))
        every = -(-len(cut) // MOST_TILES)
        tiles.append((*edges[:-1:every], edges[-1]))
    return tuple(tiles)


@dataclass(frozen=True, slots=True, eq=False)
class PlaneCounts:
    """Counts at every plane of a volume; row ``p`` of an axis is the plane before slice ``p``."""

    kind: Kind
    """What the voxels mean."""

    axes: tuple[Counts, ...]
    """One array an axis, (n, columns): see `volproc.reduce.seam_kernels` and `JUMP`."""

    objects: ObjectTable
    """Voxels and box of every object; empty for intensities."""

    @property
    def shape(self) -> Shape:
        """Size of the volume, voxels."""
        return tuple(len(counts) for counts in self.axes)


@dataclass(frozen=True, slots=True, eq=False)
class BlockPlanes:
    """What one block says of its planes, and the outer slices that its neighbours need."""

    index: Index
    offset: Shape
    tiles: Tiles
    counts: PlaneCounts
    """Rows of this block only; the first one lacks the pairs with the block before."""

    first: tuple[npt.NDArray[Any] | None, ...]
    """First slice along each axis; None at the volume's edge."""

    last: tuple[npt.NDArray[Any] | None, ...]
    """Last slice along each axis; None at the volume's edge."""


def scan_block(
    block: npt.NDArray[Any],
    *,
    kind: Kind,
    index: Index,
    offset: Shape,
    shape: Shape,
    tiles: Tiles,
) -> BlockPlanes:
    """Count what happens at every plane inside one block.

    Parameters
    ----------
    block : ndarray, (z, y, x) or (y, x); intensities also with channels first
        Labels, or intensities.
    kind : {"labels", "intensity"}
        What the voxels mean.
    index : tuple of int
        Place of the block among the blocks.
    offset, shape : tuple of int
        First voxel of the block in the volume, and size of the volume.
    tiles : tuple of tuple of int
        Of `find_tiles`.

    Returns
    -------
    planes : BlockPlanes

    Raises
    ------
    DtypeError
        If labels are not integers, or intensities are complex.

    Notes
    -----
    One pass an axis in compiled code, one more for the table of objects. Intensities count as
    float32, and their differences are summed exactly, by exponent.
    """
    values = _prepare(block, kind)
    if values.ndim == len(shape):
        values = values[None]  # one channel
    axes = tuple(_count_along(values, a, kind, offset, tiles) for a in range(len(shape)))
    objects = (
        measure_block(values[0], offset=offset, shape=shape)
        if kind == "labels"
        else empty_table(len(shape))
    )
    first: list[npt.NDArray[Any] | None] = []
    last: list[npt.NDArray[Any] | None] = []
    for a, (start, size) in enumerate(zip(offset, shape, strict=True)):
        stop = start + values.shape[1 + a]
        first.append(None if start == 0 else values.take([0], 1 + a))
        last.append(None if stop == size else values.take([-1], 1 + a))
    return BlockPlanes(
        index, offset, tiles, PlaneCounts(kind, axes, objects), tuple(first), tuple(last)
    )


def join_block(block: BlockPlanes, before: Mapping[int, BlockPlanes], shape: Shape) -> PlaneCounts:
    """Counts of one block, and of the planes that it shares with the blocks before it.

    Parameters
    ----------
    block : BlockPlanes
        The block.
    before : mapping of int to BlockPlanes
        The neighbour before it along each axis; none at the volume's edge.
    shape : tuple of int
        Size of the volume.

    Returns
    -------
    counts : PlaneCounts
        Of the whole volume's planes, with zeros elsewhere.
    """
    kind, axes = block.counts.kind, []
    for axis, own in enumerate(block.counts.axes):
        whole = np.zeros((shape[axis], own.shape[1]), own.dtype)
        start = block.offset[axis]
        whole[start : start + len(own)] = own
        near = block.first[axis]
        if near is not None:
            far = before[axis].last[axis]
            assert far is not None  # only the last block of an axis has none
            whole[start] += _count_between(far, near, block, axis)
        axes.append(whole)
    return PlaneCounts(kind, tuple(axes), block.counts.objects)


def join_blocks(
    own: Sequence[BlockPlanes], others: Sequence[BlockPlanes], shape: Shape
) -> PlaneCounts:
    """Counts of some blocks; those before them are among ``own`` or ``others``."""
    known = {b.index: b for b in (*own, *others)}
    return merge_planes([join_block(b, _before(b.index, known), shape) for b in own])


def merge_planes(parts: Sequence[PlaneCounts]) -> PlaneCounts:
    """Merge counts of different blocks, in any order and any tree."""
    axes = tuple(
        sum(columns[1:], columns[0]) for columns in zip(*(p.axes for p in parts), strict=True)
    )
    tables = [p.objects for p in parts]
    return PlaneCounts(parts[0].kind, axes, merge_tables(tables))


FAN_IN = 16
"""Parts that a collector merges at once."""


class PlaneCollector:
    """Joins blocks as they arrive, in any order, and forgets slices that nobody needs any more.

    Parameters
    ----------
    shape : tuple of int
        Size of the volume.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._waiting: dict[Index, BlockPlanes] = {}
        self._joined: set[Index] = set()
        self._levels: list[list[PlaneCounts]] = []

    @property
    def num_waiting(self) -> int:
        """Blocks whose outer slices are kept."""
        return len(self._waiting)

    def add(self, index: Index, block: BlockPlanes) -> None:
        """Take what one block says."""
        self._waiting[index] = block
        ready = [index, *_after(index)]
        for near in ready:
            self._join(near)
        for near in {i for one in ready for i in (one, *_lower(one))}:
            self._forget(near)

    def finish(self) -> PlaneCounts:
        """Counts of the whole volume."""
        return merge_planes([part for level in self._levels for part in level])

    def _join(self, index: Index) -> None:
        block = self._waiting.get(index)
        if block is None or index in self._joined:
            return
        needed = [i for i, face in zip(_lower(index), block.first, strict=True) if face is not None]
        if all(i in self._waiting for i in needed):
            self._keep(join_block(block, _before(index, self._waiting), self._shape), 0)
            self._joined.add(index)

    def _forget(self, index: Index) -> None:
        block = self._waiting.get(index)
        if block is None or index not in self._joined:
            return
        takers = [i for i, face in zip(_after(index), block.last, strict=True) if face is not None]
        if all(i in self._joined for i in takers):
            del self._waiting[index]

    def _keep(self, part: PlaneCounts, level: int) -> None:
        """Merge as a tree grows: a long table is merged a few times only."""
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(part)
        if len(self._levels[level]) == FAN_IN:
            merged = merge_planes(self._levels[level])
            self._levels[level] = []
            self._keep(merged, level + 1)


def lower_neighbours(index: Index) -> list[Index]:
    """Blocks before a block, one an axis, where there are such.

    >>> lower_neighbours((0, 2, 1))
    [(0, 1, 1), (0, 2, 0)]
    """
    return [i for i in _lower(index) if min(i) >= 0]


def _lower(index: Index) -> list[Index]:
    return [(*index[:a], index[a] - 1, *index[a + 1 :]) for a in range(len(index))]


def _after(index: Index) -> list[Index]:
    return [(*index[:a], index[a] + 1, *index[a + 1 :]) for a in range(len(index))]


def _before(index: Index, known: Mapping[Index, BlockPlanes]) -> dict[int, BlockPlanes]:
    return {a: known[i] for a, i in enumerate(_lower(index)) if i in known}


def _prepare(block: npt.NDArray[Any], kind: Kind) -> npt.NDArray[Any]:
    if kind == "labels":
        if block.dtype.kind not in "iub":
            msg = (
                f"labels are integers, got voxels of type {block.dtype}. For probabilities and "
                'other intensities use kind="intensity" (--kind intensity).'
            )
            raise DtypeError(msg)
        return np.ascontiguousarray(block, np.uint8 if block.dtype.kind == "b" else None)
    if block.dtype.kind not in "iubf":
        msg = f"intensities are real numbers, got {block.dtype}. Take the absolute value first."
        raise DtypeError(msg)
    return np.ascontiguousarray(block, np.float32)


def _count_along(
    values: npt.NDArray[Any], axis: int, kind: Kind, offset: Shape, tiles: Tiles
) -> Counts:
    """Counts at the planes across one axis of an array with a channel axis first."""
    if kind == "labels":
        counts = np.zeros((values.shape[1 + axis], NUM_COUNTS), np.int64)
        count_pairs(_lined(values, 1 + axis), counts)
        return counts
    sides = [len(edges) - 1 for a, edges in enumerate(tiles) if a != axis]
    found = np.zeros((values.shape[1 + axis], STEP + len(values) * prod(sides)), object)
    with np.errstate(invalid="ignore"):  # infinite less infinite is left out below
        steps = np.diff(values, axis=1 + axis)
    for place, region in _tiles_of(values.shape[1:], axis, offset, tiles):
        for channel, part in enumerate(steps):
            column = STEP + int(np.ravel_multi_index((channel, *place), (len(values), *sides)))
            bits = _lined(np.ascontiguousarray(part[region]), axis).view(np.uint32)
            sizes, signed = np.zeros((2, bits.shape[1], 255), np.int64)
            pairs = np.zeros(bits.shape[1], np.int64)
            sum_mantissas(bits, sizes, signed, pairs)
            found[1:, JUMP] += [_to_integer(row) for row in sizes]
            found[1:, PAIRS] += pairs.tolist()
            found[1:, column] += [_to_integer(row) for row in signed]
    return found


def _lined(values: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """View of an array with three axes, of which the middle one is the given one."""
    before, after = values.shape[:axis], values.shape[axis + 1 :]
    return values.reshape(prod(before), values.shape[axis], prod(after))


def _tiles_of(
    size: Shape, axis: int, offset: Shape, tiles: Tiles
) -> Iterator[tuple[Index, tuple[slice, ...]]]:
    """Tiles that a block touches, by their place in the plane, and what of the block is theirs."""
    spans: list[list[tuple[int | None, slice]]] = []
    for a, (n, start, edges) in enumerate(zip(size, offset, tiles, strict=True)):
        if a == axis:
            spans.append([(None, slice(None))])
            continue
        cuts = [(max(low - start, 0), min(high - start, n)) for low, high in pairwise(edges)]
        spans.append([(i, slice(low, high)) for i, (low, high) in enumerate(cuts) if low < high])
    for combination in product(*spans):
        yield (
            tuple(i for i, _ in combination if i is not None),
            tuple(part for _, part in combination),
        )


def _count_between(
    far: npt.NDArray[Any], near: npt.NDArray[Any], block: BlockPlanes, axis: int
) -> Counts:
    """Counts at the plane between the slices of two blocks, without the slices' own voxels."""
    pair = np.concatenate([far, near], axis=1 + axis)
    kind = block.counts.kind
    row: Counts = _count_along(pair, axis, kind, block.offset, block.tiles)[1]
    if kind == "labels":
        row[FOREGROUND] = 0
    return row


def _to_integer(sums: npt.NDArray[np.int64]) -> int:
    """Sum over the exponents as one integer, in units of 2**-149.

    Exponents 0 (subnormal) and 1 have the same unit.
    """
    return sum(int(sums[e]) << max(int(e) - 1, 0) for e in np.flatnonzero(sums))
