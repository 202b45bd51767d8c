"""What other thresholds and other distances would have scored, over all volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.metrics.counting import Matching, f_beta
from volproc.metrics.points import OVERALL, WHOLE
from volproc.metrics.sweep import Curve, Gains, sweep_scores
from volproc.workflows.score_volume import VolumeScores

COLUMNS = (
    "class_name", "sweep", "distance_scale", "threshold", "num_truth", "num_predicted", "tp", "fp",
    "fn", "precision", "recall", "f1", "fbeta",
)  # fmt: skip
"""Columns of the table of sweeps."""


@dataclass(frozen=True, slots=True, eq=False)
class Sweeps:
    """Scores at every threshold of the points' score, and at every distance."""

    curves: dict[str, Curve] = field(default_factory=dict)
    """By class, and ``overall``; empty where thresholds were not swept."""

    table: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(COLUMNS)))
    """A row a class and threshold or distance: columns of `COLUMNS`. Of long curves
    `volproc.metrics.sweep.MOST_ROWS` thresholds are in it."""

    def facts(self) -> dict[str, dict[str, Any]]:
        """Average precision, and threshold and scores where F-beta is highest, by class."""
        return {name: _facts(curve) for name, curve in self.curves.items()}


class SweepCollector:
    """Gathers what sweeps need from one volume after the other.

    Parameters
    ----------
    matching : {"one-to-one", "octopi", "kaggle"}
        The rule that the volumes are scored by.
    beta : float
        Of F-beta.
    scale : float or None
        Distance at which thresholds are swept, in radii; None where it was given in Å.
    distance_scales : sequence of float
        Distances that are swept, in radii.

    Notes
    -----
    About 12 bytes a predicted point are kept where thresholds are swept.
    """

    def __init__(
        self,
        *,
        matching: Matching,
        beta: float,
        scale: float | None = None,
        distance_scales: Sequence[float] = (),
    ) -> None:
        self._matching: Matching = matching
        self._beta = beta
        self._scale = scale
        self._distance_scales = distance_scales
        self._gains: dict[str, list[Gains]] = {}
        self._counts: dict[str, npt.NDArray[np.int64]] = {}

    def add(self, volume: VolumeScores) -> None:
        """Take what is known of one volume."""
        for name, gains in volume.gains.items():
            self._gains.setdefault(name, []).append(gains)
        for name, counts in volume.counts.items():
            self._counts[name] = self._counts.get(name, 0) + counts

    def finish(self) -> Sweeps:
        """Sweeps over all volumes, class by class, and over all classes together."""
        gains, counts = dict(sorted(self._gains.items())), dict(sorted(self._counts.items()))
        if gains:
            gains[OVERALL] = [one for each in gains.values() for one in each]
        if counts:
            counts[OVERALL] = np.sum(list(counts.values()), axis=0)
        curves = {
            name: sweep_scores(each, matching=self._matching, beta=self._beta)
            for name, each in gains.items()
        }
        parts = [
            curve.thin().assign(
                class_name=name,
                sweep="score",
                distance_scale=np.nan if self._scale is None else self._scale,
                num_truth=sum(one.num_truth for one in gains[name]),
            )
            for name, curve in curves.items()
            if not curve.table.empty
        ]
        parts += [self._distance_rows(name, each) for name, each in counts.items()]
        if not parts:
            return Sweeps(curves)
        return Sweeps(curves, pd.concat(parts, ignore_index=True)[list(COLUMNS)])

    def _distance_rows(self, name: str, counts: npt.NDArray[np.int64]) -> pd.DataFrame:
        """Scores of all points of a class at each distance."""
        tp, fp, fn = counts.T[2:]
        return pd.DataFrame(
            {
                "class_name": name,
                "sweep": "distance",
                "distance_scale": list(self._distance_scales),
                "threshold": np.nan,
                **{key: counts[:, place] for place, key in enumerate(WHOLE)},
                "precision": tp / np.maximum(tp + fp, 1),
                "recall": tp / np.maximum(tp + fn, 1),
                "f1": f_beta(tp, fp, fn, 1.0),
                "fbeta": f_beta(tp, fp, fn, self._beta),
            }
        )


def _facts(curve: Curve) -> dict[str, Any]:
    average = curve.average_precision
    best = curve.best
    keys: Mapping[str, str] = {
        "threshold": "best_threshold", "fbeta": "best_fbeta", "precision": "best_precision",
        "recall": "best_recall",
    }  # fmt: skip
    return {
        "average_precision": average if average == average else None,
        **{name: None if best is None else float(best[key]) for key, name in keys.items()},
    }
