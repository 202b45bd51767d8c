"""Scores of many volumes as one: counts added, means over volumes, one weighted figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.errors import ConfigError
from volproc.metrics.counting import Matching
from volproc.metrics.points import COUNTS, OVERALL, combine_scores

SCORED = ("precision", "recall", "f1", "fbeta", "accuracy")
"""Columns of which there are means over classes."""

AVERAGED = (*SCORED, *COUNTS)
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
    scores and counts, as ``precision_mean``, ``precision_std`` …"""

    weighted_fbeta: float
    """Mean of the classes' F-beta by their weights; NaN where no class weighs anything."""

    averages: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Precision, recall, F1, F-beta and accuracy of all classes, three ways, in the column
    ``average``: ``micro`` from counts that were added over the classes, ``macro`` the mean of the
    classes' scores, ``weighted`` their mean by weight."""


def summarize_scores(
    tables: Mapping[str, pd.DataFrame],
    *,
    beta: float = 4.0,
    weights: Mapping[str, float] | None = None,
    matching: Matching = "one-to-one",
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
    matching : {"one-to-one", "octopi", "kaggle"}
        The rule that the volumes were scored by.

    Returns
    -------
    summary : ScoreSummary
        Classes that are in no volume and were predicted in none are left out; by the rules of
        Octopi and Kaggle they are in it, and count as 0.

    Raises
    ------
    ConfigError
        If a weight is negative or not finite.
    ShapeError
        If there are no tables.

    Notes
    -----
    A volume in which a class neither is nor was predicted says nothing of that class, and is not
    in its mean; one in which it was missed, or only imagined, is in it with 0. Octopi leaves such
    a volume out of its means, and so do these by its rule.

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
    summed = combine_scores(list(tables.values()), beta=beta, matching=matching)
    scores = summed
    if matching == "one-to-one":
        occurs = summed["num_truth"] + summed["num_predicted"] > 0
        scores = summed[occurs | (summed["class_name"] == OVERALL)].reset_index(drop=True)
    classes = scores[scores["class_name"] != OVERALL]
    heavy = np.array([weights.get(name, 1.0) for name in classes["class_name"]], np.float64)
    averages = _average_classes(scores, classes, heavy)
    # The row of all classes has no weight of its own, and is the last.
    column = np.append(heavy, np.nan)
    return ScoreSummary(
        scores.assign(weight=column),
        _average_volumes(tables, scores, matching),
        float(averages["fbeta"].iloc[-1]),
        averages,
    )


def _average_classes(
    scores: pd.DataFrame, classes: pd.DataFrame, weights: npt.NDArray[np.float64]
) -> pd.DataFrame:
    """One figure for all classes: micro, macro and weighted."""
    figures = classes[list(SCORED)].to_numpy(np.float64)
    rows = [scores[list(SCORED)].to_numpy(np.float64)[-1]]
    for heavy in (np.ones(len(figures)), weights):
        total = heavy.sum()
        rows.append(heavy @ figures / total if total else np.full(len(SCORED), np.nan))
    averages = pd.DataFrame(np.array(rows), columns=list(SCORED))
    averages.insert(0, "average", ["micro", "macro", "weighted"])
    return averages


def _average_volumes(
    tables: Mapping[str, pd.DataFrame], scores: pd.DataFrame, matching: Matching
) -> pd.DataFrame:
    """Means over the volumes in which there is something to score."""
    rows = pd.concat(list(tables.values()), ignore_index=True)
    if matching == "octopi":
        rows = rows[(rows["num_truth"] > 0) & (rows["num_predicted"] > 0)]
    else:
        rows = rows[rows["num_truth"] + rows["num_predicted"] > 0]
    groups = rows.groupby("class_name")
    averaged = pd.DataFrame({"num_volumes": groups.size()})
    for column in AVERAGED:
        averaged[f"{column}_mean"] = groups[column].mean()
        averaged[f"{column}_std"] = groups[column].std(ddof=0)
    ordered = averaged.reindex(scores["class_name"])
    ordered["num_volumes"] = ordered["num_volumes"].fillna(0).astype(np.int64)
    return ordered.rename_axis("class_name").reset_index()
