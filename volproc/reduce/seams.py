"""What is seen at every plane between two slices of a volume: counts that merge over blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from volproc.core.errors import DtypeError
from volproc.core.types import Index, Shape
from volproc.reduce.objects import measure_block
from volproc.reduce.seam_kernels import (
    MANTISSA_BITS,
    NUM_COUNTS,
    count_pairs,
    sum_mantissas,
)
from volproc.reduce.tables import ObjectTable, empty_table, merge_tables

Kind = Literal["labels", "intensity"]

Counts = npt.NDArray[Any]
"""Rows of planes: int64 for labels, Python integers for intensities."""

JUMP, PAIRS, NUM_JUMPS = 0, 1, 2
"""Columns of an intensity's counts: sum of the jumps in units of 2**-149, and their number."""


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
    counts: PlaneCounts
    """Rows of this block only; the first one lacks the pairs with the block before."""

    first: tuple[npt.NDArray[Any] | None, ...]
    """First slice along each axis; None at the volume's edge."""

    last: tuple[npt.NDArray[Any] | None, ...]
    """Last slice along each axis; None at the volume's edge."""


def scan_block(
    block: npt.NDArray[Any], *, kind: Kind, index: Index, offset: Shape, shape: Shape
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
    lead = values.ndim - len(shape)
    axes = tuple(_count_along(values, lead + a, kind) for a in range(len(shape)))
    objects = (
        measure_block(values, offset=offset, shape=shape)
        if kind == "labels"
        else empty_table(len(shape))
    )
    first = [
        None if offset[a] == 0 else np.ascontiguousarray(np.take(values, 0, lead + a))
        for a in range(len(shape))
    ]
    last = [
        None
        if offset[a] + values.shape[lead + a] == shape[a]
        else np.ascontiguousarray(np.take(values, -1, lead + a))
        for a in range(len(shape))
    ]
    return BlockPlanes(index, offset, PlaneCounts(kind, axes, objects), tuple(first), tuple(last))


def join_block(
    block: BlockPlanes, before: Mapping[int, BlockPlanes], shape: Shape
) -> PlaneCounts:
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
            whole[start] += _count_between(far, near, kind)
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
    axes = tuple(sum(columns[1:], columns[0]) for columns in zip(*(p.axes for p in parts)))
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


def _count_along(values: npt.NDArray[Any], axis: int, kind: Kind) -> Counts:
    """Counts at the planes across one axis of an array."""
    middle = values.shape[axis]
    outer, inner = values.shape[:axis], values.shape[axis + 1 :]
    lined = values.reshape(int(np.prod(outer, dtype=int)), middle, int(np.prod(inner, dtype=int)))
    if kind == "labels":
        counts = np.zeros((middle, NUM_COUNTS), np.int64)
        count_pairs(lined, counts)
        return counts
    found = np.zeros((middle, NUM_JUMPS), object)
    with np.errstate(invalid="ignore"):  # infinite less infinite is left out below
        jumps = np.abs(np.diff(lined, axis=1))
    sums = np.zeros((middle - 1, 255), np.int64)
    pairs = np.zeros(middle - 1, np.int64)
    sum_mantissas(np.ascontiguousarray(jumps).view(np.uint32), sums, pairs)
    found[1:, JUMP] = [_to_integer(row) for row in sums]
    found[1:, PAIRS] = pairs.tolist()
    return found


def _count_between(far: npt.NDArray[Any], near: npt.NDArray[Any], kind: Kind) -> Counts:
    """Counts at the plane between the slices of two blocks, without the slices' own voxels."""
    pair = np.stack([far.ravel(), near.ravel()])
    row = _count_along(pair, 0, kind)[1]
    if kind == "labels":
        row[-1] = 0
    return row


def _to_integer(sums: npt.NDArray[np.int64]) -> int:
    """Sum over the exponents as one integer, in units of 2**-149.

    Exponents 0 (subnormal) and 1 have the same unit, 2**(1 - 127 - 23) = 2**-149.
    """
    exponents = np.flatnonzero(sums)
    return sum(int(sums[e]) << max(int(e) - 1, 0) for e in exponents)


UNIT = 2.0 ** -(126 + MANTISSA_BITS)
"""Value of one unit of a sum of jumps: the smallest float32."""
