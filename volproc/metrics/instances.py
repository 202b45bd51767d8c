"""Scores of instances: pairs of objects, splits and merges; see `volproc.metrics.contingency`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from volproc.core.errors import ConfigError
from volproc.metrics.contingency import Ints, Overlaps, find_overlaps, share_of

THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""IoU from which a pair counts, of the averaged precision: 0.5, 0.55, … 0.95."""

MIN_SHARE = 0.1
"""Part of the smaller of two objects that they share, from which one is a piece of the other."""


def match_instances(table: pd.DataFrame, *, min_iou: float = 0.5) -> pd.DataFrame:
    """Pair true with predicted objects, one to one, and list all of them.

    Parameters
    ----------
    table : DataFrame
        Shared voxels, see `contingency_table`.
    min_iou : float
        IoU from which a pair counts, in (0, 1].

    Returns
    -------
    objects : DataFrame
        A row for each true object, then for each predicted one without a partner: ``truth``,
        ``predicted`` (0 where there is none), ``iou`` (0 likewise), ``num_voxels_truth`` and
        ``num_voxels_predicted``.

    Raises
    ------
    ConfigError
        If the threshold is out of range.
    ShapeError
        If the table is none.

    Notes
    -----
    As many pairs as possible, and of these the greatest sum of IoU: the rule of Cellpose's
    ``average_precision`` and of StarDist's ``matching``, on the sparse graph of overlaps.

    Examples
    --------
    >>> from volproc.metrics import contingency_table
    >>> match_instances(contingency_table([1, 1, 2, 0], [4, 4, 0, 9]))
       truth  predicted  iou  num_voxels_truth  num_voxels_predicted
    0      1          4  1.0                 2                     2
    1      2          0  0.0                 1                     0
    2      0          9  0.0                 0                     1
    """
    overlaps = find_overlaps(table)
    chosen = _match(overlaps, min_iou)
    partner = np.full(len(overlaps.true_labels), -1, np.int64)
    iou = np.zeros(len(overlaps.true_labels))
    partner[overlaps.truth[chosen]] = overlaps.predicted[chosen]
    iou[overlaps.truth[chosen]] = overlaps.iou[chosen]
    alone = np.setdiff1d(np.arange(len(overlaps.found_labels)), partner)
    labels, sizes = (
        np.append(values, 0) for values in (overlaps.found_labels, overlaps.found_sizes)
    )
    none = np.zeros(len(alone), np.int64)
    return pd.DataFrame(
        {
            "truth": np.r_[overlaps.true_labels, none],
            "predicted": np.r_[labels[partner], overlaps.found_labels[alone]],
            "iou": np.r_[iou, none],
            "num_voxels_truth": np.r_[overlaps.true_sizes, none],
            "num_voxels_predicted": np.r_[sizes[partner], overlaps.found_sizes[alone]],
        }
    )


def score_matches(table: pd.DataFrame, *, thresholds: Iterable[float] = THRESHOLDS) -> pd.DataFrame:
    """Count found, false and missed objects at several thresholds on IoU.

    Parameters
    ----------
    table : DataFrame
        Shared voxels, see `contingency_table`.
    thresholds : iterable of float
        IoU from which a pair counts, each in (0, 1].

    Returns
    -------
    scores : DataFrame
        A row a threshold: ``min_iou``, ``num_found`` (true positives), ``num_false``,
        ``num_missed``, ``precision``, ``recall``, ``f1``, ``average_precision`` (found over found,
        false and missed: Cellpose's and StarDist's name of it), ``panoptic_quality``,
        ``segmentation_quality`` (mean IoU of the pairs). Where there is no object on either side
        all scores are 1.

    Raises
    ------
    ConfigError, ShapeError
        As in `match_instances`.

    References
    ----------
    Panoptic quality: Kirillov et al., "Panoptic segmentation", CVPR 2019.

    Examples
    --------
    >>> from volproc.metrics import contingency_table
    >>> score_matches(contingency_table([1, 1, 2, 0], [4, 4, 0, 9]), thresholds=[0.5])["f1"].item()
    0.5
    """
    overlaps = find_overlaps(table)
    num_true, num_predicted = len(overlaps.true_labels), len(overlaps.found_labels)
    rows = []
    for threshold in thresholds:
        iou = overlaps.iou[_match(overlaps, threshold)]
        found, total = len(iou), float(iou.sum())
        half = (num_true + num_predicted) / 2
        rows.append(
            {
                "min_iou": float(threshold),
                "num_found": found,
                "num_false": num_predicted - found,
                "num_missed": num_true - found,
                "precision": share_of(found, num_predicted, num_true),
                "recall": share_of(found, num_true, num_predicted),
                "f1": share_of(found, half),
                "average_precision": share_of(found, num_true + num_predicted - found),
                "panoptic_quality": share_of(total, half),
                "segmentation_quality": share_of(total, found, half),
            }
        )
    return pd.DataFrame(rows)


def count_split_merge(table: pd.DataFrame, *, min_share: float = MIN_SHARE) -> dict[str, int]:
    """Count true objects that were split, and predicted ones that merge several.

    Parameters
    ----------
    table : DataFrame
        Shared voxels, see `contingency_table`.
    min_share : float
        Two objects belong together if they share at least this part of the smaller one; 0: a
        single voxel is enough, as in EZQUANT.

    Returns
    -------
    counts : dict
        ``splits``: true objects with more than one predicted object; ``extra_pieces``: how many
        more than one, summed; ``merges`` and ``extra_merged`` likewise the other way round;
        ``num_uncovered``: true objects that no predicted one belongs to; ``num_spurious``:
        predicted objects that belong to no true one.

    Raises
    ------
    ConfigError
        If the share is not in [0, 1].
    ShapeError
        If the table is none.

    Examples
    --------
    >>> from volproc.metrics import contingency_table
    >>> count_split_merge(contingency_table([1, 1, 1, 1], [3, 3, 4, 4]))["splits"]
    1
    """
    if not 0 <= min_share <= 1:
        msg = f"min_share is a part of an object, between 0 and 1, got {min_share}."
        raise ConfigError(msg)
    overlaps = find_overlaps(table)
    smaller = np.minimum(
        overlaps.true_sizes[overlaps.truth], overlaps.found_sizes[overlaps.predicted]
    )
    kept = overlaps.shared >= min_share * smaller
    pieces = np.bincount(overlaps.truth[kept], minlength=len(overlaps.true_labels))
    parents = np.bincount(overlaps.predicted[kept], minlength=len(overlaps.found_labels))
    return {
        "splits": int((pieces > 1).sum()),
        "extra_pieces": int(np.maximum(pieces - 1, 0).sum()),
        "merges": int((parents > 1).sum()),
        "extra_merged": int(np.maximum(parents - 1, 0).sum()),
        "num_uncovered": int((pieces == 0).sum()),
        "num_spurious": int((parents == 0).sum()),
    }


def _match(overlaps: Overlaps, min_iou: float) -> Ints:
    """Places of the chosen pairs among the overlaps."""
    if not 0 < min_iou <= 1:
        msg = f"a threshold on IoU lies above 0 and at most at 1, got {min_iou}."
        raise ConfigError(msg)
    enough = overlaps.iou >= min_iou
    if min_iou > 0.5:  # no object can have two partners
        return np.flatnonzero(enough)
    num_true, num_found = len(overlaps.true_labels), len(overlaps.found_labels)
    if not enough.any():
        return np.empty(0, np.int64)
    # Each object also has a partner of its own, dearer than any other: then all can be matched.
    # A pair that counts is worth more than all IoU together, as in Cellpose and StarDist.
    worth = enough + overlaps.iou / (2 * min(num_true, num_found))
    rows = np.r_[overlaps.truth, np.arange(num_true)]
    columns = np.r_[overlaps.predicted, num_found + np.arange(num_true)]
    costs = np.r_[2.0 - worth, np.full(num_true, 2.0)]
    graph = csr_array((costs, (rows, columns)), shape=(num_true, num_found + num_true))
    partner = np.full(num_true, -1, np.int64)
    matched, partners = min_weight_full_bipartite_matching(graph)
    partner[matched] = partners
    return np.flatnonzero(enough & (partner[overlaps.truth] == overlaps.predicted))
