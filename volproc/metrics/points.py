"""Scores of predicted points against true ones, class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from volproc.core.errors import ConfigError, ShapeError, nearest
from volproc.core.points import Points
from volproc.metrics.matching import match_points

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
) -> pd.DataFrame:
    """Score predicted points: precision, recall, F1 and F-beta of each class and overall.

    A predicted point is right if it is paired with a true one of its class. Pairs are one to
    one, as many as possible (`match_points`), and no longer than ``distance_scale`` radii.

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

    Returns
    -------
    scores : DataFrame
        A row for each class, sorted, and ``overall``; columns ``class_name``, ``num_truth``,
        ``num_predicted``, ``tp``, ``fp``, ``fn``, ``precision``, ``recall``, ``f1``, ``fbeta``
        and ``mean_distance_angstrom`` of the pairs (NaN without any).

    Raises
    ------
    ConfigError
        If a class that occurs has no radius, or a number is impossible.
    ShapeError
        If the volumes are of different sizes.

    Notes
    -----
    Where nothing is there and nothing was predicted, all scores are 1. Where only one side is
    empty, all are 0: a precision of nothing predicted has no value of its own, and 0 keeps a
    method that finds nothing from looking precise.
    """
    _check(truth, predicted, radii, distance_scale, beta)
    sides = [
        (side.table["class_name"].to_numpy(object), _angstrom(side)) for side in (truth, predicted)
    ]
    rows = []
    for name in sorted(radii):
        true, found = (places[classes == name] for classes, places in sides)
        _, distances = match_points(true, found, max_distance=distance_scale * radii[name])
        tp = len(distances)
        mean = float(distances.mean()) if tp else np.nan
        rows.append((name, tp, len(found) - tp, len(true) - tp, mean))
    return _finish(rows, beta)


def combine_scores(tables: Sequence[pd.DataFrame], *, beta: float = 1.0) -> pd.DataFrame:
    """Score several volumes as one: counts are added, then the scores follow from them.

    Parameters
    ----------
    tables : sequence of DataFrame
        What `score_points` returned for each volume.
    beta : float
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
    summed = joined.groupby("class_name", sort=True, as_index=False)[[*COUNTS, "total"]].sum()
    summed[MEAN] = (summed.pop("total") / summed["tp"].where(summed["tp"] > 0)).astype(float)
    rows = summed[["class_name", *COUNTS, MEAN]].itertuples(index=False, name=None)
    return _finish(list(rows), beta)


def to_json(scores: pd.DataFrame) -> dict[str, dict[str, float | int | None]]:
    """Return scores as plain values by class name, for a JSON file; NaN becomes None."""
    names = list(map(str, scores["class_name"]))
    plain: dict[str, dict[str, float | int | None]] = {name: {} for name in names}
    for key in (str(column) for column in scores.columns if column != "class_name"):
        for name, value in zip(names, scores[key].tolist(), strict=True):
            is_known = value == value  # NaN is not
            plain[name][key] = None if not is_known else int(value) if key in WHOLE else value
    return plain


def _finish(rows: list[tuple[str, int, int, int, float]], beta: float) -> pd.DataFrame:
    """Compute every score from (class, tp, fp, fn, mean distance), and append the overall row."""
    # Written without pandas: of 10,000 volumes, tables were most of the time.
    counts = np.array([row[1:4] for row in rows], np.int64).reshape(-1, 3)
    means = np.array([row[4] for row in rows], np.float64)
    tp = counts[:, 0].sum()
    mean = np.nansum(means * counts[:, 0]) / tp if tp else np.nan
    counts = np.concatenate([counts, counts.sum(axis=0, keepdims=True)])
    hits, false, missed = counts.T.astype(np.float64)
    right = counts.sum(axis=1) == 0
    return pd.DataFrame(
        {
            "class_name": [*(row[0] for row in rows), OVERALL],
            "num_truth": counts[:, 0] + counts[:, 2],
            "num_predicted": counts[:, 0] + counts[:, 1],
            **{key: counts[:, place] for place, key in enumerate(COUNTS)},
            "precision": np.where(right, 1.0, hits / np.maximum(hits + false, 1)),
            "recall": np.where(right, 1.0, hits / np.maximum(hits + missed, 1)),
            "f1": _f_beta(hits, false, missed, 1.0),
            "fbeta": _f_beta(hits, false, missed, beta),
            MEAN: np.append(means, mean),
        }
    )


def _f_beta(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, beta: float) -> np.ndarray:
    """F-beta from counts; 1 where there is nothing to find and nothing was found."""
    below = (1 + beta**2) * tp + beta**2 * fn + fp
    return np.where(below == 0, 1.0, (1 + beta**2) * tp / np.where(below == 0, 1.0, below))


def _angstrom(points: Points) -> np.ndarray:
    return points.zyx * np.asarray(points.voxel_size, np.float64)


def _check(
    truth: Points,
    predicted: Points,
    radii: Mapping[str, float],
    distance_scale: float,
    beta: float,
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
    for name, value in (numbers | {"distance_scale": distance_scale, "beta": beta}).items():
        if not (np.isfinite(value) and value > 0):
            msg = f"{name} must be positive and finite, got {value}."
            raise ConfigError(msg)
