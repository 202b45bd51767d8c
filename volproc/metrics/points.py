"""Scores of predicted points against true ones, class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from volproc.core.errors import ConfigError, ShapeError, nearest
from volproc.core.points import Points
from volproc.metrics.counting import Match, Matching, check_matching, f_beta, match_class

OVERALL = "overall"
"""Name of the row that counts the points of all classes together (micro average)."""

COUNTS = ("tp", "fp", "fn")
"""Columns that add up over runs and classes."""

WHOLE = ("num_truth", "num_predicted", *COUNTS)
"""Columns of whole numbers."""

MEAN = "mean_distance_angstrom"
"""Column of the mean distance of the pairs."""


def score_points(
    truth: Points,
    predicted: Points,
    *,
    radii: Mapping[str, float],
    distance_scale: float = 0.5,
    beta: float = 1.0,
    matching: Matching = "one-to-one",
) -> pd.DataFrame:
    """Score predicted points: precision, recall, F1 and F-beta of each class and overall.

    A predicted point is right if it finds a true one of its class, which lies no farther than
    ``distance_scale`` radii. By default they are paired, one to one, as many as possible.

    Parameters
    ----------
    truth, predicted : Points
        Points of one volume.
    radii : mapping of str to float
        Radius of each class, Å. A class that occurs nowhere gets a row too.
    distance_scale : float
        Longest distance of a pair, in radii.
    beta : float
        Above 1 recall counts more, below 1 precision.
    matching : {"one-to-one", "octopi", "kaggle"}
        What counts as found, as in `volproc.metrics.counting.match_class`.

    Returns
    -------
    scores : DataFrame
        A row for each class, sorted, and ``overall``; columns ``class_name``, ``num_truth``,
        ``num_predicted``, ``tp``, ``fp``, ``fn``, ``precision``, ``recall``, ``f1``, ``fbeta``,
        ``accuracy`` (hits among all that is there or was predicted) and
        ``mean_distance_angstrom`` of the hits (NaN without any).

    Raises
    ------
    ConfigError
        If a class that occurs has no radius, or a number is impossible.
    ShapeError
        If the volumes are of different sizes.

    Notes
    -----
    Where nothing is there and nothing was predicted, all scores are 1; by the rules of Octopi and
    Kaggle they are 0. Where only one side is empty, all are 0: a precision of nothing predicted
    has no value of its own, and 0 keeps a method that finds nothing from looking precise.
    """
    matches = match_volume(
        truth, predicted, radii=radii, distance_scale=distance_scale, matching=matching
    )
    return score_matches(matches, beta=beta, matching=matching)


def match_volume(
    truth: Points,
    predicted: Points,
    *,
    radii: Mapping[str, float],
    distance_scale: float = 0.5,
    matching: Matching = "one-to-one",
) -> dict[str, Match]:
    """Hold the predicted points of one volume against the true ones, class by class.

    Parameters
    ----------
    truth, predicted, radii, distance_scale, matching
        As in `score_points`.

    Returns
    -------
    matches : dict of str to Match
        By class, sorted. Points are numbered in the order of their class in the table.

    Raises
    ------
    ConfigError, ShapeError
        As `score_points`.
    """
    check_matching(matching)
    _check(truth, predicted, radii, distance_scale)
    sides = [
        (side.table["class_name"].to_numpy(object), angstrom(side)) for side in (truth, predicted)
    ]
    return {
        name: match_class(
            *(places[classes == name] for classes, places in sides),
            radius=radii[name],
            scale=distance_scale,
            matching=matching,
        )
        for name in sorted(radii)
    }


def score_matches(
    matches: Mapping[str, Match], *, beta: float = 1.0, matching: Matching = "one-to-one"
) -> pd.DataFrame:
    """Scores of what `match_volume` found, as `score_points` returns them.

    Raises
    ------
    ConfigError
        If ``beta`` is impossible.
    """
    rows = []
    for name, match in matches.items():
        distances = match.hit_distances
        counts = match.num_truth, match.num_predicted, match.tp, match.fp, match.fn
        rows.append((name, *counts, float(distances.mean()) if len(distances) else np.nan))
    return _finish(rows, beta, matching)


def combine_scores(
    tables: Sequence[pd.DataFrame], *, beta: float = 1.0, matching: Matching = "one-to-one"
) -> pd.DataFrame:
    """Score several volumes as one: counts are added, then the scores follow from them.

    Parameters
    ----------
    tables : sequence of DataFrame
        What `score_points` returned for each volume.
    beta, matching
        As in `score_points`.

    Raises
    ------
    ShapeError
        If there are no tables.
    """
    if not tables:
        msg = "no scores to combine, got an empty sequence. Give at least one table."
        raise ShapeError(msg)
    joined = pd.concat(list(tables), ignore_index=True)
    joined = joined[joined["class_name"] != OVERALL]
    joined = joined.assign(total=(joined[MEAN].fillna(0.0) * joined["tp"]))
    summed = joined.groupby("class_name", sort=True, as_index=False)[[*WHOLE, "total"]].sum()
    summed[MEAN] = (summed.pop("total") / summed["tp"].where(summed["tp"] > 0)).astype(float)
    rows = summed[["class_name", *WHOLE, MEAN]].itertuples(index=False, name=None)
    return _finish(list(rows), beta, matching)


def to_json(scores: pd.DataFrame) -> dict[str, dict[str, float | int | None]]:
    """Return scores as plain values by class name, for a JSON file; NaN becomes None."""
    names = list(map(str, scores["class_name"]))
    plain: dict[str, dict[str, float | int | None]] = {name: {} for name in names}
    for key in (str(column) for column in scores.columns if column != "class_name"):
        for name, value in zip(names, scores[key].tolist(), strict=True):
            is_known = value == value  # NaN is not
            plain[name][key] = None if not is_known else int(value) if key in WHOLE else value
    return plain


def angstrom(points: Points) -> np.ndarray:
    """Centres in Å, (n, 3)."""
    return points.zyx * np.asarray(points.voxel_size, np.float64)


def _finish(
    rows: Sequence[tuple[str, int, int, int, int, int, float]], beta: float, matching: Matching
) -> pd.DataFrame:
    """Compute every score from (class, counts, mean distance), and append the overall row."""
    if not (np.isfinite(beta) and beta > 0):
        msg = f"beta must be positive and finite, got {beta}."
        raise ConfigError(msg)
    # Written without pandas: of 10,000 volumes, tables were most of the time.
    counts = np.array([row[1:6] for row in rows], np.int64).reshape(-1, len(WHOLE))
    means = np.array([row[6] for row in rows], np.float64)
    tp = counts[:, 2].sum()
    mean = np.nansum(means * counts[:, 2]) / tp if tp else np.nan
    counts = np.concatenate([counts, counts.sum(axis=0, keepdims=True)])
    hits, false, missed = counts[:, 2:].T.astype(np.float64)
    is_nothing = counts[:, :2].sum(axis=1) == 0
    of_nothing = 1.0 if matching == "one-to-one" else 0.0
    scores = {
        "precision": hits / np.maximum(hits + false, 1),
        "recall": hits / np.maximum(hits + missed, 1),
        "f1": f_beta(hits, false, missed, 1.0),
        "fbeta": f_beta(hits, false, missed, beta),
        "accuracy": hits / np.maximum(hits + false + missed, 1),
    }
    return pd.DataFrame(
        {
            "class_name": [*(row[0] for row in rows), OVERALL],
            **{key: counts[:, place] for place, key in enumerate(WHOLE)},
            **{key: np.where(is_nothing, of_nothing, value) for key, value in scores.items()},
            MEAN: np.append(means, mean),
        }
    )


def _check(
    truth: Points,
    predicted: Points,
    radii: Mapping[str, float],
    distance_scale: float,
) -> None:
    """Refuse scores that would mean nothing."""
    # Tables of points often do not know how large their volume is.
    is_known = truth.shape and predicted.shape and truth.voxel_size == predicted.voxel_size
    if is_known and truth.shape != predicted.shape:
        msg = (
            f"truth lies in a volume of {truth.shape} voxels, the prediction in one of "
            f"{predicted.shape}. Compare points of the same volume."
        )
        raise ShapeError(msg)
    for name in {*truth.class_names, *predicted.class_names} - set(radii):
        msg = (
            f'the class "{name}" has no radius, {nearest(name, radii)} Give its radius in Å, or '
            "select the classes to score."
        )
        raise ConfigError(msg)
    numbers = {f"the radius of {name}": radius for name, radius in radii.items()}
    for name, value in (numbers | {"distance_scale": distance_scale}).items():
        if not (np.isfinite(value) and value > 0):
            msg = f"{name} must be positive and finite, got {value}."
            raise ConfigError(msg)
