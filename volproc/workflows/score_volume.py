"""One volume scored: the table of its classes, every pick with its match, and what sweeps need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.points import Points
from volproc.metrics.counting import Match, Matching, nearest_distances
from volproc.metrics.points import WHOLE, angstrom, match_volume, score_matches
from volproc.metrics.sweep import Gains, rank_class

PICK_COLUMNS = (
    "class_name", "side", "number", "x_angstrom", "y_angstrom", "z_angstrom", "score", "matched",
    "partner", "distance_angstrom", "nearest_angstrom",
)  # fmt: skip
"""Columns of the table of picks. ``side`` is ``predicted`` or ``truth``; ``number`` counts the
points of a class and side from 0, and ``partner`` is that of the other side, -1 for none."""


@dataclass(frozen=True, slots=True, eq=False)
class VolumeScores:
    """What is known of one volume once it is scored."""

    scores: pd.DataFrame
    """A row a class and ``overall``, as `volproc.metrics.points.score_points` gives it."""

    picks: pd.DataFrame
    """A row a point, predicted and true: columns of `PICK_COLUMNS`."""

    gains: dict[str, Gains] = field(default_factory=dict)
    """By class, where thresholds are swept."""

    counts: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    """By class, (distances, counts): a row for each distance that is swept, counts in the order of
    `volproc.metrics.points.WHOLE`."""


def score_volume(
    truth: Points,
    predicted: Points,
    *,
    radii: Mapping[str, float],
    scale: float,
    beta: float,
    matching: Matching,
    sweep: bool = False,
    distance_scales: Sequence[float] = (),
) -> VolumeScores:
    """Score one volume.

    Parameters
    ----------
    truth, predicted : Points
        Points of the classes that are scored, and of no others.
    radii, scale, beta, matching
        As in `volproc.metrics.points.score_points`.
    sweep : bool
        Also rank the predicted points by their score.
    distance_scales : sequence of float
        Also count at these longest distances, in radii.

    Raises
    ------
    VolprocError
        As `volproc.metrics.points.score_points`; with ``sweep`` also where a score is no number.
    """
    matches = match_volume(truth, predicted, radii=radii, distance_scale=scale, matching=matching)
    rows = [
        {
            name: (one.num_truth, one.num_predicted, one.tp, one.fp, one.fn)
            for name, one in match_volume(
                truth, predicted, radii=radii, distance_scale=other, matching=matching
            ).items()
        }
        for other in distance_scales
    ]
    gains = {}
    if sweep:
        for name in matches:
            true, found = truth.select(name), predicted.select(name)
            gains[name] = rank_class(
                angstrom(true),
                angstrom(found),
                found.table["score"].to_numpy(np.float64),
                radius=radii[name],
                scale=scale,
                matching=matching,
            )
    counts = {
        name: np.array([row[name] for row in rows], np.int64).reshape(-1, len(WHOLE))
        for name in (matches if distance_scales else ())
    }
    return VolumeScores(
        score_matches(matches, beta=beta, matching=matching),
        _list_picks(truth, predicted, matches),
        gains,
        counts,
    )


def _list_picks(truth: Points, predicted: Points, matches: Mapping[str, Match]) -> pd.DataFrame:
    """All points of all classes, the predicted ones of a class before the true ones."""
    parts = []
    for name, match in matches.items():
        found, true = predicted.select(name), truth.select(name)
        places = angstrom(found), angstrom(true)
        for side, points, others, partner, distance in (
            ("predicted", found, places[1], match.predicted_partner, match.predicted_distance),
            ("truth", true, places[0], match.truth_partner, match.truth_distance),
        ):
            if not len(points):
                continue
            here = angstrom(points)
            nearest = nearest_distances(here, others)
            parts.append(
                pd.DataFrame(
                    {
                        "class_name": name,
                        "side": side,
                        "number": np.arange(len(points)),
                        "x_angstrom": here[:, 2],
                        "y_angstrom": here[:, 1],
                        "z_angstrom": here[:, 0],
                        "score": points.table["score"].to_numpy(np.float64),
                        "matched": partner >= 0,
                        "partner": partner,
                        "distance_angstrom": distance,
                        "nearest_angstrom": np.where(np.isfinite(nearest), nearest, np.nan),
                    }
                )
            )
    if not parts:
        return pd.DataFrame(columns=list(PICK_COLUMNS))
    return pd.concat(parts, ignore_index=True)
