"""Scores of instances against Cellpose's, brute force and truths by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from cellpose import metrics as cellpose_metrics

from volproc.core.errors import ConfigError, DtypeError, ShapeError
from volproc.metrics import (
    compute_3d_dice,
    compute_3d_iou,
    compute_split_merge_errors,
    contingency_table,
    count_split_merge,
    match_instances,
    score_matches,
)

THRESHOLDS = [0.1, 0.3, 0.5, 0.65, 0.9]


def crowded(seed: int, *, shape: tuple[int, ...] = (7, 23, 31), objects: int = 40) -> npt.NDArray:
    """Labels 1..n without gaps: boxes over one another, some hidden."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    for value in range(1, objects + 1):
        box = tuple(slice(start, start + rng.integers(2, 9)) for start in map(rng.integers, shape))
        labels[box] = value
    return np.unique(labels, return_inverse=True)[1].reshape(shape).astype(np.int32)


def disturbed(labels: npt.NDArray, seed: int) -> npt.NDArray:
    """The same objects moved a little, with some cut, some joined and some lost."""
    rng = np.random.default_rng(seed)
    out = np.roll(labels, (0, 1, -1), (0, 1, 2))
    for value in rng.choice(labels.max(), 6, replace=False) + 1:
        out[out == value] = rng.choice([0, 1 + value % labels.max()])
    out[:, 11:, 9:15] += np.where(out[:, 11:, 9:15] > 0, labels.max(), 0)
    return np.unique(out, return_inverse=True)[1].reshape(out.shape).astype(np.int32)


@pytest.mark.parametrize("seed", range(4))
def test_counts_equal_those_of_cellpose(seed: int) -> None:
    truth = crowded(seed)
    predicted = disturbed(truth, seed)
    average, found, false, missed = cellpose_metrics.average_precision(
        truth, predicted, threshold=THRESHOLDS
    )
    scores = score_matches(contingency_table(truth, predicted), thresholds=THRESHOLDS)
    assert scores["num_found"].tolist() == found.tolist()
    assert scores["num_false"].tolist() == false.tolist()
    assert scores["num_missed"].tolist() == missed.tolist()
    np.testing.assert_allclose(scores["average_precision"], average, rtol=1e-6)
    assert 0 < found[0] < truth.max()


def overlap(one: npt.NDArray, other: npt.NDArray) -> float:
    return np.sum(one & other) / max(np.sum(one | other), 1)


def pairs_of(values: list[float], min_iou: float) -> tuple[int, float]:
    """How many pairs count, and their sum."""
    kept = [value for value in values if value >= min_iou]
    return len(kept), round(sum(kept), 9)


@pytest.mark.parametrize("min_iou", [0.05, 0.2, 0.5])
def test_pairs_are_as_many_as_possible_and_overlap_most(min_iou: float) -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        truth, predicted = rng.integers(0, 5, (2, 24))
        table = contingency_table(truth, predicted)
        iou = [
            [overlap(truth == true, predicted == found) for found in range(1, 5)]
            for true in range(1, 5)
        ]
        best = max(
            pairs_of([row[found] for row, found in zip(iou, order, strict=True)], min_iou)
            for order in permutations(range(4))
        )
        pairs = match_instances(table, min_iou=min_iou).query("truth > 0 and predicted > 0")
        assert (pairs["iou"] >= min_iou).all()
        assert pairs["predicted"].is_unique
        assert len(pairs) == best[0]
        # below one half Cellpose's rule also weighs pairs that do not count: at most the best sum
        assert round(pairs["iou"].sum(), 9) <= best[1]


def test_every_object_is_listed_once() -> None:
    truth = np.array([3, 3, 3, 9, 9, 0, 0, 0])
    predicted = np.array([5, 5, 0, 0, 0, 0, 8, 8])
    objects = match_instances(contingency_table(truth, predicted))
    assert objects.to_numpy().tolist() == [
        [3, 5, 2 / 3, 3, 2],
        [9, 0, 0, 2, 0],
        [0, 8, 0, 0, 2],
    ]


def test_panoptic_quality_by_hand() -> None:
    truth = np.array([1, 1, 1, 1, 2, 2, 0, 0])
    predicted = np.array([1, 1, 1, 0, 0, 0, 7, 7])
    scores = score_matches(contingency_table(truth, predicted), thresholds=[0.5, 0.8]).iloc[0]
    assert scores["panoptic_quality"] == pytest.approx(0.75 / 2)
    assert scores["segmentation_quality"] == pytest.approx(0.75)
    assert (scores["precision"], scores["recall"], scores["f1"]) == (0.5, 0.5, 0.5)


def test_an_iou_of_just_the_threshold_counts() -> None:
    table = contingency_table([1, 1, 0], [4, 0, 0])
    assert score_matches(table, thresholds=[0.5])["num_found"].item() == 1


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [([0, 0], [0, 0], (1, 1, 1)), ([1, 0], [0, 0], (0, 0, 0)), ([0, 0], [1, 0], (0, 0, 0))],
)
def test_empty_sides_are_counted_right(
    truth: list[int], predicted: list[int], expected: tuple[int, int, int]
) -> None:
    scores = score_matches(contingency_table(truth, predicted)).iloc[0]
    assert (scores["precision"], scores["recall"], scores["f1"]) == expected
    assert scores["average_precision"] == scores["panoptic_quality"] == expected[2]
    assert len(score_matches(contingency_table(truth, predicted))) == 10


def test_splits_and_merges_as_in_the_guide() -> None:
    whole = np.zeros((4, 12, 12), np.int32)
    whole[:, 1:11, 1:6], whole[:, 1:11, 7:11] = 1, 2
    leaking = whole.copy()
    leaking[0, 1, 7] = 1
    quarters = np.where(whole == 1, 1 + (np.arange(12)[:, None] > 5) + 2 * (np.arange(12) > 2), 0)
    quarters[whole == 2] = 9
    cases = {
        (1, 1): leaking,
        (1, 0): quarters,
        (0, 0): np.zeros_like(whole),
        (0, 1): (whole > 0).astype(np.int32),
    }
    for expected, predicted in cases.items():
        assert compute_split_merge_errors(predicted, whole) == expected
    assert compute_split_merge_errors(leaking, whole, min_share=0.1) == (0, 0)
    counts = count_split_merge(contingency_table(whole, quarters))
    assert (counts["splits"], counts["extra_pieces"], counts["num_uncovered"]) == (1, 3, 0)
    counts = count_split_merge(contingency_table(whole, np.zeros_like(whole)))
    assert (counts["num_uncovered"], counts["num_spurious"]) == (2, 0)
    counts = count_split_merge(contingency_table(np.zeros_like(whole), whole))
    assert (counts["num_uncovered"], counts["num_spurious"]) == (0, 2)


def test_masks_by_the_names_of_the_guide() -> None:
    labels = np.array([[[5, 5, 0, 0]]])
    assert compute_3d_dice(labels, labels) == 1.0
    assert compute_3d_iou(labels, np.array([[[0, 1, 1, 0]]])) == pytest.approx(1 / 3)
    assert compute_3d_iou(labels * 0, labels * 0) == 1.0


def test_labels_may_be_any_numbers() -> None:
    truth = np.array([2**40, 2**40, 0, 7], np.uint64)
    table = contingency_table(truth, truth != 0)
    assert table["truth"].tolist() == [0, 7, 2**40]
    assert table["num_voxels"].tolist() == [1, 1, 2]


def test_bad_input_is_refused() -> None:
    with pytest.raises(ShapeError, match="same volume"):
        contingency_table([1, 2], [1])
    with pytest.raises(DtypeError, match="float64"):
        contingency_table([1.0], [1])
    with pytest.raises(DtypeError, match="least -1"):
        contingency_table([1], [-1])
    table = contingency_table([1], [1])
    with pytest.raises(ConfigError, match=r"0\.0"):
        score_matches(table, thresholds=[0.0])
    with pytest.raises(ConfigError, match=r"1\.5"):
        count_split_merge(table, min_share=1.5)
    with pytest.raises(ShapeError, match="two rows"):
        match_instances(pd.concat([table, table]))
    with pytest.raises(ShapeError, match="num_voxels"):
        match_instances(table.drop(columns="num_voxels"))
