"""Scores of class maps, from counts that merge over blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.errors import ShapeError


def confusion(
    truth: npt.NDArray[Any], predicted: npt.NDArray[Any], *, num_classes: int
) -> npt.NDArray[np.int64]:
    """Count voxels by true and predicted class.

    Counts of the blocks of a volume add up to those of the volume.

    Parameters
    ----------
    truth, predicted : ndarray of int or bool
        Class maps of one shape, values from 0 to ``num_classes - 1``.
    num_classes : int
        Classes, the background included.

    Returns
    -------
    counts : ndarray of int64, (num_classes, num_classes)
        ``counts[t, p]`` voxels are truly ``t`` and predicted ``p``.

    Raises
    ------
    ShapeError
        If the shapes differ, or a value is no class.

    Notes
    -----
    Takes 8 bytes of memory per voxel: call it block by block.

    Examples
    --------
    >>> confusion(np.array([0, 1, 1]), np.array([0, 1, 0]), num_classes=2).tolist()
    [[1, 0], [1, 1]]
    """
    _check_shapes(truth, predicted)
    for name, classes in (("truth", truth), ("the prediction", predicted)):
        if classes.dtype.kind not in "iub":
            msg = f"{name} must be a map of integer classes, got {classes.dtype}."
            raise ShapeError(msg)
        if classes.size and not 0 <= int(classes.min()) <= int(classes.max()) < num_classes:
            msg = (
                f"{name} has values from {classes.min()} to {classes.max()}, {num_classes} classes "
                f"are 0 to {num_classes - 1}. Map its values to classes first."
            )
            raise ShapeError(msg)
    pair = truth.ravel().astype(np.int64)
    pair *= num_classes
    pair += predicted.ravel().astype(pair.dtype, copy=False)
    counts = np.bincount(pair, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64, copy=False)


def score_classes(counts: npt.NDArray[np.int64], class_names: Sequence[str]) -> pd.DataFrame:
    """Score each class from its counts of voxels.

    Parameters
    ----------
    counts : ndarray of int, (c, c)
        What `confusion` returned, summed over blocks.
    class_names : sequence of str
        Names of the classes, the background first.

    Returns
    -------
    scores : DataFrame
        A row for each class; columns ``class_name``, ``num_truth``, ``num_predicted`` (voxels),
        ``dice``, ``iou``, ``precision`` and ``recall``. A class that is neither there nor
        predicted scores 1; where only one side is empty, 0.

    Raises
    ------
    ShapeError
        If the names do not fit the counts.
    """
    counts = np.asarray(counts, np.int64)
    n = len(class_names)
    if counts.shape != (n, n):
        msg = (
            f"{n} class names for counts of shape {counts.shape}. Give one name per class, the "
            "background included."
        )
        raise ShapeError(msg)
    both = np.diagonal(counts).astype(np.float64)
    true, found = counts.sum(axis=1).astype(np.float64), counts.sum(axis=0).astype(np.float64)
    absent = (true + found) == 0
    return pd.DataFrame(
        {
            "class_name": list(class_names),
            "num_truth": true.astype(np.int64),
            "num_predicted": found.astype(np.int64),
            "dice": np.where(absent, 1.0, 2 * both / np.maximum(true + found, 1)),
            "iou": np.where(absent, 1.0, both / np.maximum(true + found - both, 1)),
            "precision": np.where(absent, 1.0, both / np.maximum(found, 1)),
            "recall": np.where(absent, 1.0, both / np.maximum(true, 1)),
        }
    )


def dice(truth: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> float:
    """Dice coefficient of two masks: twice the common voxels, over the voxels of both.

    Parameters
    ----------
    truth, predicted : ndarray
        Masks of one shape; every value but 0 is inside.

    Returns
    -------
    dice : float
        Between 0 and 1; 1 where both are empty.

    Raises
    ------
    ShapeError
        If the shapes differ.

    Examples
    --------
    >>> dice(np.array([0, 1, 1]), np.array([0, 1, 0]))
    0.6666666666666666
    """
    both, either = _common(truth, predicted)
    return 2 * both / (both + either) if either else 1.0


def iou(truth: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> float:
    """Intersection over union of two masks; parameters, result and errors as in `dice`.

    Examples
    --------
    >>> iou(np.array([0, 1, 1]), np.array([0, 1, 0]))
    0.5
    """
    both, either = _common(truth, predicted)
    return both / either if either else 1.0


def _common(truth: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> tuple[int, int]:
    """Voxels in both masks, and voxels in either."""
    _check_shapes(truth, predicted)
    here, there = truth != 0, predicted != 0
    return int(np.count_nonzero(here & there)), int(np.count_nonzero(here | there))


def _check_shapes(truth: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> None:
    if truth.shape != predicted.shape:
        msg = (
            f"truth has shape {truth.shape}, the prediction {predicted.shape}. Compare maps of the "
            "same volume."
        )
        raise ShapeError(msg)
