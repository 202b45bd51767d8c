"""The three ways to count: each against the words of its authors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from volproc.core.errors import ConfigError
from volproc.metrics.counting import MATCHINGS, Matching, match_class, nearest_distances


def along_x(*positions: float) -> np.ndarray:
    return np.array([[0.0, 0.0, x] for x in positions]).reshape(-1, 3)


def counts(match: object) -> tuple[int, int, int]:
    return match.tp, match.fp, match.fn  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("matching", "expected"),
    [("one-to-one", (1, 4, 2)), ("octopi", (5, 0, 2)), ("kaggle", (1, 4, 2))],
)
def test_five_predictions_of_one_particle_of_three(
    matching: Matching, expected: tuple[int, int, int]
) -> None:
    match = match_class(
        along_x(0, 1000, 2000), along_x(0, 1, 2, 3, 4), radius=100.0, scale=0.5, matching=matching
    )
    assert counts(match) == expected


@pytest.mark.parametrize("matching", MATCHINGS)
def test_the_limit_itself_is_near_for_all_but_octopi(matching: Matching) -> None:
    # 0.5 and the distances are exact in binary, in Å and in tens of Å.
    match = match_class(along_x(0), along_x(40), radius=80.0, scale=0.5, matching=matching)
    assert match.tp == (0 if matching == "octopi" else 1)
    assert match.fn == 1 - match.tp


@pytest.mark.parametrize("matching", MATCHINGS)
@pytest.mark.parametrize(("n", "m"), [(0, 0), (3, 0), (0, 2)])
def test_an_empty_side_is_all_missed_or_all_false(matching: Matching, n: int, m: int) -> None:
    sides = along_x(*range(n)), along_x(*range(m))
    match = match_class(*sides, radius=9.0, scale=0.5, matching=matching)
    assert counts(match) == (0, m, n)
    assert (match.num_truth, match.num_predicted) == (n, m)
    assert match.hit_distances.tolist() == []


def test_partners_and_distances_are_those_of_the_hits() -> None:
    truth, predicted = along_x(0, 100, 300), along_x(103, 90, -4)
    one = match_class(truth, predicted, radius=20.0, scale=1.0)
    assert one.truth_partner.tolist() == [2, 0, -1]
    assert one.predicted_partner.tolist() == [1, -1, 0]
    assert one.predicted_distance.tolist() == pytest.approx([3, np.nan, 4], nan_ok=True)
    near = match_class(truth, predicted, radius=20.0, scale=1.0, matching="octopi")
    assert near.predicted_partner.tolist() == [1, 1, 0]
    assert near.truth_distance.tolist() == pytest.approx([4, 3, np.nan], nan_ok=True)
    assert sorted(near.hit_distances.tolist()) == pytest.approx([3, 4, 10])
    kaggle = match_class(truth, predicted, radius=20.0, scale=1.0, matching="kaggle")
    assert sorted(kaggle.hit_distances.tolist()) == pytest.approx([3, 4])


def test_one_prediction_between_two_particles_finds_both_by_the_kaggle_rule() -> None:
    match = match_class(along_x(0, 8), along_x(4), radius=10.0, scale=0.5, matching="kaggle")
    assert counts(match) == (2, -1, 0), "as the challenge counted"


@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 9))
def test_all_rules_are_those_of_the_whole_table_of_distances(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.uniform(0, 60, (n, 3)), rng.uniform(0, 60, (m, 3))
    table = cdist(predicted / 10, truth / 10)
    limit = 60.0 / 10 * 0.4
    octopi = match_class(truth, predicted, radius=60.0, scale=0.4, matching="octopi")
    hits = int((table.min(axis=1) < limit).sum())
    assert counts(octopi) == (hits, m - hits, int((table.min(axis=0) >= limit).sum()))
    kaggle = match_class(truth, predicted, radius=60.0, scale=0.4, matching="kaggle")
    found = int((cdist(predicted, truth).min(axis=0) <= 24.0).sum())
    assert counts(kaggle) == (found, m - found, n - found)
    np.testing.assert_allclose(nearest_distances(truth, predicted), table.min(axis=0) * 10)
    one = match_class(truth, predicted, radius=60.0, scale=0.4)
    assert one.tp <= min(hits, found), "a pair takes a point of either side"


def test_a_rule_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match='no matching "octopus"; did you mean "octopi"'):
        match_class(along_x(0), along_x(0), radius=1.0, scale=1.0, matching="octopus")  # type: ignore[arg-type]
