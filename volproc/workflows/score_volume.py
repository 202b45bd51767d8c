"""One volume scored: the table of its classes, every pick with its match, and what sweeps need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
        scores = predicted.table["score"].to_numpy(np.float64)
        sides = [(p.table["class_name"].to_numpy(object), angstrom(p)) for p in (truth, predicted)]
        for name in matches:
            true, found = (places[classes == name] for classes, places in sides)
            gains[name] = rank_class(
                true,
                found,
                scores[sides[1][0] == name],
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
    sides = [
        (
            one.table["class_name"].to_numpy(object),
            angstrom(one),
            one.table["score"].to_numpy(np.float64),
        )
        for one in (predicted, truth)
    ]
    columns: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in PICK_COLUMNS}
    for name, match in matches.items():
        found, true = ((places[c == name], scores[c == name]) for c, places, scores in sides)
        for side, (here, scores), (there, _), partner, distance in (
            ("predicted", found, true, match.predicted_partner, match.predicted_distance),
            ("truth", true, found, match.truth_partner, match.truth_distance),
        ):
            nearest = nearest_distances(here, there)
            nearest[np.isinf(nearest)] = np.nan
            values = (
                np.full(len(here), name, object), np.full(len(here), side, object),
                np.arange(len(here)), here[:, 2], here[:, 1], here[:, 0], scores, partner >= 0,
                partner, distance, nearest,
            )  # fmt: skip
            for column, one in zip(columns.values(), values, strict=True):
                column.append(one)
    # One table a volume: of many volumes, a table a class and side was half of the time.
    return pd.DataFrame(
        {
            column: np.concatenate(parts) if parts else np.zeros(0)
            for column, parts in columns.items()
        }
    )
