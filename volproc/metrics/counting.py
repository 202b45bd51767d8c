"""Three ways to count what was found: one to one, Octopi's, and that of the Kaggle challenge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from volproc.core.errors import ConfigError, nearest
from volproc.metrics.matching import match_points

Matching: TypeAlias = Literal["one-to-one", "octopi", "kaggle"]
"""How predicted points are held against true ones."""

MATCHINGS: tuple[Matching, ...] = get_args(Matching)

OCTOPI_UNIT = 10.0
"""Å; Octopi counts lengths in tens of them, and rounds as that does."""


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """What became of the points of one class in one volume.

    ::

        one-to-one   TP pairs                    FP, FN the points without a partner
        octopi       TP predictions near a truth    FN truths near no prediction
        kaggle       TP truths near a prediction    FP all predictions less these
    """

    matching: Matching
    """The rule."""

    truth_partner: npt.NDArray[np.int64]
    """(n,) for each true point the predicted one that finds it; -1 where it is missed."""

    predicted_partner: npt.NDArray[np.int64]
    """(m,) for each predicted point the true one that it finds; -1 where it is false."""

    truth_distance: npt.NDArray[np.float64]
    """(n,) distance to the partner, in the unit of the coordinates; NaN without one."""

    predicted_distance: npt.NDArray[np.float64]
    """(m,) the same of the predicted points."""

    @property
    def num_truth(self) -> int:
        """True points."""
        return len(self.truth_partner)

    @property
    def num_predicted(self) -> int:
        """Predicted points."""
        return len(self.predicted_partner)

    @property
    def tp(self) -> int:
        """Hits: true points of the Kaggle rule, predicted ones of the others."""
        side = self.truth_partner if self.matching == "kaggle" else self.predicted_partner
        return int((side >= 0).sum())

    @property
    def fp(self) -> int:
        """False predictions; below 0 where the Kaggle rule lets one prediction find several."""
        return self.num_predicted - self.tp

    @property
    def fn(self) -> int:
        """True points that were missed."""
        return int((self.truth_partner < 0).sum())

    @property
    def hit_distances(self) -> npt.NDArray[np.float64]:
        """Distances of the hits."""
        side = self.truth_distance if self.matching == "kaggle" else self.predicted_distance
        return side[np.isfinite(side)]


def match_class(
    truth: npt.NDArray[np.float64],
    predicted: npt.NDArray[np.float64],
    *,
    radius: float,
    scale: float,
    matching: Matching = "one-to-one",
) -> Match:
    """Hold the predicted points of a class against the true ones.

    Parameters
    ----------
    truth, predicted : ndarray, (n, 3) and (m, 3)
        Centres, Å.
    radius : float
        Radius of the class, Å.
    scale : float
        Longest distance of a hit, in radii.
    matching : {"one-to-one", "octopi", "kaggle"}
        The rule. One to one: as many pairs as possible, at the least total distance, at most as
        long as the limit (`match_points`). Octopi: each point by itself by the nearest of the
        other side, closer than the limit; several predictions of one particle are all hits.
        Kaggle: as Octopi's, up to the limit; of several predictions of a particle one is a hit.

    Raises
    ------
    ConfigError
        If there is no such rule.
    PlanError
        As `match_points`.

    References
    ----------
    CZII - CryoET Object Identification, Kaggle (2024), "Evaluation".

    Examples
    --------
    >>> truth, predicted = np.array([[0.0, 0, 0], [0, 0, 50]]), np.array([[0.0, 0, 1], [0, 0, 2]])
    >>> for rule in MATCHINGS:
    ...     match = match_class(truth, predicted, radius=10.0, scale=0.5, matching=rule)
    ...     print(rule, match.tp, match.fp, match.fn)
    one-to-one 1 1 1
    octopi 2 0 1
    kaggle 1 1 1
    """
    check_matching(matching)
    if matching == "one-to-one":
        pairs, distances = match_points(truth, predicted, max_distance=radius * scale)
        partners = [np.full(len(side), -1, np.int64) for side in (truth, predicted)]
        lengths = [np.full(len(side), np.nan) for side in (truth, predicted)]
        for side in (0, 1):
            partners[side][pairs[:, side]] = pairs[:, 1 - side]
            lengths[side][pairs[:, side]] = distances
        return Match(matching, partners[0], partners[1], lengths[0], lengths[1])
    if matching == "octopi":
        unit, limit = OCTOPI_UNIT, radius / OCTOPI_UNIT * scale
    else:
        unit, limit = 1.0, radius * scale
    sides = truth / unit, predicted / unit
    near = [_nearest(*sides), _nearest(*sides[::-1])]
    for partner, length in near:
        is_far = length >= limit if matching == "octopi" else length > limit
        partner[is_far], length[is_far] = -1, np.nan
    (truth_partner, truth_length), (partner, length) = near
    return Match(matching, truth_partner, partner, truth_length * unit, length * unit)


def nearest_distances(
    points: npt.NDArray[np.float64], others: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Distance of each point to the nearest other one; infinite where there is none.

    Parameters
    ----------
    points, others : ndarray, (n, 3) and (m, 3)
        Coordinates in one unit of length.
    """
    return _nearest(points, others)[1]


def check_matching(matching: str) -> None:
    """Refuse a rule that there is not.

    Raises
    ------
    ConfigError
    """
    if matching not in MATCHINGS:
        msg = f'there is no matching "{matching}"; {nearest(matching, MATCHINGS)}'
        raise ConfigError(msg)


def f_beta(
    tp: npt.NDArray[np.generic],
    fp: npt.NDArray[np.generic],
    fn: npt.NDArray[np.generic],
    beta: float,
) -> npt.NDArray[np.float64]:
    """F-beta from counts; 0 where there is no hit."""
    hits, false, missed = (np.asarray(part, np.float64) for part in (tp, fp, fn))
    below = (1 + beta**2) * hits + beta**2 * missed + false
    return np.where(hits > 0, (1 + beta**2) * hits / np.where(hits > 0, below, 1.0), 0.0)


def _nearest(
    points: npt.NDArray[np.float64], others: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Nearest other point of each, and its distance."""
    if len(points) == 0 or len(others) == 0:
        return np.full(len(points), -1, np.int64), np.full(len(points), np.inf)
    _, index = cKDTree(others).query(points)
    # Not the tree's distance, which is rounded otherwise where its sum takes another order.
    distance = np.sqrt(((points - others[index]) ** 2).sum(axis=1))
    return index.astype(np.int64), distance
