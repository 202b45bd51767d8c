"""Points against truth: one volume, many, broken ones; and Octopi's own figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import volproc
from volproc.core.errors import (
    AddressError,
    ConfigError,
    ExistsError,
    MissingFileError,
    ResumeError,
)
from volproc.core.events import Event
from volproc.core.points import Points
from volproc.io.copick_project import ProjectObject, create_project, object_weights
from volproc.io.point_inputs import PointFormat
from volproc.io.points import write_points
from volproc.workflows.evaluate import Evaluation, evaluate
from volproc.workflows.scorer import ScoreRule

OCTOPI = Path(__file__).parents[2].parent / "shared" / "data" / "peers" / "octopi"
VOXEL = (10.0, 10.0, 10.0)
WIDE = ScoreRule(distance=25.0)


def points(zyx: object, class_name: object = "ball", name: str = "") -> Points:
    return Points.from_zyx(zyx, class_name=class_name, voxel_size=VOXEL, shape=(), name=name)


def line(count: int, start: int = 0) -> list[list[int]]:
    """Points too far apart to be mistaken for each other."""
    return [[1, 2, 10 * n + 3] for n in range(start, start + count)]


def counts(result: Evaluation, name: str = "overall") -> tuple[int, int, int]:
    row = result.scores.set_index("class_name").loc[name]
    return int(row.tp), int(row.fp), int(row.fn)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three volumes: all found, half of it found, and nothing found but one that is none."""
    monkeypatch.chdir(tmp_path)
    for folder in ("picks", "truth"):
        (tmp_path / folder).mkdir()
    found = {"TS_1": line(3), "TS_2": line(1), "TS_10": [[90, 90, 90]]}
    true = {"TS_1": line(3), "TS_2": line(2), "TS_10": line(1)}
    for name in found:
        write_points(points(found[name]), f"picks/{name}_picks.csv")
        write_points(points(true[name]), f"truth/{name}.star")
    return tmp_path


def test_two_tables_are_scored() -> None:
    truth = points([[1, 2, 3], [1, 2, 33], [1, 2, 63]], ["ball", "ball", "rod"])
    found = points([[1, 2, 4], [1, 4, 33], [1, 4, 34], [1, 2, 63]], ["ball"] * 3 + ["ball"])
    result = volproc.evaluate(found, truth, rule=volproc.ScoreRule(distance=25.0, beta=2.0))
    assert counts(result, "ball") == (2, 2, 0), "a distance is in Å, and one particle is one hit"
    assert counts(result, "rod") == (0, 0, 1)
    row = result.scores.set_index("class_name").loc["ball"]
    assert row.fbeta == pytest.approx(5 * 2 / (5 * 2 + 2))
    assert (row.precision, row.recall) == (0.5, 1.0)
    assert result.summary.weighted_fbeta == pytest.approx(row.fbeta / 2)


def test_a_distance_may_be_a_part_of_the_radius_and_is_included() -> None:
    truth, found = points([[1, 2, 3]]), points([[1, 2, 11]])
    for radius, hits in ((100.0, 1), (99.9, 0)):
        result = evaluate(found, truth, rule=ScoreRule(radii={"ball": radius}))
        assert counts(result) == (hits, 1 - hits, 1 - hits), "0.8 of 100 Å are 8 voxels"
    with pytest.raises(ConfigError, match="the radii of the classes are not known"):
        evaluate(found, truth)
    with pytest.raises(ConfigError, match=r"radii of rod are not known.*--distance"):
        evaluate(found, truth, rule=ScoreRule(radii={"ball": 9.0}, classes=("ball", "rod")))
    with pytest.raises(ConfigError, match='class "ball" has no radius, did you mean "bal"'):
        evaluate(found, truth, rule=ScoreRule(radii={"bal": 9.0}))


@pytest.mark.parametrize("truth", ["truth/{name}.star", "truth", "truth/*.star", "@truth.txt"])
def test_many_volumes_are_added_and_averaged(here: Path, truth: str) -> None:
    (here / "truth.txt").write_text("truth/TS_2.star\ntruth/TS_1.star # all\ntruth/TS_10.star\n")
    seen: list[Event] = []
    result = evaluate("picks/*.csv", truth, rule=WIDE, observe=seen.append)
    assert list(result.volumes) == ["TS_1", "TS_2", "TS_10"]
    assert counts(result) == (4, 1, 2)
    means = result.summary.means.set_index("class_name").loc["ball"]
    assert means["num_volumes"] == 3
    assert means["recall_mean"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert [e.kind for e in seen] == ["dataset", "tomogram", "tomogram", "tomogram", "done"]
    assert seen[0].total == 3
    assert result.num_failed == 0


def test_a_broken_volume_stops_no_other_and_is_not_in_the_scores(here: Path) -> None:
    (here / "picks" / "TS_2_picks.csv").write_text("z,y,x\n1,2,nothing\n")
    (here / "truth" / "TS_10.star").unlink()
    result = evaluate("picks", "truth/{name}.star", rule=WIDE, output="scores")
    assert counts(result) == (3, 0, 0)
    assert [entry.status for entry in result.entries] == ["done", "failed", "failed"]
    assert "picks/TS_2_picks.csv holds text in z, y, x" in result.entries[1].error
    assert "truth/TS_10.star does not exist" in result.entries[2].error
    run = json.loads((here / "scores" / "run.json").read_text())
    assert run["status"] == "failed"
    assert run["counts"] == {"total": 3, "done": 1, "skipped": 0, "failed": 2, "pending": 0}

    write_points(points(line(2)), here / "picks" / "TS_2_picks.csv", overwrite=True)
    write_points(points(line(1)), here / "truth" / "TS_10.star")
    again = evaluate("picks", "truth/{name}.star", rule=WIDE, output="scores")
    assert counts(again) == (5, 1, 1), "the same command goes on where volumes had failed"
    with pytest.raises(ExistsError, match=r"scores holds scores\.csv, volumes\.csv, scores\.json"):
        evaluate("picks", "truth/{name}.star", rule=WIDE, output="scores")


def test_the_error_of_an_only_volume_is_raised(here: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.csv does not exist"):
        evaluate("picks/TS_1_picks.csv", "nowhere.csv", rule=WIDE)
    with pytest.raises(MissingFileError):
        evaluate("picks/none.csv", "truth/TS_1.star", rule=WIDE, output="scores")
    assert json.loads((here / "scores" / "run.json").read_text())["status"] == "interrupted"


def test_if_all_fail_there_is_a_record_and_no_score(here: Path) -> None:
    result = evaluate("picks", "none/{name}.csv", rule=WIDE, output="out")
    assert result.num_failed == 3
    assert result.scores.empty
    assert json.loads((here / "out" / "scores.json").read_text())["scores"] == {}


def test_files_hold_all_scores_with_settings(here: Path) -> None:
    result = evaluate("picks", "truth", rule=WIDE, output="out")
    assert [path.name for path in result.files] == [
        "scores.csv", "volumes.csv", "scores.json", "averages.csv", "picks.csv",
        "average_metrics.yaml", "metrics.json", "metrics.csv", "run.json",
    ]  # fmt: skip
    table = pd.read_csv("out/scores.csv").set_index("class_name")
    assert table.loc["ball", "recall"] == result.scores["recall"][0], "exactly"
    assert {"recall_mean", "num_volumes", "weight", "fbeta"} <= set(table.columns)
    rows = pd.read_csv("out/volumes.csv")
    assert rows["volume"].tolist() == [n for n in ("TS_1", "TS_2", "TS_10") for _ in range(2)]
    content = json.loads((here / "out" / "scores.json").read_text())
    assert content["settings"]["distance"] == 25.0
    assert content["scores"]["ball"]["tp"] == 4
    assert content["means"]["ball"]["num_volumes"] == 3
    assert content["volumes"]["TS_2"]["truth"] == "truth/TS_2.star"
    assert content["volumes"]["TS_2"]["scores"]["ball"]["fn"] == 1
    assert content["weighted_fbeta"] == pytest.approx(table.loc["ball", "fbeta"])
    assert "numpy" in content["versions"]


def test_an_unfinished_run_is_done_again_and_other_settings_are_refused(here: Path) -> None:
    evaluate("picks", "truth", rule=WIDE, output="out")
    record = here / "out" / "run.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"status": "running"}))  # as a kill leaves it
    assert evaluate("picks", "truth", rule=WIDE, output="out").num_failed == 0
    record.write_text(json.dumps(content | {"status": "running"}))
    with pytest.raises(ResumeError, match=r"distance was 25\.0, is 30\.0"):
        evaluate("picks", "truth", rule=ScoreRule(distance=30.0), output="out")
    evaluate("picks", "truth", rule=ScoreRule(distance=30.0), output="out", overwrite=True)
    foreign = {**content, "made_by": "volproc segment", "status": "done"}
    record.write_text(json.dumps(foreign))
    evaluate("picks", "truth", rule=WIDE, output="out", overwrite=True)
    kept = list((here / "out").glob("run-*.json"))
    assert [json.loads(p.read_text())["made_by"] for p in kept] == ["volproc segment"]
    with pytest.raises(ConfigError, match=r"a\.json is no folder"):
        evaluate("picks", "truth", rule=WIDE, output="a.json")


def test_classes_that_were_asked_for_are_scored_and_no_others(here: Path) -> None:
    truth = points([*line(2), [50, 50, 50]], ["ball", "ball", "rod"])
    found = points(line(3), ["ball", "rod", "cone"])
    result = evaluate(found, truth, rule=ScoreRule(distance=25.0, classes=("ball",)))
    assert result.scores["class_name"].tolist() == ["ball", "overall"]
    assert counts(result) == (1, 0, 1)
    with pytest.raises(ConfigError, match='no volume has the class "bal"; did you mean "ball"'):
        evaluate(found, truth, rule=ScoreRule(distance=25.0, classes=("bal",)))
    with pytest.raises(ConfigError, match='no volume has the class "bal"'):
        evaluate(found, truth, rule=ScoreRule(distance=25.0, weights={"bal": 2.0}))


def test_a_table_without_classes_is_of_the_one_class_there_is(here: Path) -> None:
    np.save(here / "found.npy", np.array(line(2)))
    how = PointFormat(voxel_size=10.0)
    result = evaluate("found.npy", "truth/TS_2.star", rule=WIDE, point_format=how)
    assert counts(result, "ball") == (2, 0, 0)
    both = points([*line(2), [50, 50, 50]], ["ball", "ball", "rod"])
    with pytest.raises(ConfigError, match="have no classes, and those to score are ball, rod"):
        evaluate(["found.npy"], [both], rule=WIDE, point_format=how)
    named = ScoreRule(distance=25.0, classes=("rod",))
    assert counts(evaluate(["found.npy"], [both], rule=named, point_format=how)) == (0, 2, 1)


def test_tables_without_points_and_in_other_units_are_scored(here: Path) -> None:
    write_points(points([]), "empty.csv")
    assert counts(evaluate("empty.csv", "truth/TS_1.star", rule=WIDE)) == (0, 0, 3)
    assert counts(evaluate("picks/TS_1_picks.csv", "empty.csv", rule=WIDE)) == (0, 3, 0)
    both = evaluate("empty.csv", "empty.csv", rule=WIDE)
    assert counts(both) == (0, 0, 0)
    write_points(points([[0, 2, 3]]), "zero.csv")
    assert counts(evaluate("zero.csv", "truth/TS_1.star", rule=WIDE)) == (1, 0, 2)
    Path("foreign.csv").write_text("x,y,z,particle_type\n30,20,10,ball\n131,20,10,ball\n")
    foreign = PointFormat(unit="angstrom")
    result = evaluate("foreign.csv", "truth/TS_2.star", rule=WIDE, point_format=foreign)
    assert counts(result) == (2, 0, 0)


def test_radii_come_from_the_record_beside_the_predictions(here: Path) -> None:
    record = {"made_by": "volproc localize", "radii_angstrom": {"ball": 100.0}}
    (here / "picks" / "TS_1_picks.csv.json").write_text(json.dumps(record))
    result = evaluate("picks/TS_1_picks.csv", "truth/TS_1.star")
    assert result.rule.radii == {"ball": 100.0}
    assert counts(result) == (3, 0, 0)


def test_a_project_says_classes_radii_and_weights(here: Path) -> None:
    objects = (ProjectObject("ball", 1, 20.0), ProjectObject("wall", 2, is_particle=False))
    config = create_project(here / "c.json", objects=objects, runs=["TS_1", "TS_2", "TS_3"])
    values = json.loads(config.read_text())
    values["pickable_objects"][0]["metadata"] = {"weight": 3}
    config.write_text(json.dumps(values))
    assert object_weights(config) == {"ball": 3.0, "wall": 1.0}
    for run, true, found in (("TS_1", 3, 3), ("TS_2", 2, 0), ("TS_3", 0, 1)):
        if true:
            truth = points([*line(true), [80, 80, 80]], ["ball"] * true + ["wall"])
            write_points(truth, f"{config}:{run}/:people/0")
        if found:
            write_points(points(line(found)), f"{config}:{run}/:volproc/1")
    seen: list[Event] = []
    result = evaluate("c.json:*/:volproc/1", "c.json:*/:people/0", observe=seen.append)
    assert list(result.volumes) == ["TS_1", "TS_2"]
    assert counts(result) == (3, 0, 2), "a run in which nothing was found is missed"
    notes = [event.text for event in seen if event.kind == "note"]
    assert notes == [
        "left out, since there is no truth: TS_3", "nothing is predicted, all is missed: TS_2"
    ]  # fmt: skip
    assert result.rule.weights["ball"] == 3.0
    assert result.rule.classes == ("ball",)
    from_csv = evaluate("picks/TS_1_picks.csv", "truth/TS_1.star", rule=ScoreRule(project="c.json"))
    assert from_csv.rule.radii == {"ball": 20.0}
    with pytest.raises(ConfigError, match=r'"bal" is no object of c\.json; did you mean "ball"'):
        evaluate("picks", "truth", rule=ScoreRule(project="c.json", classes=("bal",)))
    only = evaluate("c.json:*/:volproc/1", "c.json:*/:people/0", runs=["TS_2", "TS_3"])
    assert [entry.status for entry in only.entries] == ["done", "failed"]
    assert "TS_3 has no such picks" in only.entries[1].error
    for found, truth in (("c.json:*/:volproc/2", "c.json:*/:people/0"),
                         ("c.json:*/:volproc/1", "c.json:*/:people/1")):  # fmt: skip
        with pytest.raises(AddressError, match=r"no run of c\.json has picks"):
            evaluate(found, truth)
    values["pickable_objects"][0]["metadata"] = {"weight": "much"}
    config.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="gives ball the weight 'much'"):
        evaluate("c.json:*/:volproc/1", "c.json:*/:people/0")


def near(found: np.ndarray, true: np.ndarray, limit: float) -> tuple[int, int, int]:
    """Count as Octopi does: by the nearest, below the limit, and not one to one."""
    distance = np.linalg.norm(found[:, None] - true[None], axis=2)
    hits = int((distance.min(axis=1) < limit).sum())
    return hits, len(found) - hits, int((distance.min(axis=0) >= limit).sum())


@pytest.mark.skipif(not OCTOPI.is_dir(), reason="sample data are not here")
@pytest.mark.parametrize("scale", [0.5, 0.8])
def test_figures_are_those_of_octopi_where_it_counts_no_particle_twice(
    tmp_path: Path, scale: float
) -> None:
    fixture = json.loads((OCTOPI / "expected" / "eval_fixture.json").read_text())
    theirs = json.loads((OCTOPI / "expected" / f"eval_dts{scale}_b4" / "metrics.json").read_text())
    radii = {"apo-ferritin": 60.0, "beta-galactosidase": 90.0, "ribosome": 130.0}
    equal = 0
    for run, metrics in theirs["metrics"].items():
        true, found = (
            {name: np.asarray(xyz, float) for name, xyz in fixture[side][run].items()}
            for side in ("gt", "picks")
        )
        sides = [
            Points.from_zyx(
                np.concatenate(list(one.values()))[:, ::-1], voxel_size=(1.0,) * 3, shape=(),
                class_name=[name for name, xyz in one.items() for _ in xyz],
            )
            for one in (found, true)
        ]  # fmt: skip
        rule = ScoreRule(distance_fraction=scale, radii=radii)
        ours = evaluate(*sides, rule=rule).scores.set_index("class_name")
        for name, metric in metrics.items():
            row = ours.loc[name]
            expected = tuple(metric[f"{k}s"] for k in ("true_positive", "false_positive"))
            if name in found:
                counted = near(found[name], true[name], scale * radii[name])
                assert counted == (*expected, metric["false_negatives"])
            assert row.num_truth == len(true[name]), "none counted twice"
            assert row.tp <= expected[0]
            if (row.tp, row.fp, row.fn) == (*expected, metric["false_negatives"]):
                equal += 1
                for ours_, theirs_ in (("precision", "precision"), ("recall", "recall"),
                                       ("f1", "f1_score"), ("fbeta", "fbeta_score")):  # fmt: skip
                    assert row[ours_] == pytest.approx(metric.get(theirs_, 0.0), abs=1e-12)
    assert equal >= 2, "the figures that can be compared"
