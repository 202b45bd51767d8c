"""Greedy non-maximum suppression of points, in an order that the data define."""

from __future__ import annotations

from math import isfinite

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ConfigError, NonFiniteError, ShapeError
from volproc.reduce.suppression_kernels import keep_greedily

MAX_CELLS = 2**20
"""Cells of the grid along an axis: three such numbers make one of 64 bits."""


def suppress_points(
    points: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float64],
    radius: float,
    *,
    classes: npt.NDArray[np.object_] | None = None,
) -> npt.NDArray[np.int64]:
    """Keep the best points, and drop those too near to a better one that is kept.

    Parameters
    ----------
    points : ndarray of float, (n, 3) or (n, 2)
        Places, in any one unit.
    scores : ndarray of float, (n,)
        The greater the better.
    radius : float
        Two kept points are farther apart than this; a point at exactly this distance is dropped.
        Distances are compared as squares, in float64.
    classes : ndarray of str, (n,), optional
        Names that break a tie at one place; all take part together.

    Returns
    -------
    kept : ndarray of int64, (m,)
        Rows that are kept, the best first: by score, then z, y, x, then class.

    Raises
    ------
    ConfigError
        If the radius is negative or not finite.
    NonFiniteError
        If a place is NaN or infinite, or a score is NaN.
    ShapeError
        If there are not as many scores as points.

    Notes
    -----
    The sequential greedy rule itself: the best point is kept, and all within the radius are
    dropped; then the best of the rest, and so on. A point is compared with kept points in 27
    cells of a grid only, of which few fit into a cell, so that time and memory follow the number
    of points, however dense they are. (Rounds on all pairs of a KD-tree give the same, but a
    thresholded map has hundreds of neighbours a point.)

    Examples
    --------
    >>> points = np.array([[0.0, 0, 0], [0, 0, 2], [0, 0, 4]])
    >>> suppress_points(points, np.array([1.0, 3.0, 2.0]), 2.0).tolist()
    [1]
    >>> suppress_points(points, np.array([3.0, 2.0, 1.0]), 2.0).tolist()
    [0, 2]
    """
    if not (isfinite(radius) and radius >= 0):
        msg = f"points are suppressed within {radius}. Give a radius of 0 or more."
        raise ConfigError(msg)
    if points.ndim != 2 or points.shape[1] not in (2, 3) or scores.shape != points.shape[:1]:
        msg = (
            "points have a row (z, y, x) or (y, x) and a score each, got shapes "
            f"{points.shape} and {scores.shape}."
        )
        raise ShapeError(msg)
    usable = np.isfinite(points).all(axis=1) & ~np.isnan(scores)
    if not usable.all():
        row = int(np.argmin(usable))
        msg = (
            f"point {row} at {points[row].tolist()} has the score {scores[row]}. Drop points "
            "whose place is not finite or whose score is NaN."
        )
        raise NonFiniteError(msg)
    order = order_points(points, scores, classes)
    places = np.zeros((len(points), 3))
    places[:, 3 - points.shape[1] :] = points[order]
    cells, sides = _cells(places, radius)
    return order[keep_greedily(places, cells, sides, float(radius))]


def order_points(
    points: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float64],
    classes: npt.NDArray[np.object_] | None = None,
) -> npt.NDArray[np.int64]:
    """Rows in the order that the data define: score, the greatest first, then z, y, x, class."""
    names = np.zeros(len(scores), np.int64)
    if classes is not None:
        names = np.unique(classes.astype(str), return_inverse=True)[1]
    return np.lexsort((names, *points.T[::-1], -scores))


def _cells(
    places: npt.NDArray[np.float64], radius: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Cell of each point, from 1 on, and the cells an axis with an empty one at both ends."""
    if not len(places):
        return np.zeros((0, 3), np.int64), np.ones(3, np.int64)
    lower = places.min(axis=0)
    extent = float((places.max(axis=0) - lower).max())
    # one millionth wider: a rounded quotient must not put two near points two cells apart
    width = max(radius * (1 + 1e-6), extent / MAX_CELLS, np.finfo(np.float64).tiny)
    cells = np.floor((places - lower) / width).astype(np.int64) + 1
    return cells, cells.max(axis=0) + 2
