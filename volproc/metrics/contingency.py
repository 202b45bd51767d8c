"""The voxels that true and predicted objects share: what all scores of instances go by.

The table is what `volproc.contingency` computes block by block, or `contingency_table` from arrays
in memory: columns ``truth``, ``predicted`` and ``num_voxels``, with 0 for the background. So
volumes of any size are scored, and every score goes over pairs of objects, never over voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.errors import DtypeError, ShapeError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """Pairs of objects that share voxels.

    Parameters
    ----------
    truth, predicted : ndarray of int, (n,)
        Places of the objects in ``true_labels`` and ``found_labels``.
    shared : ndarray of int, (n,)
        Voxels in both.
    iou : ndarray of float, (n,)
        Intersection over union.
    true_labels, found_labels : ndarray of int
        Labels of all objects, ascending.
    true_sizes, found_sizes : ndarray of int
        Their voxels.
    """

    truth: Ints
    predicted: Ints
    shared: Ints
    iou: Floats
    true_labels: Ints
    found_labels: Ints
    true_sizes: Ints
    found_sizes: Ints


def contingency_table(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> pd.DataFrame:
    """Count the voxels of each pair of labels in two arrays.

    Parameters
    ----------
    truth, predicted : array of int or bool
        Instances of one volume, 0 = background.

    Returns
    -------
    table : DataFrame
        Columns ``truth``, ``predicted`` and ``num_voxels``, ascending by the first two.

    Raises
    ------
    DtypeError
        If labels are no integers, or negative.
    ShapeError
        If the shapes differ.

    Notes
    -----
    For arrays in memory, at some 40 bytes a voxel; `volproc.contingency` does it by blocks.

    Examples
    --------
    >>> contingency_table([1, 1, 0], [5, 0, 0])
       truth  predicted  num_voxels
    0      0          0           1
    1      1          0           1
    2      1          5           1
    """
    one, other = np.asarray(truth), np.asarray(predicted)
    if one.shape != other.shape:
        msg = (
            f"the truth has shape {one.shape}, the prediction {other.shape}. Compare labels of the "
            "same volume."
        )
        raise ShapeError(msg)
    for name, labels in (("the truth", one), ("the prediction", other)):
        if labels.dtype.kind not in "iub" or (labels.size and int(labels.min()) < 0):
            msg = f"{name} must be labels, integers from 0, got {labels.dtype}"
            least = "" if labels.dtype.kind not in "iub" else f" with the least {labels.min()}"
            raise DtypeError(f"{msg}{least}. Number the objects from 1; 0 is the background.")
    names, rows = np.unique(one, return_inverse=True)
    others, columns = np.unique(other, return_inverse=True)
    codes = rows.reshape(-1).astype(np.int64) * max(len(others), 1) + columns.reshape(-1)
    pairs, count = np.unique(codes, return_counts=True)
    return pd.DataFrame(
        {
            "truth": names[pairs // max(len(others), 1)].astype(np.int64),
            "predicted": others[pairs % max(len(others), 1)].astype(np.int64),
            "num_voxels": count.astype(np.int64),
        }
    )


def find_overlaps(table: pd.DataFrame) -> Overlaps:
    """Take the pairs of objects out of a table of voxels, the background left out.

    Raises
    ------
    ShapeError
        If the table lacks a column or counts a pair twice.
    """
    truth, predicted, count = take_columns(table)
    true_labels, true_sizes = object_sizes(truth, count)
    found_labels, found_sizes = object_sizes(predicted, count)
    both = (truth != 0) & (predicted != 0)
    rows = np.searchsorted(true_labels, truth[both])
    columns = np.searchsorted(found_labels, predicted[both])
    shared = count[both]
    union = true_sizes[rows] + found_sizes[columns] - shared
    return Overlaps(
        rows, columns, shared, shared / union, true_labels, found_labels, true_sizes, found_sizes
    )


def take_columns(table: pd.DataFrame) -> tuple[Ints, Ints, Ints]:
    """Columns of a table of shared voxels, once each pair."""
    names = ("truth", "predicted", "num_voxels")
    if not set(names) <= set(table.columns):
        msg = (
            f"a table of shared voxels has the columns {', '.join(names)}, got "
            f"{', '.join(map(str, table.columns))}. Make it with volproc.contingency."
        )
        raise ShapeError(msg)
    truth, predicted, count = (table[name].to_numpy(np.int64) for name in names)
    if pd.DataFrame({"truth": truth, "predicted": predicted}).duplicated().any():
        msg = "a pair of labels occurs in two rows. Add up the tables of blocks first."
        raise ShapeError(msg)
    return truth, predicted, count


def counted_rows(table: pd.DataFrame, ignored: Sequence[int]) -> tuple[Ints, Ints, Ints]:
    """Columns without the rows of ignored true labels."""
    truth, predicted, count = take_columns(table)
    kept = ~np.isin(truth, list(ignored))
    return truth[kept], predicted[kept], count[kept]


def object_sizes(labels: Ints, count: Ints, *, with_background: bool = False) -> tuple[Ints, Ints]:
    """Labels that occur, ascending, and their voxels."""
    names, places = np.unique(labels, return_inverse=True)
    sizes = np.zeros(len(names), np.int64)
    np.add.at(sizes, places, count)
    kept = slice(None) if with_background else names != 0
    return names[kept], sizes[kept]


def share_of(part: float, whole: float, other: float = 0.0) -> float:
    """Part of a whole; of nothing all, unless the other side has something."""
    if whole:
        return float(part / whole)
    return 0.0 if other else 1.0
