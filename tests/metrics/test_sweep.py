"""Thresholds: each row of a curve is what the points that it keeps would score by themselves."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import NonFiniteError, ShapeError
from volproc.metrics.counting import MATCHINGS, Matching, match_class
from volproc.metrics.sweep import Gains, rank_class, sweep_scores


@given(st.integers(0, 2**31), st.integers(0, 9), st.integers(0, 14), st.sampled_from(MATCHINGS))
def test_every_row_is_the_score_of_what_is_kept(
    seed: int, n: int, m: int, matching: Matching
) -> None:
    rng = np.random.default_rng(seed)
    # Crowded, so that a nearest partner is often not the best one; few scores, so that many tie.
    volumes = [
        (rng.uniform(0, 30, (n, 3)), rng.uniform(0, 30, (m, 3)), rng.integers(0, 6, m) / 8)
        for _ in range(2)
    ]
    rule: dict[str, Any] = {"radius": 20.0, "scale": 0.6, "matching": matching}
    curve = sweep_scores([rank_class(*one, **rule) for one in volumes], matching=matching, beta=2.0)
    every = np.unique(np.concatenate([scores for *_, scores in volumes]))[::-1]
    assert curve.table["threshold"].tolist() == every.tolist()
    for number in range(len(curve.table)):
        row = curve.table.iloc[number]
        kept = [(t, p[s >= row.threshold]) for t, p, s in volumes]
        matches = [match_class(t, p, **rule) for t, p in kept]
        tp, fp, fn = (sum(getattr(one, part) for one in matches) for part in ("tp", "fp", "fn"))
        assert (row.tp, row.fp, row.fn) == (tp, fp, fn)
        assert row.num_predicted == sum(len(p) for _, p in kept)
        if tp:
            assert row.fbeta == pytest.approx(5 * tp / (5 * tp + 4 * fn + fp))
            assert row.recall == pytest.approx(tp / (tp + fn))


def gains(scores: list[float], hits: list[int], num_truth: int) -> Gains:
    added = np.array(hits, np.uint16)
    return Gains(np.array(scores), added, added, num_truth)


def test_average_precision_and_the_best_threshold_of_a_known_curve() -> None:
    curve = sweep_scores([gains([0.9, 0.5], [1, 0], 2), gains([0.7, 0.1], [1, 1], 2)], beta=1.0)
    assert curve.table["precision"].tolist() == pytest.approx([1, 1, 2 / 3, 3 / 4])
    assert curve.average_precision == pytest.approx((1 + 1 + 3 / 4) / 4)
    assert curve.best is not None
    assert curve.best["threshold"] == 0.1
    flat = sweep_scores([gains([0.9, 0.5], [1, 0], 1)], beta=1.0)
    assert flat.best is not None
    assert flat.best["threshold"] == 0.9


def test_a_curve_of_nothing_has_no_rows() -> None:
    missed = sweep_scores([gains([], [], 3)])
    assert missed.table.empty
    assert missed.best is None
    assert missed.average_precision == 0.0
    assert np.isnan(sweep_scores([]).average_precision)
    assert np.isnan(sweep_scores([gains([0.5], [0], 0)]).average_precision)


def test_a_long_curve_is_thinned_and_keeps_its_ends_and_its_best() -> None:
    hits = np.array([1] * 137 + [0] * 863, np.uint16)
    curve = sweep_scores([Gains(np.linspace(1, 0, 1000), hits, hits, 137)])
    thin = curve.thin(50)
    assert 40 < len(thin) <= 50
    assert thin["threshold"].iloc[[0, -1]].tolist() == [1.0, 0.0]
    assert thin["fbeta"].max() == 1.0
    assert len(curve.thin(1000)) == 1000


def test_scores_that_no_threshold_keeps_are_refused() -> None:
    one = np.zeros((1, 3))
    with pytest.raises(NonFiniteError, match="1 of 1 predicted points have a score that is no"):
        rank_class(one, one, np.array([np.nan]), radius=1.0, scale=1.0)
    with pytest.raises(ShapeError, match="1 points and 2 scores"):
        rank_class(one, one, np.ones(2), radius=1.0, scale=1.0)
