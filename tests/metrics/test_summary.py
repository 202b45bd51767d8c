"""Many volumes summed up: what is added, what is averaged, and over which volumes."""

import numpy as np
import pytest

from volproc.core.errors import ConfigError, ShapeError
from volproc.core.points import Points
from volproc.metrics.points import score_points
from volproc.metrics.summary import summarize_scores

RADII = {"ball": 2.0, "rod": 2.0, "ghost": 2.0}


def points(zyx: object, class_name: object = "ball") -> Points:
    return Points.from_zyx(zyx, class_name=class_name, voxel_size=(1.0,) * 3, shape=())


def line(count: int, start: int = 0) -> list[list[int]]:
    """Points too far apart to be mistaken for each other."""
    return [[0, 0, 10 * n] for n in range(start, start + count)]


@pytest.fixture
def tables() -> dict:
    """Ball: all of 4, then 1 of 2; rod: only in the second volume, where it is missed."""
    first = score_points(points(line(4)), points(line(4)), radii=RADII, beta=4)
    truth = points([*line(2), [50, 0, 0]], ["ball", "ball", "rod"])
    second = score_points(truth, points(line(1)), radii=RADII, beta=4)
    return {"TS_1": first, "TS_2": second}


def test_counts_are_added_and_means_are_over_volumes_with_something_to_score(tables: dict) -> None:
    summary = summarize_scores(tables, beta=4, weights={"rod": 3.0})
    scores = summary.scores.set_index("class_name")
    assert list(scores.index) == ["ball", "rod", "overall"], "what occurs nowhere is left out"
    assert tuple(scores.loc["ball", ["tp", "fp", "fn"]]) == (5, 0, 1)
    assert scores.loc["ball", "recall"] == pytest.approx(5 / 6)
    means = summary.means.set_index("class_name")
    assert means["num_volumes"].to_dict() == {"ball": 2, "rod": 1, "overall": 2}
    assert means.loc["ball", "recall_mean"] == pytest.approx(0.75)
    assert means.loc["ball", "recall_std"] == pytest.approx(0.25)
    assert means.loc["rod", "fbeta_mean"] == 0.0
    ball = 17 * 5 / (17 * 5 + 16)
    assert summary.weighted_fbeta == pytest.approx((ball + 3 * 0) / 4)
    assert scores["weight"].to_dict() == pytest.approx(
        {"ball": 1.0, "rod": 3.0, "overall": np.nan}, nan_ok=True
    )


def test_octopi_leaves_out_one_sided_volumes_and_counts_absent_classes_as_0(tables: dict) -> None:
    summary = summarize_scores(tables, beta=4, weights={"rod": 3.0}, matching="octopi")
    scores = summary.scores.set_index("class_name")
    assert list(scores.index) == ["ball", "ghost", "rod", "overall"]
    means = summary.means.set_index("class_name")
    assert means["num_volumes"].to_dict() == {"ball": 2, "ghost": 0, "rod": 0, "overall": 2}
    assert np.isnan(means.loc["rod", "fbeta_mean"])
    assert means.loc["ball", "tp_mean"] == 2.5
    ball = 17 * 5 / (17 * 5 + 16)
    averages = summary.averages.set_index("average")["fbeta"]
    assert averages["weighted"] == summary.weighted_fbeta == pytest.approx(ball / 5)
    assert averages["macro"] == pytest.approx(ball / 3)
    assert averages["micro"] == pytest.approx(17 * 5 / (17 * 5 + 16 * 2))


def test_nothing_anywhere_is_an_overall_of_nothing() -> None:
    empty = score_points(points([]), points([]), radii=RADII)
    summary = summarize_scores({"TS_1": empty})
    assert summary.scores["class_name"].tolist() == ["overall"]
    assert summary.means["num_volumes"].tolist() == [0]
    assert np.isnan(summary.weighted_fbeta)


def test_weights_that_mean_nothing_are_refused(tables: dict) -> None:
    assert np.isnan(summarize_scores(tables, weights={"ball": 0, "rod": 0}).weighted_fbeta)
    for weight in (-1.0, float("nan")):
        with pytest.raises(ConfigError, match="the weight of rod must be finite"):
            summarize_scores(tables, weights={"rod": weight})
    with pytest.raises(ShapeError, match="no scores"):
        summarize_scores({})
