"""Tables of sections, the instances of single slices, and of their overlaps, that merge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import DtypeError, PlanError, ShapeError
from volproc.core.types import Shape
from volproc.reduce.linking_kernels import count_overlaps, number_sections, paint_runs
from volproc.reduce.placement import check_place, global_index

Ints = npt.NDArray[np.int64]

MAX_BLOCK_VOXELS = 2**32 - 1

UNSEEN = np.int64(2**63 - 1)
"""First voxel of a section that a table only refers to."""


@dataclass(frozen=True, slots=True, eq=False)
class SliceRuns:
    """Slices as runs along x: where each begins and ends, and which section it belongs to."""

    rows: npt.NDArray[np.uint32]
    """First voxel and end, as raster indices in these slices, and number from 1, (3, m)."""

    shape: Shape
    """Size of the slices, (z, y, x)."""

    @property
    def plane(self) -> int:
        """Voxels of one slice."""
        return self.shape[1] * self.shape[2]

    def between(self, start: int, stop: int) -> SliceRuns:
        """Some of the slices, in memory of their own."""
        start, stop = max(0, start), min(stop, self.shape[0])
        edges = np.searchsorted(self.rows[0], [start * self.plane, stop * self.plane])
        rows = np.array(self.rows[:, edges[0] : edges[1]])
        rows[:2] -= np.uint32(start * self.plane)
        return SliceRuns(rows, (stop - start, *self.shape[1:]))

    def split(self) -> list[npt.NDArray[np.uint32]]:
        """Runs of each slice."""
        edges = np.searchsorted(self.rows[0], np.arange(1, self.shape[0]) * self.plane)
        return [np.ascontiguousarray(part) for part in np.split(self.rows, edges, axis=1)]

    def paint(self, table: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Give each voxel what a table holds for its number; 0 outside of sections."""
        out = np.zeros(self.shape, table.dtype)
        paint_runs(self.rows, table, out.reshape(-1))
        return out


@dataclass(frozen=True, slots=True, eq=False)
class SliceTable:
    """Sections of some slices, n rows, and the pairs of them that overlap, m rows.

    A section is named by its slice and its label there. A part of a volume gives the parts of
    the sections that it holds; `merge_slices` adds them up.
    """

    z: Ints
    """Slice of each section, (n,), in the volume."""

    label: Ints
    """Label in its slice, (n,), positive."""

    area: Ints
    """Number of voxels, (n,); 0 where a pair refers to a section that is counted elsewhere."""

    first: Ints
    """Smallest raster index in the volume of a voxel, (n,)."""

    lower: Ints
    """Row of the section of a pair that lies in the lower slice, (m,)."""

    upper: Ints
    """Row of the section in the upper slice, (m,)."""

    count: Ints
    """Voxels of the lower section whose neighbour so many slices up is in the upper, (m,)."""

    def __len__(self) -> int:
        return len(self.z)

    def below(self, stop: int) -> SliceTable:
        """Sections in slices before ``stop``, and their pairs among each other."""
        keep = self.z < stop
        if keep.all():
            return self
        pairs = keep[self.lower] & keep[self.upper]
        row = np.cumsum(keep) - 1
        return SliceTable(
            self.z[keep],
            self.label[keep],
            self.area[keep],
            self.first[keep],
            row[self.lower[pairs]],
            row[self.upper[pairs]],
            self.count[pairs],
        )


def measure_slices(
    labels: npt.NDArray[Any], *, offset: Shape, shape: Shape, max_distance_z: int
) -> tuple[SliceRuns, SliceTable]:
    """Number the sections of one block, measure them, and count which overlap.

    Parameters
    ----------
    labels : ndarray of int, (z, y, x)
        Slice-wise instances of the chunk, without a halo; 0 is background. A label is unique
        within its slice of the volume only.
    offset : tuple of int
        First voxel of the chunk in the volume.
    shape : tuple of int
        Size of the whole volume, voxels.
    max_distance_z : int
        Slices between two sections whose overlap counts, at most.

    Returns
    -------
    runs : SliceRuns
        The voxels of the sections, which are numbered from 1: row + 1 of the table.
    table : SliceTable
        In the order of first voxels.

    Raises
    ------
    DtypeError
        If labels are not integers, negative or above 2**63 - 1.
    PlanError
        If the block has 2**32 voxels or more.
    ShapeError
        If the block does not lie in the volume.

    Notes
    -----
    One pass over voxels and, for each distance, one over runs. Memory: twelve bytes a run, and
    while it runs 44.

    Examples
    --------
    >>> stack = np.array([[[7, 7, 0, 5]], [[0, 5, 5, 5]]])
    >>> runs, table = measure_slices(stack, offset=(0, 0, 0), shape=(2, 1, 4), max_distance_z=1)
    >>> runs.rows.T.tolist()
    [[0, 2, 1], [3, 4, 2], [5, 8, 3]]
    >>> table.label.tolist(), table.area.tolist()
    ([7, 5, 5], [2, 1, 3])
    >>> np.stack([table.lower, table.upper, table.count]).T.tolist()
    [[0, 2, 1], [1, 2, 1]]
    """
    check_place(labels.shape, offset, shape)
    if labels.size > MAX_BLOCK_VOXELS:
        msg = (
            f"a block of {labels.size} voxels is too large to link, the limit is "
            f"{MAX_BLOCK_VOXELS}. Use smaller chunks."
        )
        raise PlanError(msg)
    label, rows, voxels = number_sections(_as_unsigned(labels))
    _check_values(label, labels.dtype)
    runs = SliceRuns(voxels, labels.shape)
    one, other, count = count_pairs(runs, runs, gap=0, max_distance_z=max_distance_z)
    table = SliceTable(
        z=rows[:, 0] + offset[0],
        label=label.astype(np.int64),
        area=rows[:, 1].copy(),
        first=global_index(rows[:, 2], labels.shape, offset, shape),
        lower=one - 1,
        upper=other - 1,
        count=count,
    )
    return runs, table


def count_pairs(
    lower: SliceRuns, upper: SliceRuns, *, gap: int, max_distance_z: int
) -> tuple[Ints, Ints, Ints]:
    """Numbers of sections that overlap across slices, with their common voxels.

    Parameters
    ----------
    lower, upper : SliceRuns
        Two runs of slices with the same y, x.
    gap : int
        Slices from the first of ``lower`` to the first of ``upper``; 0 if both are the same.
    max_distance_z : int
        Slices between two sections, at most.

    Returns
    -------
    one, other, count : ndarray of int64, (m,)
        Number in ``lower``, number in ``upper``, voxels.
    """
    below, above = lower.split(), upper.split()
    parts = [
        count_overlaps(below[i], above[j], (j - i) * lower.plane)
        for i in range(len(below))
        for j in range(max(0, i + 1 - gap), min(len(above), i + 1 - gap + max_distance_z))
    ]
    empty = np.zeros(0, np.int64)
    columns = zip(*parts, strict=True) if parts else ((), (), ())
    one, other, count = (np.concatenate([empty, *column]) for column in columns)
    return one, other, count


def join_slices(
    lower: tuple[SliceRuns, SliceTable],
    uppers: Sequence[tuple[SliceRuns, SliceTable]],
    max_distance_z: int,
) -> SliceTable:
    """Count the overlaps of a block's last slices with the first of the blocks above it.

    Parameters
    ----------
    lower, uppers : pair of SliceRuns and SliceTable
        The last ``max_distance_z`` slices of one block and the first of each block above it,
        from below, all of a block that has fewer; and the tables that `measure_slices` gave.

    Returns
    -------
    table : SliceTable
        The pairs alone: it refers to sections, with an area of 0.
    """
    tables, parts = [lower[1]], []
    gap, start = lower[0].shape[0], len(lower[1])
    for runs, table in uppers:
        one, other, count = count_pairs(lower[0], runs, gap=gap, max_distance_z=max_distance_z)
        parts.append((one - 1, other - 1 + start, count))
        tables.append(table)
        gap, start = gap + runs.shape[0], start + len(table)
    one, other, count = (np.concatenate(column) for column in zip(*parts, strict=True))
    used, rows = np.unique(np.concatenate([one, other]), return_inverse=True)
    return SliceTable(
        z=_joined(tables, "z")[used],
        label=_joined(tables, "label")[used],
        area=np.zeros(len(used), np.int64),
        first=np.full(len(used), UNSEEN),
        lower=rows[: len(one)],
        upper=rows[len(one) :],
        count=count,
    )


def merge_slices(tables: Sequence[SliceTable]) -> SliceTable:
    """Add up tables of parts, in any order and any tree: the result is always the same.

    Parameters
    ----------
    tables : sequence of SliceTable
        At least one.

    Returns
    -------
    table : SliceTable
        Sections ascending by slice and label, pairs by their rows.

    Raises
    ------
    ShapeError
        If there are no tables.
    """
    if not tables:
        msg = "no tables to merge, got an empty sequence. Give the table of at least one block."
        raise ShapeError(msg)
    starts = np.cumsum([0, *(len(t) for t in tables)])
    z, label = _joined(tables, "z"), _joined(tables, "label")
    order = np.lexsort((label, z))
    z, label = z[order], label[order]
    is_new = np.ones(len(z), bool)
    is_new[1:] = (z[1:] != z[:-1]) | (label[1:] != label[:-1])
    begins = np.flatnonzero(is_new)
    row = np.empty(len(z), np.int64)
    row[order] = np.cumsum(is_new) - 1
    merged = SliceTable(
        z=z[begins],
        label=label[begins],
        area=_reduced(np.add, _joined(tables, "area")[order], begins),
        first=_reduced(np.minimum, _joined(tables, "first")[order], begins),
        lower=row[np.concatenate([t.lower + s for t, s in zip(tables, starts, strict=False)])],
        upper=row[np.concatenate([t.upper + s for t, s in zip(tables, starts, strict=False)])],
        count=_joined(tables, "count"),
    )
    return _merge_pairs(merged)


def _merge_pairs(table: SliceTable) -> SliceTable:
    """Sort pairs, and add up those of the same two sections."""
    key = table.lower * max(1, len(table)) + table.upper
    order = np.argsort(key, kind="stable")
    key = key[order]
    begins = np.flatnonzero(np.diff(key, prepend=-1))
    return replace(
        table,
        lower=table.lower[order[begins]],
        upper=table.upper[order[begins]],
        count=_reduced(np.add, table.count[order], begins),
    )


def _reduced(function: np.ufunc, values: Ints, begins: Ints) -> Ints:
    return function.reduceat(values, begins) if len(begins) else values[:0]


def _joined(tables: Sequence[SliceTable], name: str) -> Ints:
    return np.concatenate([getattr(table, name) for table in tables])


def _as_unsigned(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Contiguous labels in one of the two types that the compiled loops know."""
    check_slices_type(labels.dtype)
    width = max(4, labels.dtype.itemsize)
    if labels.dtype == np.dtype(f"i{width}"):
        return np.ascontiguousarray(labels).view(f"u{width}")
    return np.ascontiguousarray(labels, np.dtype(f"u{width}"))


def _check_values(label: npt.NDArray[np.uint64], dtype: np.dtype[Any]) -> None:
    """Refuse labels that are none; negative ones have become large by now."""
    greatest = int(label.max(initial=0))
    if dtype.kind == "i" and greatest > np.iinfo(dtype).max:
        value = greatest - 2 ** (64 if dtype.itemsize > 4 else 32)
        msg = (
            f"labels are positive with 0 as background, got {value}. Replace negative labels, or "
            "give the array as the unsigned integers that it was saved from."
        )
        raise DtypeError(msg)
    if greatest > np.iinfo(np.int64).max:
        msg = (
            f"labels reach up to {np.iinfo(np.int64).max}, got {greatest}. Number the instances "
            "of each slice from 1."
        )
        raise DtypeError(msg)


def check_slices_type(dtype: np.dtype[Any]) -> None:
    """Refuse voxels that are no labels.

    Raises
    ------
    DtypeError
        Naming the type.
    """
    if dtype.kind not in "iub":
        msg = (
            f"instances of slices are integer labels, got {dtype}. Label the slices first, or "
            "convert them if they hold whole numbers."
        )
        raise DtypeError(msg)
