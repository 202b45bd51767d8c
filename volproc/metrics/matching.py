"""Pairs of true and predicted points, one to one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree

from volproc.core.errors import PlanError, ShapeError

MAX_CANDIDATES = 10_000_000
"""Pairs that are near enough, of which the best are chosen: at most these fit into about 1 GB."""


def match_points(
    truth: npt.ArrayLike, predicted: npt.ArrayLike, *, max_distance: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Pair true with predicted points, as many as possible, at the least total distance.

    Parameters
    ----------
    truth, predicted : array, (n, d) and (m, d)
        Coordinates in one unit of length; scale voxels that are not cubes to Å first.
    max_distance : float
        Largest distance of a pair, included, in the unit of the coordinates.

    Returns
    -------
    pairs : ndarray of int, (k, 2)
        Index of the true and of the predicted point, ascending by the true one; each point
        occurs at most once.
    distances : ndarray of float, (k,)
        Distance of each pair.

    Raises
    ------
    ShapeError
        If the arrays are no tables of points of one dimension.
    ValueError
        If ``max_distance`` is negative or not finite.
    PlanError
        If more than `MAX_CANDIDATES` pairs are near enough.

    Notes
    -----
    Greedy pairing by nearest distance loses pairs where points are crowded; this is the optimum.
    Each true point gets a partner of its own at a price above every possible total, so that a
    matching of all true points exists and the cheapest one uses as few of these as possible.
    The graph is sparse: ten thousand points take under a second where each has a few candidates,
    some seconds where each has ten.

    References
    ----------
    Jonker and Volgenant, "A shortest augmenting path algorithm for dense and sparse linear
    assignment problems", Computing 38 (1987), in SciPy's sparse form.

    Examples
    --------
    >>> pairs, distances = match_points([[0.0], [3.0]], [[2.0], [4.5]], max_distance=2.0)
    >>> pairs.tolist(), distances.tolist()
    ([[0, 0], [1, 1]], [2.0, 1.5])
    """
    here, there = _table(truth, "truth"), _table(predicted, "predicted")
    if not (np.isfinite(max_distance) and max_distance >= 0):
        msg = f"max_distance must be finite and not negative, got {max_distance}."
        raise ValueError(msg)
    if len(here) == 0 or len(there) == 0:
        return np.zeros((0, 2), np.int64), np.zeros(0)
    if here.shape[1] != there.shape[1]:
        msg = (
            f"points of different dimensions cannot be paired, got truth {here.shape} and "
            f"predicted {there.shape}. Give both as (n, d)."
        )
        raise ShapeError(msg)
    edges = near_pairs(here, there, max_distance=max_distance)
    if len(edges) == 0:
        return np.zeros((0, 2), np.int64), np.zeros(0)
    # Only points that have a candidate take part.
    rows, row = np.unique(edges["i"], return_inverse=True)
    columns, column = np.unique(edges["j"], return_inverse=True)
    n, m = len(rows), len(columns)
    # 1 is added to each distance, because SciPy takes a stored zero for a missing edge.
    alone = (1.0 + max_distance) * (min(n, m) + 2)
    graph = csr_array(
        (
            np.concatenate([1.0 + edges["v"], np.full(n, alone)]),
            (np.concatenate([row, np.arange(n)]), np.concatenate([column, m + np.arange(n)])),
        ),
        shape=(n, m + n),
    )
    chosen, partner = min_weight_full_bipartite_matching(graph)
    paired = partner < m
    pairs = np.stack([rows[chosen[paired]], columns[partner[paired]]], axis=1).astype(np.int64)
    pairs = pairs[np.argsort(pairs[:, 0])]
    return pairs, np.linalg.norm(here[pairs[:, 0]] - there[pairs[:, 1]], axis=1)


def near_pairs(
    here: npt.NDArray[np.float64], there: npt.NDArray[np.float64], *, max_distance: float
) -> npt.NDArray[np.void]:
    """Pairs of points that are near each other, in no order.

    Parameters
    ----------
    here, there : ndarray, (n, d) and (m, d)
        Coordinates in one unit of length.
    max_distance : float
        Largest distance of a pair, included.

    Returns
    -------
    pairs : structured ndarray, (k,)
        Fields ``i``, ``j`` and ``v``: index in ``here``, in ``there``, and distance.

    Raises
    ------
    PlanError
        If there are more than `MAX_CANDIDATES`.
    """
    trees = cKDTree(here), cKDTree(there)
    num_candidates = int(trees[0].count_neighbors(trees[1], max_distance))
    if num_candidates > MAX_CANDIDATES:
        msg = (
            f"{num_candidates:,} pairs of {len(here):,} true and {len(there):,} predicted points "
            f"are at most {max_distance:g} apart, and {MAX_CANDIDATES:,} can be compared. Choose a "
            "distance about the size of a particle."
        )
        raise PlanError(msg)
    pairs: npt.NDArray[np.void] = trees[0].sparse_distance_matrix(
        trees[1], max_distance, output_type="ndarray"
    )
    return pairs


def _table(points: npt.ArrayLike, name: str) -> npt.NDArray[np.float64]:
    """Points as finite float64, (n, d)."""
    table = np.asarray(points, np.float64)
    if table.ndim == 1 and table.size == 0:
        table = table.reshape(0, 3)
    if table.ndim != 2 or not np.isfinite(table).all():
        msg = (
            f"{name} must be finite coordinates of shape (n, d), got shape {table.shape}"
            f"{'' if table.ndim != 2 else ' with values that are not finite'}."
        )
        raise ShapeError(msg)
    return table
