"""Scores of many volumes as one: counts added, means over volumes, one weighted figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np
import pandas as pd

from volproc.core.errors import ConfigError
from volproc.metrics.points import OVERALL, combine_scores

AVERAGED = ("precision", "recall", "f1", "fbeta")
"""Columns of which there are means over volumes."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreSummary:
    """Scores of many volumes."""

    scores: pd.DataFrame
    """A row a class and ``overall``, from counts that were added over the volumes (micro
    average): columns of `volproc.metrics.points.score_points`, and ``weight``."""

    means: pd.DataFrame
    """A row a class and ``overall``: ``class_name``, ``num_volumes`` in which the class is there
    or was predicted, and of these the mean and the standard deviation (of the population) of
    precision, recall, F1 and F-beta, as ``precision_mean``, ``precision_std`` …"""

    weighted_fbeta: float
    """Mean of the classes' F-beta by their weights; NaN where no class weighs anything."""


def summarize_scores(
    tables: Mapping[str, pd.DataFrame],
    *,
    beta: float = 4.0,
    weights: Mapping[str, float] | None = None,
) -> ScoreSummary:
    """Sum up the scores of many volumes.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        What `volproc.metrics.points.score_points` returned, by volume.
    beta : float
        As there.
    weights : mapping of str to float
        Weight of each class in the weighted mean; 1 for those that are not in it.

    Returns
    -------
    summary : ScoreSummary
        Classes that are in no volume and were predicted in none are left out.

    Raises
    ------
    ConfigError
        If a weight is negative or not finite.
    ShapeError
        If there are no tables.

    Notes
    -----
    A volume in which a class neither is nor was predicted says nothing of that class, and is not
    in its mean; one in which it was missed, or only imagined, is in it with 0.

    Examples
    --------
    >>> from volproc.core.points import Points
    >>> from volproc.metrics.points import score_points
    >>> lies = {"class_name": "ball", "voxel_size": (1.0, 1.0, 1.0), "shape": ()}
    >>> truth = Points.from_zyx([[1, 2, 3], [9, 9, 9]], **lies)
    >>> found = Points.from_zyx([[1, 2, 3]], **lies)
    >>> table = score_points(truth, found, radii={"ball": 2.0}, beta=4.0)
    >>> round(summarize_scores({"TS_1": table}).weighted_fbeta, 3)
    0.515
    """
    weights = dict(weights or {})
    for name, weight in weights.items():
        if not (isfinite(weight) and weight >= 0):
            msg = f"the weight of {name} must be finite and not negative, got {weight}."
            raise ConfigError(msg)
    summed = combine_scores(list(tables.values()), beta=beta)
    occurs = (summed["num_truth"] + summed["num_predicted"] > 0) | (summed["class_name"] == OVERALL)
    scores = summed[occurs].reset_index(drop=True)
    is_class = scores["class_name"] != OVERALL
    names, fbeta = scores["class_name"][is_class], scores["fbeta"][is_class]
    heavy = np.array([weights.get(name, 1.0) for name in names], np.float64)
    total = float(heavy.sum())
    weighted = float(heavy @ fbeta.to_numpy(np.float64)) / total if total else np.nan
    # The row of all classes has no weight of its own, and is the last.
    column = np.append(heavy, np.nan)
    return ScoreSummary(scores.assign(weight=column), _average(tables, scores), weighted)


def _average(tables: Mapping[str, pd.DataFrame], scores: pd.DataFrame) -> pd.DataFrame:
    """Means over the volumes in which there is something to score."""
    rows = pd.concat(list(tables.values()), ignore_index=True)
    rows = rows[rows["num_truth"] + rows["num_predicted"] > 0]
    groups = rows.groupby("class_name")
    averaged = pd.DataFrame({"num_volumes": groups.size()})
    for column in AVERAGED:
        averaged[f"{column}_mean"] = groups[column].mean()
        averaged[f"{column}_std"] = groups[column].std(ddof=0)
    ordered = averaged.reindex(scores["class_name"])
    ordered["num_volumes"] = ordered["num_volumes"].fillna(0).astype(np.int64)
    return ordered.rename_axis("class_name").reset_index()
