"""How far two partitions of a volume agree, without pairing objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from volproc.metrics.contingency import Ints, counted_rows, object_sizes, share_of


def variation_of_information(
    table: pd.DataFrame, *, ignored: Sequence[int] = ()
) -> tuple[float, float]:
    """Entropy of each partition where the other is known, bits.

    Parameters
    ----------
    table : DataFrame
        Shared voxels, see `contingency_table`.
    ignored : sequence of int
        True labels whose voxels do not count; with 0 the background.

    Returns
    -------
    split, merge : float
        H(predicted | truth), of true objects that were cut, and H(truth | predicted), of
        predicted ones that join several; their sum is the variation of information. The values
        of ``skimage.metrics.variation_of_information(truth, predicted)``.

    References
    ----------
    Meilă, "Comparing clusterings: an information based distance", J. Multivar. Anal. 98 (2007).

    Examples
    --------
    >>> from volproc.metrics import contingency_table
    >>> variation_of_information(contingency_table([1, 1, 1, 1], [3, 3, 4, 4]))
    (1.0, 0.0)
    """
    truth, predicted, count = counted_rows(table, ignored)
    if not count.size:
        return 0.0, 0.0
    total = count.sum()
    rows, columns = _totals(truth, count), _totals(predicted, count)
    joint = count / total
    split = float(-(joint * np.log2(count / rows)).sum())
    merge = float(-(joint * np.log2(count / columns)).sum())
    return abs(split), abs(merge)


def adapted_rand_error(
    table: pd.DataFrame, *, ignored: Sequence[int] = (0,)
) -> tuple[float, float, float]:
    """Error of pairs of voxels: 1 - F1 of "lie in the same object".

    Parameters
    ----------
    table : DataFrame
        Shared voxels, see `contingency_table`.
    ignored : sequence of int
        True labels whose voxels do not count; the background by default.

    Returns
    -------
    error, precision, recall : float
        The values of ``skimage.metrics.adapted_rand_error(truth, predicted)``, which calls
        precision the part of the truly joined pairs that are joined in the prediction, and recall
        the part of the joined pairs that truly are. 0, 1, 1 where no two voxels lie together on
        either side.

    References
    ----------
    Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms for
    connectomics", Front. Neuroanat. 9 (2015), doi:10.3389/fnana.2015.00142.

    Examples
    --------
    >>> from volproc.metrics import contingency_table
    >>> adapted_rand_error(contingency_table([1, 1, 2, 2], [3, 3, 4, 4]))
    (0.0, 1.0, 1.0)
    """
    truth, predicted, count = counted_rows(table, ignored)
    pairs = _num_pairs(count)
    together = _num_pairs(object_sizes(truth, count, with_background=True)[1])
    found = _num_pairs(object_sizes(predicted, count, with_background=True)[1])
    precision = share_of(pairs, together, found)
    recall = share_of(pairs, found, together)
    return 1.0 - share_of(2 * pairs, together + found), precision, recall


def _num_pairs(count: Ints) -> float:
    """Ordered pairs of different voxels within each group, without overflow."""
    values = count.astype(np.float64)
    return float((values * (values - 1)).sum())


def _totals(labels: Ints, count: Ints) -> Ints:
    """Voxels of each row's label."""
    names, sizes = object_sizes(labels, count, with_background=True)
    return sizes[np.searchsorted(names, labels)]
