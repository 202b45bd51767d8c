"""Greedy suppression: equal to the sequential rule, whatever the order of arrival."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.core.errors import ConfigError, NonFiniteError, ShapeError
from volproc.reduce.suppression import suppress_points


def greedily(points: np.ndarray, scores: np.ndarray, radius: float) -> set[tuple[float, ...]]:
    """One point after the other, the best first."""
    rows = sorted(zip((-scores).tolist(), map(tuple, points.tolist()), strict=True))
    kept: list[tuple[float, ...]] = []
    for _, place in rows:
        if all(sum((a - b) ** 2 for a, b in zip(place, k, strict=True)) > radius**2 for k in kept):
            kept.append(place)
    return set(kept)


@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.3, 1.0, 1.5, 2.0, 3.0, 40.0]),
    st.sampled_from([2, 3]),
    st.sampled_from([1.0, 0.3, 1000.0]),
)
def test_it_is_the_sequential_rule_for_every_order_of_arrival(seed, radius, ndim, scale) -> None:
    rng = np.random.default_rng(seed)
    points = rng.integers(-4, 5, (rng.integers(0, 70), ndim)) * scale
    scores = rng.integers(0, 4, len(points)).astype(float)
    kept = suppress_points(points, scores, radius * scale)
    assert set(map(tuple, points[kept].tolist())) == greedily(points, scores, radius * scale)
    shuffled = rng.permutation(len(points))
    again = suppress_points(points[shuffled], scores[shuffled], radius * scale)
    np.testing.assert_array_equal(points[shuffled][again], points[kept])
    np.testing.assert_array_equal(scores[shuffled][again], scores[kept])


def test_the_rule_is_a_chain_without_end() -> None:
    # each point hides the next but one alone: a halo of any width would go wrong somewhere
    points = np.zeros((2000, 3))
    points[:, 2] = np.arange(2000)
    scores = np.linspace(1, 0, 2000)
    kept = suppress_points(points, scores, 1.0)
    assert kept.tolist() == list(range(0, 2000, 2))


def test_a_point_at_exactly_the_radius_is_dropped() -> None:
    points, scores = np.array([[0.0, 0, 0], [0, 3, 4]]), np.array([1.0, 2.0])
    assert suppress_points(points, scores, 5.0).tolist() == [1]
    assert suppress_points(points, scores, 4.999).tolist() == [1, 0]


def test_ties_go_to_the_smaller_z_then_y_then_x_then_class() -> None:
    points = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert suppress_points(points, np.ones(3), 2.0).tolist() == [2]
    twice, names = np.zeros((2, 3)), np.array(["b", "a"], object)
    assert suppress_points(twice, np.ones(2), 0.0, classes=names).tolist() == [1]


def test_a_dense_cloud_needs_no_table_of_pairs() -> None:
    points = np.random.default_rng(0).random((30_000, 3)) * 20  # 2,000 neighbours each
    kept = suppress_points(points, np.arange(30_000.0), 5.0)
    places = points[kept]
    apart = ((places[:, None] - places[None]) ** 2).sum(axis=2)
    np.fill_diagonal(apart, np.inf)
    assert apart.min() > 25
    near = ((points[:, None] - places[None]) ** 2).sum(axis=2).min(axis=1)
    assert near.max() <= 25


def test_bad_points_are_named_with_their_cure() -> None:
    points = np.zeros((2, 3))
    with pytest.raises(ConfigError, match=r"within -1. Give a radius"):
        suppress_points(points, np.ones(2), -1)
    with pytest.raises(ConfigError, match="within inf"):
        suppress_points(points, np.ones(2), float("inf"))
    with pytest.raises(ShapeError, match=r"shapes \(2, 3\) and \(3,\)"):
        suppress_points(points, np.ones(3), 1.0)
    with pytest.raises(NonFiniteError, match=r"point 1 at .* has the score nan"):
        suppress_points(points, np.array([1.0, np.nan]), 1.0)
    points[0, 1] = np.inf
    with pytest.raises(NonFiniteError, match=r"point 0 at .*inf"):
        suppress_points(points, np.ones(2), 1.0)
