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
    rows = []
    for name in sorted(radii):
        true, found = _angstrom(truth.select(name)), _angstrom(predicted.select(name))
        _, distances = match_points(true, found, max_distance=distance_scale * radii[name])
        tp = len(distances)
        rows.append(
            {
                "class_name": name,
                "tp": tp,
                "fp": len(found) - tp,
                "fn": len(true) - tp,
                "mean_distance_angstrom": float(distances.mean()) if tp else np.nan,
            }
        )
    return _finish(pd.DataFrame(rows, columns=["class_name", *COUNTS, MEAN]), beta)


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
    return _finish(summed, beta)


def to_json(scores: pd.DataFrame) -> dict[str, dict[str, float | int | None]]:
    """Return scores as plain values by class name, for a JSON file; NaN becomes None."""
    plain: dict[str, dict[str, float | int | None]] = {}
    for row in scores.to_dict("records"):
        name = str(row.pop("class_name"))
        plain[name] = {
            str(key): None if pd.isna(value) else int(value) if key in WHOLE else float(value)
            for key, value in row.items()
        }
    return plain


def _finish(table: pd.DataFrame, beta: float) -> pd.DataFrame:
    """Append the overall row, then compute every score from the counts."""
    tp = table["tp"].sum()
    overall = {"class_name": OVERALL} | {key: int(table[key].sum()) for key in COUNTS}
    mean = float((table[MEAN].fillna(0.0) * table["tp"]).sum() / tp) if tp else np.nan
    last = pd.DataFrame([overall | {MEAN: mean}])
    table = pd.concat([table, last], ignore_index=True) if len(table) else last
    hits, false, missed = (table[key].to_numpy(np.float64) for key in COUNTS)
    right = (hits + false + missed) == 0
    return pd.DataFrame(
        {
            "class_name": table["class_name"],
            "num_truth": (hits + missed).astype(np.int64),
            "num_predicted": (hits + false).astype(np.int64),
            **{key: table[key].astype(np.int64) for key in COUNTS},
            "precision": np.where(right, 1.0, hits / np.maximum(hits + false, 1)),
            "recall": np.where(right, 1.0, hits / np.maximum(hits + missed, 1)),
            "f1": _f_beta(hits, false, missed, 1.0),
            "fbeta": _f_beta(hits, false, missed, beta),
            MEAN: table[MEAN].astype(np.float64),
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
