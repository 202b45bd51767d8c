"""Scores by the names of EZQUANT's guide, of arrays in memory."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from volproc.metrics.contingency import contingency_table
from volproc.metrics.instances import count_split_merge
from volproc.metrics.overlap import dice, iou


def compute_3d_iou(mask1: npt.NDArray[Any], mask2: npt.NDArray[Any]) -> float:
    """Intersection over union of two masks, every value but 0 inside.

    Parameters
    ----------
    mask1, mask2 : ndarray
        Masks or labels of one shape.

    Returns
    -------
    iou : float
        Between 0 and 1; 1 where both are empty, where EZQUANT gives 0.

    Raises
    ------
    ShapeError
        If the shapes differ.
    """
    return iou(mask1, mask2)


def compute_3d_dice(mask1: npt.NDArray[Any], mask2: npt.NDArray[Any]) -> float:
    """Dice coefficient of two masks; parameters and errors as in `compute_3d_iou`.

    Voxels are counted, where EZQUANT adds up the values of labels.
    """
    return dice(mask1, mask2)


def compute_split_merge_errors(
    pred_masks: npt.NDArray[Any], gt_masks: npt.NDArray[Any], *, min_share: float = 0.0
) -> tuple[int, int]:
    """Count true objects that were split, and predicted objects that merge several.

    Parameters
    ----------
    pred_masks, gt_masks : ndarray of int
        Predicted and true instances, 0 = background.
    min_share : float
        Part of the smaller of two objects that they share, from which they belong together. 0 is
        EZQUANT's rule, where one voxel that leaks counts as a split and as a merge.

    Returns
    -------
    splits, merges : int
        True objects under several predicted ones, and predicted ones over several true ones.

    Raises
    ------
    ConfigError, DtypeError, ShapeError
        As `volproc.metrics.count_split_merge` and `volproc.metrics.contingency_table` do.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([1, 1, 1, 1])
    >>> compute_split_merge_errors(np.array([1, 1, 2, 3]), truth)
    (1, 0)
    """
    counts = count_split_merge(contingency_table(gt_masks, pred_masks), min_share=min_share)
    return counts["splits"], counts["merges"]
