"""The rule of Cellpose's ``stitch3D`` on sparse overlaps, slice by slice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from volproc.reduce.linking_tables import SliceTable

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Stitching:
    """What the slices below some slice leave to it."""

    top: int
    """Number after which new objects are counted."""

    is_running: bool
    """Whether two neighbouring slices with instances have been compared."""

    ids: Ints
    """Objects in the last slice, ascending, each once."""

    areas: Ints
    """Their voxels in the last slice."""

    overlap_ids: Ints
    """Object of the last slice, for each overlap with the next one."""

    overlap_labels: Ints
    """Label in the next slice."""

    overlap_counts: Ints
    """Voxels."""

    early: Ints
    """Numbers of objects from before ``is_running``, ascending."""

    num_objects: int
    """Different objects so far."""


def no_stitching() -> Stitching:
    """Return what lies below the first slice."""
    none = np.zeros(0, np.int64)
    return Stitching(0, False, none, none, none, none, none, none, 0)


def stitch_slices(
    before: Stitching, table: SliceTable, *, start: int, stop: int, min_iou: float
) -> tuple[Stitching, Ints]:
    """Number the objects of some slices by the rule of Cellpose, going on from the slices below.

    Parameters
    ----------
    before : Stitching
        What the slices below gave.
    table : SliceTable
        Sections of the slices ``start:stop``, ascending by slice and label, and their overlaps
        with the next slices, that of ``stop`` included.
    start, stop : int
        Slices.
    min_iou : float
        Least intersection over union: ``stitch_threshold``.

    Returns
    -------
    after : Stitching
        For the slices above.
    ids : ndarray of int64, (n,)
        Number of each row of the table whose slice is before ``stop``, as
        ``cellpose.utils.stitch3D`` gives it.

    Notes
    -----
    Each section looks at the slice below only. It continues the object of greatest IoU, of equal
    ones that with the smaller number, if no other section overlaps that object more. So sections
    of equal IoU get one number. Numbers that the labels of a slice leave out stay unused, and
    until two neighbouring slices show instances, labels are taken as they are, so that distant
    objects may share a number. All this is Cellpose's.

    References
    ----------
    C. Stringer et al., "Cellpose: a generalist algorithm for cellular segmentation", Nature
    Methods 18 (2021); ``stitch3D`` of version 3.1.
    """
    edges = np.searchsorted(table.z, np.arange(start, stop + 1))
    pairs = np.searchsorted(table.lower, edges)
    ids = np.zeros(edges[-1], np.int64)
    for z in range(start, stop):
        rows = slice(edges[z - start], edges[z - start + 1])
        over = slice(pairs[z - start], pairs[z - start + 1])
        before, ids[rows] = _stitch_slice(
            before, table.label[rows], table.area[rows], is_first=z == 0, min_iou=min_iou
        )
        # stitched sections of one number count as one from here on
        one, place = np.unique(ids[rows], return_inverse=True)
        before = replace(
            before,
            ids=one,
            areas=_summed(table.area[rows], place, len(one)),
            overlap_ids=ids[table.lower[over]],
            overlap_labels=table.label[table.upper[over]],
            overlap_counts=table.count[over],
        )
    return before, ids


def _stitch_slice(
    before: Stitching, label: Ints, area: Ints, *, is_first: bool, min_iou: float
) -> tuple[Stitching, Ints]:
    """Numbers of the sections of one slice, given by ascending label."""
    greatest = int(label[-1]) if len(label) else 0
    is_compared = len(label) > 0 and len(before.ids) > 0 and not is_first
    if not is_compared and not before.is_running:
        early = np.union1d(before.early, label)
        return replace(before, top=greatest, early=early, num_objects=len(early)), label.copy()
    ids = np.zeros(len(label), np.int64)
    if is_compared:
        row, stitched = _partners(before, label, area, min_iou)
        ids[row] = stitched
    is_new = ids == 0
    taken = np.cumsum(~is_new)  # numbers are counted over all labels up to the greatest
    ids[is_new] = before.top + label[is_new] - taken[is_new]
    fresh = int(is_new.sum() - np.isin(ids[is_new], before.early).sum())
    return replace(
        before,
        top=before.top + greatest - int((~is_new).sum()),
        is_running=before.is_running or is_compared,
        num_objects=before.num_objects + fresh,
    ), ids


def _partners(before: Stitching, label: Ints, area: Ints, min_iou: float) -> tuple[Ints, Ints]:
    """Rows of a slice that continue an object, and the objects."""
    row = np.searchsorted(label, before.overlap_labels)
    column = np.searchsorted(before.ids, before.overlap_ids)
    key, place = np.unique(row * len(before.ids) + column, return_inverse=True)
    count = _summed(before.overlap_counts, place, len(key))
    row, column = key // len(before.ids), key % len(before.ids)
    iou = count / (before.areas[column] + area[row] - count)
    most = np.zeros(len(before.ids))
    np.maximum.at(most, column, iou)
    keep = (iou >= min_iou) & (iou == most[column])
    row, column, iou = row[keep], column[keep], iou[keep]
    order = np.lexsort((column, -iou, row))
    row, column = row[order], column[order]
    is_best = np.diff(row, prepend=-1) > 0
    return row[is_best], before.ids[column[is_best]]


def _summed(values: Ints, place: npt.NDArray[np.intp], size: int) -> Ints:
    """Exact sums of integers by place."""
    sums = np.zeros(size, np.int64)
    np.add.at(sums, place, values)
    return sums
