"""Measurements of labelled objects that merge: one row an object, whatever the blocks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.errors import DtypeError, ShapeError
from volproc.core.types import Shape, axis_names
from volproc.reduce.exact_sums import carry_digits, digits_to_float
from volproc.reduce.kernels import (
    COUNT,
    FIRST,
    LOWER,
    SUM,
    UPPER,
    measure_any,
    measure_intensity,
)
from volproc.reduce.placement import check_place, global_index, lift
from volproc.reduce.tables import IntensityTable, ObjectTable

Ints = npt.NDArray[np.int64]
Labels = npt.NDArray[Any]


def table_from_rows(
    rows: Ints, label: Ints, offset: Shape, shape: Shape, block_shape: Shape = ()
) -> ObjectTable:
    """Turn a compiled loop's rows, in voxels of a block, into a table in voxels of the volume.

    Parameters
    ----------
    rows : ndarray of int64, (n, NUM_COLUMNS)
        As the loops in `volproc.reduce.kernels` give them; always three axes.
    label : ndarray of int64, (n,)
        Label of each row; the table is sorted by it.
    offset, shape : tuple of int
        First voxel of the block in the volume, and size of the volume.
    block_shape : tuple of int
        Size of the block, with as many axes; not needed without rows.
    """
    ndim = len(shape)
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


def measure_block(
    labels: Labels,
    *,
    offset: Shape,
    shape: Shape,
    intensity: npt.NDArray[Any] | None = None,
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
        Voxels to sum under each object. They are taken as float32: integers above 2**24 and
        float64 are rounded, everything smaller is exact.

    Returns
    -------
    table : ObjectTable
        One row an object that has voxels in this block.

    Raises
    ------
    DtypeError
        If labels are not integers, or negative.
    ShapeError
        If the block does not lie in the volume, or the intensity has another shape.

    Notes
    -----
    One pass over runs of equal labels, one more for the intensity. Memory follows the number of
    objects in the block: about 100 bytes an object, 200 with intensity. A block holds up to
    2**31 voxels.

    Examples
    --------
    >>> table = measure_block(np.array([[7, 7, 0], [0, 7, 9]]), offset=(0, 4), shape=(2, 9))
    >>> table.label, table.count, table.first
    (array([7, 9]), array([3, 1]), array([ 4, 15]))
    """
    check_place(labels.shape, offset, shape)
    _check_labels(labels)
    if intensity is not None and intensity.shape != labels.shape:
        msg = (
            f"labels and intensity differ in shape, got {labels.shape} and {intensity.shape}. "
            "Give two blocks of the same region."
        )
        raise ShapeError(msg)
    volume = lift(labels.view(np.uint8) if labels.dtype == bool else labels)
    rows, keys, places = measure_any(volume)
    key = np.zeros(len(rows), np.int64)
    used = keys != 0
    if used.any() and keys.max() > np.iinfo(np.int64).max:
        msg = (
            f"labels reach up to {np.iinfo(np.int64).max}, got {keys.max()}. Number the objects "
            "from 1 first (label_block)."
        )
        raise DtypeError(msg)
    key[places[used]] = keys[used].astype(np.int64)
    table = table_from_rows(rows, key, offset, shape, labels.shape)
    if intensity is None:
        return table
    values = lift(_as_real(intensity))
    sums = measure_intensity(volume, values, keys, places, len(rows))
    return replace(table, intensity=_intensity_table(sums, np.argsort(key, kind="stable")))


def finish(table: ObjectTable) -> pd.DataFrame:
    """Turn sums into measurements.

    Returns
    -------
    frame : DataFrame
        One row an object, ascending by ``label``: ``num_voxels``; centroid ``z``, ``y``, ``x``,
        float64 voxels; half-open bounding box ``z_min``, ``z_max``, …; ``first``, the raster
        index of the first voxel; ``class_value`` where known; ``mean_intensity``,
        ``min_intensity``, ``max_intensity`` where there was a second volume, NaN for objects
        with NaN or infinite voxels. A micrograph has no ``z``.

    Examples
    --------
    >>> table = measure_block(np.array([[7, 7, 0], [0, 7, 9]]), offset=(0, 4), shape=(2, 9))
    >>> finish(table)[["label", "num_voxels", "y", "x", "x_min", "x_max"]]
       label  num_voxels         y         x  x_min  x_max
    0      7           3  0.333333  4.666667      4      6
    1      9           1  1.000000  6.000000      6      7
    """
    axes = axis_names(table.ndim)
    centroids = table.centroids
    columns: dict[str, npt.NDArray[Any]] = {"label": table.label, "num_voxels": table.count}
    columns |= {axis: centroids[:, i] for i, axis in enumerate(axes)}
    for i, axis in enumerate(axes):
        columns[f"{axis}_min"] = table.lower[:, i]
        columns[f"{axis}_max"] = table.upper[:, i]
    columns["first"] = table.first
    if table.classes is not None:
        columns["class_value"] = table.classes
    if table.intensity is not None:
        part = table.intensity
        broken = part.num_nonfinite > 0
        total = digits_to_float(part.digits)
        columns["mean_intensity"] = np.where(broken, np.nan, total / table.count)
        columns["min_intensity"] = np.where(broken, np.nan, part.least.astype(np.float64))
        columns["max_intensity"] = np.where(broken, np.nan, part.greatest.astype(np.float64))
    return pd.DataFrame(columns)


def _check_labels(labels: Labels) -> None:
    if labels.dtype.kind not in "iub":
        msg = (
            f"labels are integers, got {labels.dtype}. Convert them, or label the mask first "
            "(label_block)."
        )
        raise DtypeError(msg)
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        msg = (
            f"labels are positive with 0 as background, got {labels.min()}. Replace negative "
            "labels, or give the array as the unsigned integers that it was saved from."
        )
        raise DtypeError(msg)


def _as_real(intensity: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """View as a type that compiled loops can turn into float32 voxel by voxel."""
    kind = intensity.dtype.kind
    if kind not in "iubf":
        msg = f"intensities are real numbers, got {intensity.dtype}. Give one real channel."
        raise DtypeError(msg)
    if kind == "b":
        return intensity.view(np.uint8)
    native = intensity.dtype.newbyteorder("=")
    return intensity.astype(np.float32 if native == np.float16 else native, copy=False)


def _intensity_table(sums: tuple[npt.NDArray[Any], ...], order: Ints) -> IntensityTable:
    digits, least, greatest, num_nonfinite = (column[order] for column in sums)
    zero = np.float32(0)  # turns -0 into 0: which of the two came first depends on the blocks
    return IntensityTable(carry_digits(digits), least + zero, greatest + zero, num_nonfinite)
