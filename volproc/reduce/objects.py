"""Measurements of labelled objects that merge: one row an object, whatever the blocks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import DtypeError, ShapeError
from volproc.core.types import Shape
from volproc.reduce.exact_sums import carry_digits, multiply_digits, split_digits
from volproc.reduce.measure_kernels import (
    COUNT,
    FIRST,
    LOWER,
    NONFINITE,
    PRODUCT,
    SUM,
    SURFACE,
    UPPER,
)
from volproc.reduce.measuring import (
    Scan,
    Wanted,
    check_label_type,
    lines_at_once,
)
from volproc.reduce.placement import check_place, global_index
from volproc.reduce.surfaces import collect_surface
from volproc.reduce.tables import PAIRS, IntensityTable, ObjectTable, merge_tables

Ints = npt.NDArray[np.int64]
Labels = npt.NDArray[Any]


def table_from_rows(
    rows: Ints, label: Ints, offset: Shape, shape: Shape, block_shape: Shape = ()
) -> ObjectTable:
    """Turn a compiled loop's rows, in voxels of a block, into a table in voxels of the volume.

    Parameters
    ----------
    rows : ndarray of int64, (n, 11 or more)
        As `volproc.reduce.measure_kernels` has them; always three axes.
    label : ndarray of int64, (n,)
        Label of each row; the table is sorted by it.
    offset, shape : tuple of int
        First voxel of the block in the volume, and size of the volume.
    block_shape : tuple of int
        Size of the block, with as many axes; not needed without rows.
    """
    ndim = len(shape)
    if not _is_ascending(label):
        order = np.argsort(label, kind="stable")
        rows, label = rows[order], label[order]
    count = rows[:, COUNT].copy()
    start = np.asarray(offset, np.int64)
    axes = slice(3 - ndim, 3)
    return ObjectTable(
        label=label,
        count=count,
        first=global_index(rows[:, FIRST], block_shape or shape, offset, shape),
        sums=rows[:, SUM : SUM + 3][:, axes] + count[:, None] * start,
        lower=rows[:, LOWER : LOWER + 3][:, axes] + start,
        upper=rows[:, UPPER : UPPER + 3][:, axes] + start,
    )


def _is_ascending(label: npt.NDArray[Any]) -> bool:
    return bool((label[1:] > label[:-1]).all())


def measure_block(
    labels: Labels,
    *,
    offset: Shape,
    shape: Shape,
    intensity: npt.NDArray[Any] | None = None,
    wanted: Wanted | None = None,
) -> ObjectTable:
    """Measure the objects in one block of a labelled volume.

    Parameters
    ----------
    labels : ndarray of int, (z, y, x) or (y, x)
        Instances; 0 is background. Labels are unique in the volume and may be sparse and as
        large as 2**63 - 1.
    offset : tuple of int
        First voxel of the block in the volume.
    shape : tuple of int
        Size of the whole volume, voxels.
    intensity : ndarray, same shape, optional
        Voxels to sum under each object. They are taken as float64: only integers above 2**53 are
        rounded.
    wanted : Wanted, optional
        What else to measure. Surface voxels are those that the block itself shows; the others
        follow from the table's ``outline``, see `volproc.reduce.surfaces`.

    Returns
    -------
    table : ObjectTable
        One row an object that has voxels in this block.

    Raises
    ------
    DtypeError
        If labels are not integers, or negative.
    PlanError
        If a side of the block has more than about a million voxels.
    ShapeError
        If the block does not lie in the volume, or the intensity has another shape.

    Notes
    -----
    One pass over runs of equal labels. Memory follows the number of objects in the block: about
    300 bytes an object, 500 with intensity.

    Examples
    --------
    >>> table = measure_block(np.array([[7, 7, 0], [0, 7, 9]]), offset=(0, 4), shape=(2, 9))
    >>> table.label, table.count, table.first
    (array([7, 9]), array([3, 1]), array([ 4, 15]))
    """
    check_place(labels.shape, offset, shape)
    check_label_type(labels.dtype)
    if intensity is not None and intensity.shape != labels.shape:
        msg = (
            f"labels and intensity differ in shape, got {labels.shape} and {intensity.shape}. "
            "Give two blocks of the same region."
        )
        raise ShapeError(msg)
    lead = (None,) * (3 - labels.ndim)
    volume = labels[lead]
    values = None if intensity is None else intensity[lead]
    options = wanted or Wanted()
    last, step = volume.shape[0] * volume.shape[1], lines_at_once(volume.shape)
    parts = []
    for line in range(0, last, step):
        scan = Scan(volume, values, options)
        scan.run(line, min(line + step, last))
        parts.append(_table_of(scan, labels.dtype, offset, shape, labels.shape))
    table = merge_tables(parts)
    if not options.surface:
        return table
    outline = collect_surface(volume, table.label, offset=offset, shape=shape)
    return replace(table, outline=outline)


def _table_of(
    scan: Scan, dtype: np.dtype[Any], offset: Shape, shape: Shape, block_shape: Shape
) -> ObjectTable:
    """Turn the rows of one scan into a table in voxels of the volume."""
    label = _checked(scan.label, dtype)
    order = np.argsort(label, kind="stable")
    rows = scan.rows.take(order, axis=0)
    table = table_from_rows(rows, label[order], offset, shape, block_shape)
    if scan.wanted.surface:
        table = replace(table, num_surface=rows[:, SURFACE].copy())
    if scan.wanted.products:
        table = replace(table, products=_moved_products(rows, offset))
    if scan.intensity is None:
        return table
    digits, squares, extremes = scan.sums
    extremes = extremes[order] + 0.0  # turns -0 into 0: which came first depends on the blocks
    part = IntensityTable(
        digits=carry_digits(digits[order]),
        least=extremes[:, 0],
        greatest=extremes[:, 1],
        num_nonfinite=rows[:, NONFINITE].copy(),
        window=scan.window,
        squares=None if squares is None else carry_digits(squares[order]),
    )
    return replace(table, intensity=part)


def _moved_products(rows: Ints, offset: Shape) -> Ints:
    """Sums of products of coordinates in the volume, from those in a block, (n, pairs, 3).

    With ``u = p + a`` and ``v = q + b`` the sum of ``u * v`` is that of ``p * q``, and ``a`` times
    that of ``q``, ``b`` times that of ``p``, and ``n * a * b``: none is negative.
    """
    ndim = len(offset)
    count = split_digits(rows[:, COUNT])
    sums = [split_digits(rows[:, SUM + 3 - ndim + axis]) for axis in range(ndim)]
    starts = [split_digits(np.full(len(rows), start)) for start in offset]
    full = {pair: i for i, pair in enumerate(PAIRS[3])}
    out = np.zeros((len(rows), len(PAIRS[ndim]), 4), np.int64)
    for i, (a, b) in enumerate(PAIRS[ndim]):
        column = full[a + 3 - ndim, b + 3 - ndim]
        out[:, i, :2] = split_digits(rows[:, PRODUCT + column])
        out[:, i] += multiply_digits(starts[a], sums[b]) + multiply_digits(starts[b], sums[a])
        if offset[a] and offset[b]:
            product = np.full(len(rows), offset[a] * offset[b])
            out[:, i] += multiply_digits(count, split_digits(product))
    out = carry_digits(out)
    out[..., 2] += out[..., 3] << 32  # an object of 2**42 voxels needs 84 bits
    return out[..., :3].copy()


def _checked(label: npt.NDArray[np.uint64], dtype: np.dtype[Any]) -> Ints:
    """Labels as int64, where they are positive and fit."""
    greatest = int(label.max(initial=0))
    if dtype.kind == "i" and greatest >= 2 ** (31 if dtype.itemsize <= 4 else 63):
        least = greatest - 2 ** (32 if dtype.itemsize <= 4 else 64)
        msg = (
            f"labels are positive with 0 as background, got {least}. Replace negative labels, or "
            "give the array as the unsigned integers that it was saved from."
        )
        raise DtypeError(msg)
    if greatest > np.iinfo(np.int64).max:
        msg = (
            f"labels reach up to {np.iinfo(np.int64).max}, got {greatest}. Number the objects "
            "from 1 first (volproc.label)."
        )
        raise DtypeError(msg)
    return label.astype(np.int64)
