"""Local maxima of one block: the total order, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from volproc.core.errors import ConfigError, DtypeError, ShapeError
from volproc.core.types import whole
from volproc.reduce.peaks import PeakRule, ball_steps, find_peaks, merge_peaks, sort_peaks


def places_of(scores: Any, rule: PeakRule) -> list[list[int]]:
    array = np.asarray(scores)
    box = whole(array.shape)
    table = find_peaks(array, read=box, write=box, shape=array.shape, rule=rule)
    return table.places.tolist()


def test_a_plateau_has_one_peak_at_its_first_voxel() -> None:
    assert places_of(np.ones((3, 4)), PeakRule(9)) == [[0, 0]]
    assert places_of([[0, 0, 7, 7], [7, 7, 7, 0]], PeakRule(4)) == [[0, 2]]


def test_voxels_at_exactly_the_distance_belong_to_the_ball() -> None:
    line = [[5, 0, 0, 4]]
    assert places_of(line, PeakRule(3, 1)) == [[0, 0]]
    assert places_of(line, PeakRule(2.99, 1)) == [[0, 0], [0, 3]]


def test_the_ball_is_round() -> None:
    corner = np.zeros((4, 4))
    corner[0, 0], corner[3, 3] = 2, 1  # 4.24 apart
    assert places_of(corner, PeakRule(4, 1)) == [[0, 0], [3, 3]]
    assert places_of(corner, PeakRule(4.3, 1)) == [[0, 0]]


def test_nan_is_no_peak_and_hides_none() -> None:
    assert places_of([[np.nan, 1, np.nan]], PeakRule(2)) == [[0, 1]]
    assert places_of([[np.nan, np.nan]], PeakRule(2)) == []


def test_infinite_scores_have_their_order() -> None:
    assert places_of([[np.inf, np.inf, 1, -np.inf, 1]], PeakRule(1)) == [[0, 0], [0, 4]]


def test_the_threshold_is_inclusive() -> None:
    line = [[3, 0, 2, 0, 1]]
    assert places_of(line, PeakRule(1, 2)) == [[0, 0], [0, 2]]


def test_peaks_in_the_border_are_left_out_and_still_hide_others() -> None:
    scores = [[9, 0, 0, 0, 6, 0], [9, 8, 0, 0, 7, 0], [0, 0, 0, 0, 6, 5]]
    assert places_of(scores, PeakRule(1, 1, exclude_border=1)) == [[1, 4]]


def test_large_integers_are_compared_exactly() -> None:
    big = 2**63
    array = np.array([[big, big + 1, 0, 5, 5]], np.uint64)
    assert places_of(array, PeakRule(1)) == [[0, 1], [0, 3]]
    assert places_of(np.array([[2**53, 2**53 + 1]], np.int64), PeakRule(1)) == [[0, 1]]


def test_a_refined_peak_is_the_top_of_a_parabola() -> None:
    z, y, x = np.indices((7, 9, 11))
    scores = 50.0 - (z - 3.25) ** 2 - 2 * (y - 4.4) ** 2 - 0.5 * (x - 5.9) ** 2
    box = whole(scores.shape)
    table = find_peaks(
        scores, read=box, write=box, shape=scores.shape, rule=PeakRule(5, refine=True)
    )
    np.testing.assert_allclose(table.places + table.shifts, [[3.25, 4.4, 5.9]], atol=1e-9)


def test_a_peak_on_the_edge_or_on_a_plateau_stays_where_it_is() -> None:
    for scores in (np.array([[5.0, 1, 0]]), np.full((3, 3), 2.0), np.array([[np.inf, 1.0]])):
        box = whole(scores.shape)
        rule = PeakRule(1, refine=True)
        table = find_peaks(scores, read=box, write=box, shape=scores.shape, rule=rule)
        assert not table.shifts.any()


def test_the_order_is_by_score_then_place_and_not_by_arrival() -> None:
    scores = np.array([[3, 0, 5, 0, 3, 0, 5]], np.uint8)
    box = whole(scores.shape)
    table = find_peaks(scores, read=box, write=box, shape=scores.shape, rule=PeakRule(1, 1))
    parts = [table, table]
    assert len(merge_peaks(parts)) == 8
    assert sort_peaks(table).places[:, 1].tolist() == [2, 6, 0, 4]
    backwards = type(table)(table.places[::-1], table.scores[::-1], table.shifts[::-1])
    assert sort_peaks(backwards).places[:, 1].tolist() == [2, 6, 0, 4]


def test_a_ball_has_the_voxels_within_its_radius() -> None:
    steps, earlier = ball_steps(2.5, 3)
    grid = np.indices((5, 5, 5)).reshape(3, -1).T - 2
    assert len(steps) == ((grid**2).sum(axis=1) <= 6.25).sum() - 1
    for step, first in zip(steps.tolist(), earlier.tolist(), strict=True):
        assert first == (step < [0, 0, 0])
    assert (np.diff((steps**2).sum(axis=1)) >= 0).all()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0.5,), "at least 1 voxel, got 0.5"),
        ((float("nan"),), "at least 1 voxel, got nan"),
        ((float("inf"),), "at least 1 voxel, got inf"),
        ((2, float("nan")), "threshold of peaks is nan"),
        ((2, None, -1), "border of -1 voxels"),
    ],
)
def test_rules_that_cannot_be_are_refused(arguments, text) -> None:
    with pytest.raises(ConfigError, match=text):
        PeakRule(*arguments)


def test_blocks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DtypeError, match="complex128"):
        places_of(np.ones((2, 2), complex), PeakRule(1))
    box = whole((2, 3))
    with pytest.raises(ShapeError, match=r"shape of its region, got \(2, 2\)"):
        find_peaks(np.ones((2, 2)), read=box, write=box, shape=(2, 3), rule=PeakRule(1))
