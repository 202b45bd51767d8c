"""Scores of points: counts, edges, and several volumes as one."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import ConfigError, ShapeError
from volproc.core.points import Points, concat_points
from volproc.metrics.counting import Matching
from volproc.metrics.points import combine_scores, score_points, to_json

SHAPE, VOXEL = (50, 70, 110), (20.0, 10.0, 10.0)
RADII = {"ribosome": 100.0, "apoferritin": 60.0}


def points(zyx: object, class_name: object = "ribosome") -> Points:
    return Points.from_zyx(zyx, class_name=class_name, voxel_size=VOXEL, shape=SHAPE)


def row(scores: pd.DataFrame, name: str) -> pd.Series:
    return scores.set_index("class_name").loc[name]


def test_a_known_case_is_counted_by_hand() -> None:
    truth = points([[5, 5, 5], [20, 20, 20], [40, 60, 90]], ["ribosome", "ribosome", "apoferritin"])
    predicted = points(
        # 2 voxels along z are 40 Å, 6 are 120 Å; a point of another class never counts.
        [[7, 5, 5], [26, 20, 20], [40, 60, 90], [1, 1, 1]],
        ["ribosome", "ribosome", "ribosome", "apoferritin"],
    )
    scores = score_points(truth, predicted, radii=RADII, beta=2.0)
    assert list(scores["class_name"]) == ["apoferritin", "ribosome", "overall"]
    ribosome = row(scores, "ribosome")
    assert (ribosome.tp, ribosome.fp, ribosome.fn) == (1, 2, 1)
    assert ribosome.precision == pytest.approx(1 / 3)
    assert ribosome.recall == pytest.approx(1 / 2)
    assert ribosome.f1 == pytest.approx(0.4)
    assert ribosome.fbeta == pytest.approx(5 * (1 / 6) / (4 / 3 + 1 / 2))
    assert ribosome.mean_distance_angstrom == pytest.approx(40.0)
    overall = row(scores, "overall")
    assert (overall.tp, overall.fp, overall.fn) == (1, 3, 2)
    assert (overall.num_truth, overall.num_predicted) == (3, 4)


def test_voxels_that_are_not_cubes_are_measured_in_angstrom() -> None:
    truth = points([[10, 10, 10]])
    for offset, expected in (([3, 0, 0], 0), ([0, 5, 0], 1), ([2, 3, 0], 1), ([2, 4, 0], 0)):
        predicted = points(np.add([[10, 10, 10]], offset))
        scores = score_points(truth, predicted, radii={"ribosome": 100.0})
        assert row(scores, "ribosome").tp == expected, offset


@pytest.mark.parametrize(
    ("truth", "predicted", "precision", "recall", "f1"),
    [
        ([], [], 1.0, 1.0, 1.0),
        ([[1, 2, 3]], [], 0.0, 0.0, 0.0),
        ([], [[1, 2, 3]], 0.0, 0.0, 0.0),
        ([[1, 2, 3]], [[1, 2, 3]], 1.0, 1.0, 1.0),
    ],
)
def test_empty_sides_score_as_documented(
    truth: list, predicted: list, precision: float, recall: float, f1: float
) -> None:
    scores = score_points(points(truth), points(predicted), radii={"ribosome": 100.0})
    for name in ("ribosome", "overall"):
        one = row(scores, name)
        assert (one.precision, one.recall, one.f1, one.fbeta) == (precision, recall, f1, f1)


@pytest.mark.parametrize("matching", ["octopi", "kaggle"])
def test_by_the_rules_of_others_nothing_scores_nothing(matching: Matching) -> None:
    scores = score_points(points([]), points([]), radii=RADII, matching=matching)
    assert row(scores, "ribosome").fbeta == 0.0
    two = points([[5, 5, 5], [5, 5, 6]])
    found = score_points(points([[5, 5, 5]]), two, radii=RADII, matching=matching)
    tp = 2 if matching == "octopi" else 1
    assert tuple(row(found, "ribosome")[["num_truth", "num_predicted", "tp", "fp", "fn"]]) == (
        1, 2, tp, 2 - tp, 0
    )  # fmt: skip
    assert row(found, "ribosome").accuracy == pytest.approx(tp / 2)
    assert row(found, "ribosome").mean_distance_angstrom == pytest.approx(5.0 * (tp - 1))


def test_no_classes_at_all_is_an_overall_of_nothing() -> None:
    scores = score_points(points([]), points([]), radii={})
    assert list(scores["class_name"]) == ["overall"]
    assert row(scores, "overall").f1 == 1.0


@given(st.integers(0, 2**31), st.integers(0, 12), st.integers(0, 12), st.floats(0.5, 4.0))
def test_swapping_the_sides_swaps_precision_and_recall(
    seed: int, n: int, m: int, beta: float
) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = (points(rng.uniform(0, 20, (k, 3))) for k in (n, m))
    one = score_points(truth, predicted, radii=RADII, beta=beta)
    other = score_points(predicted, truth, radii=RADII, beta=1 / beta)
    for left, right in (("precision", "recall"), ("fp", "fn"), ("fbeta", "fbeta")):
        np.testing.assert_allclose(one[left], other[right])
    np.testing.assert_allclose(one["f1"], other["f1"])
    f1 = one["f1"].to_numpy()
    p, r = one["precision"].to_numpy(), one["recall"].to_numpy()
    np.testing.assert_allclose(f1, 2 * p * r / np.maximum(p + r, 1e-12), atol=1e-9)


@given(st.integers(0, 2**31))
def test_several_volumes_score_as_their_counts_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts, truths, founds = [], [], []
    for far in (0, 30):  # the second volume's points lie where none of the first can be paired
        names = rng.choice(list(RADII), 8)
        truth = points(np.add(rng.uniform(0, 8, (8, 3)), [far, 0, 0]), names)
        found = points(truth.zyx + rng.normal(0, 2, (8, 3)), names)
        truths.append(truth)
        founds.append(found)
        parts.append(score_points(truth, found, radii=RADII, beta=4))
    together = score_points(concat_points(truths), concat_points(founds), radii=RADII, beta=4)
    combined = combine_scores(parts, beta=4)
    pd.testing.assert_frame_equal(combined, together)


def test_scores_become_plain_json() -> None:
    scores = score_points(points([]), points([[1, 2, 3]]), radii=RADII)
    plain = json.loads(json.dumps(to_json(scores), allow_nan=False))
    assert set(plain) == {"apoferritin", "ribosome", "overall"}
    assert plain["ribosome"]["fp"] == 1
    assert plain["ribosome"]["mean_distance_angstrom"] is None
    assert plain["overall"]["f1"] == 0.0


def test_what_cannot_be_scored_is_named() -> None:
    with pytest.raises(ConfigError, match=r'class "ribosom" has no radius, did you mean'):
        score_points(points([[1, 2, 3]], "ribosom"), points([]), radii=RADII)
    with pytest.raises(ConfigError, match=r"the radius of ribosome must be positive .* got 0"):
        score_points(points([]), points([]), radii={"ribosome": 0.0})
    other = Points.from_zyx([], class_name="a", voxel_size=VOXEL, shape=(5, 7, 11))
    with pytest.raises(ShapeError, match=r"\(50, 70, 110\) voxels, the prediction in one of \(5"):
        score_points(points([]), other, radii=RADII)
    unknown = Points.from_zyx([[1, 2, 3]], class_name="ribosome", voxel_size=VOXEL, shape=())
    scores = score_points(points([[1, 2, 3]]), unknown, radii=RADII)
    assert row(scores, "ribosome").tp == 1, "a table without the size of its volume is no error"
    with pytest.raises(ShapeError, match="no scores to combine"):
        combine_scores([])
