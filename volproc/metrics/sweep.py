"""What a threshold on the score of points would do: precision against recall."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.errors import NonFiniteError, ShapeError
from volproc.metrics.counting import OCTOPI_UNIT, Matching, check_matching, f_beta
from volproc.metrics.matching import near_pairs

MOST_ROWS = 1000
"""Rows of a curve that are kept for a table or a picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Gains:
    """What each predicted point of a class adds to those with a higher score, in one volume."""

    scores: npt.NDArray[np.float64]
    """(m,) of the predicted points, descending."""

    hits: npt.NDArray[np.uint16]
    """(m,) 1 where the prediction is a further hit; of the Kaggle rule as ``found``."""

    found: npt.NDArray[np.uint16]
    """(m,) true points that are found from this prediction on."""

    num_truth: int
    """True points."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Scores of a class at every threshold."""

    table: pd.DataFrame
    """A row a threshold, descending: ``threshold`` (the lowest score that is kept),
    ``num_predicted``, ``tp``, ``fp``, ``fn``, ``precision``, ``recall``, ``f1``, ``fbeta``."""

    average_precision: float
    """Mean of the precision over the part of the true points that is found; NaN without any."""

    @property
    def best(self) -> pd.Series | None:
        """Row of the highest F-beta, of equal ones the highest threshold; None without rows."""
        if self.table.empty:
            return None
        return self.table.iloc[int(np.argmax(self.table["fbeta"].to_numpy()))]

    def thin(self, most: int = MOST_ROWS) -> pd.DataFrame:
        """At most so many rows: the first, the last, the best, and others evenly between."""
        n = len(self.table)
        if n <= most:
            return self.table
        best = int(np.argmax(self.table["fbeta"].to_numpy()))
        kept = np.unique([*np.linspace(0, n - 1, most - 1).round().astype(int), best])
        return self.table.iloc[kept].reset_index(drop=True)


def rank_class(
    truth: npt.NDArray[np.float64],
    predicted: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float64],
    *,
    radius: float,
    scale: float,
    matching: Matching = "one-to-one",
) -> Gains:
    """Find what each predicted point of a class adds, the highest score first.

    Parameters
    ----------
    truth, predicted : ndarray, (n, 3) and (m, 3)
        Centres, Å.
    scores : ndarray, (m,)
        Of the predicted points.
    radius, scale, matching
        As in `volproc.metrics.counting.match_class`.

    Raises
    ------
    NonFiniteError
        If a score is NaN or infinite.
    PlanError
        As `volproc.metrics.matching.near_pairs`.

    Notes
    -----
    One to one, the number of hits at every threshold is that of a largest matching of the points
    which it keeps, as if each were scored by itself: a prediction either lengthens the matching of
    those before it by one pair, along an alternating path, or it never will.

    References
    ----------
    Berge, "Two theorems in graph theory", PNAS 43 (1957).
    """
    check_matching(matching)
    if len(scores) != len(predicted):
        msg = f"{len(predicted)} points and {len(scores)} scores. Give a score for each point."
        raise ShapeError(msg)
    bad = int((~np.isfinite(scores)).sum())
    if bad:
        msg = (
            f"{bad} of {len(scores)} predicted points have a score that is no number, so that no "
            "threshold keeps them. Give every point a score, or score without a sweep."
        )
        raise NonFiniteError(msg)
    order = np.argsort(-scores, kind="stable")
    pairs = _near(truth, predicted[order], radius, scale, matching)
    if matching == "one-to-one":
        hits = found = _one_to_one(pairs, len(order))
    else:
        hits, found = _by_nearness(pairs, len(order))
    if matching == "kaggle":
        hits = found
    return Gains(scores[order], hits, found, len(truth))


def sweep_scores(
    gains: Sequence[Gains], *, matching: Matching = "one-to-one", beta: float = 4.0
) -> Curve:
    """Score all thresholds of one class, or of all, over many volumes together.

    Parameters
    ----------
    gains : sequence of Gains
        What `rank_class` found, of each volume, by the same rule.
    matching : {"one-to-one", "octopi", "kaggle"}
        That rule.
    beta : float
        Above 1, F-beta counts recall for more than precision.
    """
    check_matching(matching)
    num_truth = sum(one.num_truth for one in gains)
    scores, hits, found = (
        np.concatenate([getattr(one, part) for one in gains] or [np.zeros(0)])
        for part in ("scores", "hits", "found")
    )
    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    # Points of one score stay or go together.
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)[: len(scores)])
    tp, seen = (np.cumsum(part[order], dtype=np.int64)[last] for part in (hits, found))
    kept = last + 1
    fp, fn = kept - tp, num_truth - seen
    precision = tp / np.maximum(kept, 1)
    table = pd.DataFrame(
        {
            "threshold": scores[last],
            "num_predicted": kept,
            "tp": tp,
            "fp": fp,
            "fn": fn,
            "precision": precision,
            "recall": tp / np.maximum(tp + fn, 1),
            "f1": f_beta(tp, fp, fn, 1.0),
            "fbeta": f_beta(tp, fp, fn, beta),
        }
    )
    steps = np.diff(np.append(0, seen))
    average = float((steps * precision).sum() / num_truth) if num_truth else float("nan")
    return Curve(table, average)


def _near(
    truth: npt.NDArray[np.float64],
    predicted: npt.NDArray[np.float64],
    radius: float,
    scale: float,
    matching: Matching,
) -> npt.NDArray[np.int64]:
    """Pairs (predicted, true) within the limit of a rule, ascending, (k, 2)."""
    if len(truth) == 0 or len(predicted) == 0:
        return np.zeros((0, 2), np.int64)
    unit, limit = 1.0, radius * scale
    if matching == "octopi":
        unit, limit = OCTOPI_UNIT, radius / OCTOPI_UNIT * scale
    here, there = predicted / unit, truth / unit
    edges = near_pairs(here, there, max_distance=limit)
    pairs = np.stack([edges["i"], edges["j"]], axis=1).astype(np.int64)
    if matching == "octopi":
        distance = np.sqrt(((here[pairs[:, 0]] - there[pairs[:, 1]]) ** 2).sum(axis=1))
        pairs = pairs[distance < limit]
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _by_nearness(
    pairs: npt.NDArray[np.int64], num_predicted: int
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """Whether each prediction is near a true point, and how many it is the first to be near of."""
    hits = np.zeros(num_predicted, np.uint16)
    hits[pairs[:, 0]] = 1
    _, first = np.unique(pairs[:, 1], return_index=True)
    found = np.bincount(pairs[first, 0], minlength=num_predicted).astype(np.uint16)
    return hits, found


def _one_to_one(pairs: npt.NDArray[np.int64], num_predicted: int) -> npt.NDArray[np.uint16]:
    """Whether each prediction lengthens the matching of those before it."""
    gains = np.zeros(num_predicted, np.uint16)
    bounds = np.searchsorted(pairs[:, 0], np.arange(num_predicted + 1)).tolist()
    others = pairs[:, 1].tolist()
    partner: dict[int, int] = {}  # true point → prediction
    mine = [-1] * num_predicted  # and back
    spent: set[int] = set()  # true points from which no path leads to a free one, now or later
    for root in range(num_predicted):
        came_from: dict[int, int] = {}  # true point → prediction it was reached from
        queue = deque([root])
        end = -1
        while queue and end < 0:
            here = queue.popleft()
            for true in others[bounds[here] : bounds[here + 1]]:
                if true in came_from or true in spent:
                    continue
                came_from[true] = here
                if true not in partner:
                    end = true
                    break
                queue.append(partner[true])
        if end < 0:
            spent.update(came_from)
            continue
        gains[root] = 1
        here = -1
        while here != root:
            here = came_from[end]
            partner[end] = here
            mine[here], end = end, mine[here]
    return gains
