"""Pairs of points against brute force."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from volproc.core.errors import PlanError, ShapeError
from volproc.metrics.matching import match_points

# Whole numbers give exact ties, which is where a matching goes wrong.
tables = st.integers(0, 5).flatmap(
    lambda n: arrays(np.float64, (n, 2), elements=st.integers(0, 6).map(float))
)


def best(truth: np.ndarray, predicted: np.ndarray, limit: float) -> tuple[int, float]:
    """Most pairs and their least total distance, by trying all."""
    if len(truth) > len(predicted):
        truth, predicted = predicted, truth
    distance = cdist(truth, predicted) if len(truth) else np.zeros((0, len(predicted)))
    found = (0, 0.0)
    for order in permutations(range(len(predicted)), len(truth)):
        chosen = [distance[i, j] for i, j in enumerate(order) if distance[i, j] <= limit]
        found = max(found, (len(chosen), -sum(chosen)))
    return found[0], -found[1]


@given(tables, tables, st.sampled_from([0.0, 1.0, 2.0, 3.5, 20.0]))
def test_pairs_are_the_optimum_of_all_matchings(
    truth: np.ndarray, predicted: np.ndarray, limit: float
) -> None:
    pairs, distances = match_points(truth, predicted, max_distance=limit)
    count, total = best(truth, predicted, limit)
    assert len(pairs) == count
    assert distances.sum() == pytest.approx(total, abs=1e-9)
    assert (distances <= limit).all()
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == count
    assert (np.diff(pairs[:, 0]) > 0).all()


@given(st.integers(0, 2**31), st.floats(0.05, 0.6))
def test_crowded_points_agree_with_the_dense_assignment(seed: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.uniform(size=(31, 3)), rng.uniform(size=(37, 3))
    distance = cdist(truth, predicted)
    rows, columns = linear_sum_assignment(np.where(distance <= limit, distance, 1000.0))
    dense = distance[rows, columns][distance[rows, columns] <= limit]
    _, distances = match_points(truth, predicted, max_distance=limit)
    assert len(distances) == len(dense)
    assert distances.sum() == pytest.approx(dense.sum())


def test_nearest_first_would_lose_a_pair() -> None:
    # 1-----2-1-----2 : pairing the inner two leaves the outer two alone.
    pairs, _ = match_points([[0.0], [4.0]], [[3.0], [7.0]], max_distance=3.0)
    assert pairs.tolist() == [[0, 0], [1, 1]]


def test_ten_thousand_points_are_paired() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 1000, (10_000, 3))
    order = rng.permutation(10_000)
    pairs, _ = match_points(truth, truth[order] + 0.01, max_distance=5.0)
    assert len(pairs) == 10_000
    assert np.array_equal(order[pairs[:, 1]], pairs[:, 0])


def test_empty_sides_give_no_pairs() -> None:
    for truth, predicted in (([], []), ([], [[1.0, 2, 3]]), ([[1.0, 2, 3]], [])):
        pairs, distances = match_points(truth, predicted, max_distance=1.0)
        assert pairs.shape == (0, 2)
        assert distances.shape == (0,)


def test_impossible_input_is_named() -> None:
    with pytest.raises(ShapeError, match=r"truth \(1, 2\) and predicted \(1, 3\)"):
        match_points([[1.0, 2]], [[1.0, 2, 3]], max_distance=1.0)
    with pytest.raises(ShapeError, match="not finite"):
        match_points([[1.0, np.nan]], [[1.0, 2]], max_distance=1.0)
    many = np.random.default_rng(0).uniform(size=(4_000, 3))
    with pytest.raises(PlanError, match=r"16,000,000 pairs of 4,000 true .* 10,000,000 can be"):
        match_points(many, many, max_distance=9.0)  # all of them, which would fill the memory
    with pytest.raises(ValueError, match=r"max_distance must be finite .* got -1"):
        match_points([[1.0]], [[1.0]], max_distance=-1.0)
