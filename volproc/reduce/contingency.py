"""How many voxels two label volumes share, object by object: tables that merge over blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.errors import DtypeError, ShapeError
from volproc.reduce.contingency_kernels import find_pair_runs
from volproc.reduce.numbering import as_unsigned

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Contingency:
    """Voxels of each pair of a true and a predicted label, the background (0) included.

    Parameters
    ----------
    truth, predicted : ndarray of int64, (n,)
        Labels of the pairs that occur, ascending by ``truth``, then by ``predicted``.
    count : ndarray of int64, (n,)
        Voxels with both, at least 1.
    """

    truth: Ints
    predicted: Ints
    count: Ints


def count_contingency(
    truth: npt.NDArray[Any], predicted: npt.NDArray[Any], *, place: str = "the volume"
) -> Contingency:
    """Count the voxels of each pair of labels in one block.

    Parameters
    ----------
    truth, predicted : ndarray of int or bool, (z, y, x) or (y, x)
        Instances, 0 = background.
    place : str
        Where the block lies, for errors.

    Returns
    -------
    table : Contingency
        Of this block; those of all blocks add up by `merge_contingencies`.

    Raises
    ------
    DtypeError
        If labels are no integers, negative, or above 2⁶³ - 1.
    ShapeError
        If the shapes differ.

    Notes
    -----
    One compiled pass finds the runs along x in which both labels stay, and only those are sorted:
    time is linear in voxels, memory 24 bytes a run.

    Examples
    --------
    >>> table = count_contingency(np.array([[1, 1, 0]]), np.array([[7, 0, 0]]))
    >>> list(zip(*map(np.ndarray.tolist, (table.truth, table.predicted, table.count))))
    [(0, 0, 1), (1, 0, 1), (1, 7, 1)]
    """
    check_pair(truth, predicted)
    one, other = (
        _as_labels(labels, name, place)
        for labels, name in ((truth, "the truth"), (predicted, "the prediction"))
    )
    return _summed(*find_pair_runs(one.reshape(-1), other.reshape(-1)))


def check_pair(truth: Any, predicted: Any) -> None:
    """Refuse arrays, in memory or lazy, that are no labels of one volume.

    Raises
    ------
    DtypeError
        If one does not hold integers.
    ShapeError
        If the shapes differ.
    """
    if truth.shape != predicted.shape:
        msg = (
            f"the truth has shape {truth.shape}, the prediction {predicted.shape}. Compare labels "
            "of the same volume."
        )
        raise ShapeError(msg)
    for name, array in (("truth", truth), ("prediction", predicted)):
        if array.dtype.kind not in "iub":
            msg = (
                f"the {name} must be labels, integers with one number an object, got "
                f"{array.dtype}. Label the objects first."
            )
            raise DtypeError(msg)


def merge_contingencies(tables: Sequence[Contingency]) -> Contingency:
    """Add up the tables of several blocks; the order does not matter.

    Examples
    --------
    >>> one = count_contingency(np.array([[1, 1, 0]]), np.array([[7, 0, 0]]))
    >>> merge_contingencies([one, one]).count.tolist()
    [2, 2, 2]
    """
    return _summed(
        *(
            np.concatenate([getattr(table, name) for table in tables])
            for name in ("truth", "predicted", "count")
        )
    )


def contingency_rows(table: Contingency) -> pd.DataFrame:
    """Give a table as a data frame: columns ``truth``, ``predicted`` and ``num_voxels``."""
    return pd.DataFrame(
        {"truth": table.truth, "predicted": table.predicted, "num_voxels": table.count}
    )


def _summed(truth: Ints, predicted: Ints, count: Ints) -> Contingency:
    """One row for each pair, in their order."""
    order = np.lexsort((predicted, truth))
    truth, predicted, count = truth[order], predicted[order], count[order]
    if truth.size:
        begins = np.flatnonzero(
            np.r_[True, (truth[1:] != truth[:-1]) | (predicted[1:] != predicted[:-1])]
        )
        truth, predicted = truth[begins], predicted[begins]
        count = np.add.reduceat(count, begins)
    return Contingency(truth, predicted, count)


def _as_labels(labels: npt.NDArray[Any], name: str, place: str) -> npt.NDArray[Any]:
    """Labels that fit into int64, in raster order."""
    if labels.size and labels.dtype.kind == "i" and int(labels.min()) < 0:
        msg = (
            f"{name} has negative labels in {place}, the least is {labels.min()}. Number the "
            "objects from 1; 0 is the background."
        )
        raise DtypeError(msg)
    if labels.size and labels.dtype == np.uint64 and int(labels.max()) > np.iinfo(np.int64).max:
        msg = f"{name} has the label {labels.max()} in {place}; up to 2**63 - 1 are counted."
        raise DtypeError(msg + " Number the objects anew.")
    return as_unsigned(labels)
