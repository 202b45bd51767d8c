"""Picks of a project against others of it: Octopi's own figures, and runs where a side is empty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from volproc.core.errors import AddressError, ConfigError
from volproc.core.events import Event
from volproc.workflows.evaluate import Evaluation, evaluate
from volproc.workflows.evaluate_project import ProjectPicks, evaluate_project
from volproc.workflows.scorer import ScoreRule

OCTOPI = Path(__file__).parents[2].parent / "shared" / "data" / "peers" / "octopi"

OBJECTS = [
    {"name": "ball", "label": 1, "radius": 100.0, "metadata": {"weight": 3}},
    {"name": "rod", "label": 2, "radius": 100.0},
    {"name": "ghost", "label": 3, "radius": 50.0},
    {"name": "wall", "label": 4, "radius": None, "is_particle": False},
]


def make_project(folder: Path, objects: list[dict[str, Any]]) -> Path:
    values = {
        "config_type": "filesystem",
        "pickable_objects": [{"is_particle": True, **one} for one in objects],
        "overlay_root": "local://project/",
    }
    config = folder / "c.json"
    config.write_text(json.dumps(values))
    return config


def put(folder: Path, run: str, name: str, owner: str, xyz: Any) -> None:
    """Write picks as copick keeps them."""
    user, session = owner.split("/")
    path = folder / "project" / "ExperimentRuns" / run / "Picks" / f"{user}_{session}_{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    points = [{"location": dict(zip("xyz", map(float, one), strict=True))} for one in xyz]
    values = {"pickable_object_name": name, "user_id": user, "session_id": session,
              "run_name": run, "unit": "angstrom", "points": points}  # fmt: skip
    path.write_text(json.dumps(values))


def line(count: int, shift: float = 0.0) -> list[list[float]]:
    """Points along x, too far apart to be mistaken for each other."""
    return [[1000.0 * n + shift, 500.0, 500.0] for n in range(count)]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Both sides, truth alone, predictions alone, and neither."""
    (tmp_path / "project/ExperimentRuns/TS_4/Picks").mkdir(parents=True)
    put(tmp_path, "TS_1", "ball", "people/0", line(4))
    put(tmp_path, "TS_1", "ball", "octopi/1", [*line(3, 30), [0, 500, 540], [0, 4000, 0]])
    put(tmp_path, "TS_1", "rod", "octopi/1", line(1))
    put(tmp_path, "TS_2", "ball", "people/0", line(2))
    put(tmp_path, "TS_3", "ball", "octopi/1", line(3))
    return make_project(tmp_path, OBJECTS)


def counts(result: Evaluation, name: str) -> tuple[int, int, int]:
    row = result.scores.set_index("class_name").loc[name]
    return int(row["tp"]), int(row["fp"]), int(row["fn"])


def test_all_runs_count_also_where_a_side_is_empty(config: Path) -> None:
    seen: list[Event] = []
    result = evaluate_project(ProjectPicks(str(config), "people", "0"), observe=seen.append)
    assert list(result.volumes) == ["TS_1", "TS_2", "TS_3", "TS_4"]
    assert counts(result, "ball") == (3, 2 + 3, 1 + 2)
    assert counts(result, "rod") == (0, 1, 0)
    assert [event.text for event in seen if event.kind == "note"] == [
        "no truth, all that is predicted is false: TS_3",
        "nothing is predicted, all is missed: TS_2",
        "neither truth nor prediction: TS_4",
    ]
    means = result.summary.means.set_index("class_name").loc["ball"]
    assert means["num_volumes"] == 3
    assert means["recall_mean"] == pytest.approx(0.75 / 3)
    ball = 17 * 3 / (17 * 3 + 16 * 3 + 5)
    averages = result.summary.averages.set_index("average")["fbeta"]
    assert averages["weighted"] == pytest.approx(3 * ball / 4), "the ghost occurs nowhere"
    assert averages["macro"] == pytest.approx(ball / 2)
    assert averages["micro"] == pytest.approx(17 * 3 / (17 * 3 + 16 * 3 + 6))


def test_octopis_counting_has_its_means_and_its_weights(config: Path) -> None:
    rule = ScoreRule(matching="octopi")
    result = evaluate_project(ProjectPicks(str(config), "people", "0"), rule=rule)
    assert counts(result, "ball") == (4, 1 + 3, 1 + 2), "two near one particle are two hits"
    means = result.summary.means.set_index("class_name").loc["ball"]
    assert means["num_volumes"] == 1, "runs with an empty side are left out"
    assert means["precision_mean"] == pytest.approx(0.8)
    ball = 17 * 4 / (17 * 4 + 16 * 3 + 4)
    assert result.summary.weighted_fbeta == pytest.approx(3 * ball / 5), "the ghost counts as 0"


@pytest.mark.skipif(not OCTOPI.is_dir(), reason="sample data are not here")
@pytest.mark.parametrize("scale", [0.5, 0.8])
def test_the_files_are_those_of_octopi(tmp_path: Path, scale: float) -> None:
    fixture = json.loads((OCTOPI / "expected" / "eval_fixture.json").read_text())
    objects = json.loads((OCTOPI / "config.json").read_text())["pickable_objects"]
    config = make_project(tmp_path, objects)
    for side, owner in (("gt", "data-portal/0"), ("picks", "fixture/1")):
        for run, by_name in fixture[side].items():
            for name, xyz in by_name.items():
                put(tmp_path, run, name, owner, xyz)
    picks = ProjectPicks(str(config), "data-portal", "0", "fixture", "1", ("TS_1", "TS_2"))
    rule = ScoreRule(distance_fraction=scale, matching="octopi")
    evaluate_project(picks, rule=rule, output=tmp_path / "out")
    expected = OCTOPI / "expected" / f"eval_dts{scale}_b4"
    for name, read in (("average_metrics.yaml", yaml.safe_load), ("metrics.json", json.loads)):
        ours, theirs = (read((p / name).read_text()) for p in (tmp_path / "out", expected))
        assert ours["input"].pop("copick_config") == str(config)
        assert theirs["input"].pop("copick_config") == "config.json"
        assert list(flat(ours)) == list(flat(theirs)), "the keys, in their order"
        for (key, one), other in zip(flat(ours).items(), flat(theirs).values(), strict=True):
            assert one == (pytest.approx(other, abs=1e-12) if key[-1] != "str" else other), key


def flat(values: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Leaves of nested values by their path."""
    if isinstance(values, dict):
        return {k: v for key, one in values.items() for k, v in flat(one, (*path, key)).items()}
    return {(*path, type(values).__name__ if isinstance(values, str) else ""): values}


def test_without_a_session_the_first_is_true_and_named(config: Path, tmp_path: Path) -> None:
    put(tmp_path, "TS_1", "rod", "people/7", line(1))
    put(tmp_path, "TS_1", "ball", "people/7", line(1))
    put(tmp_path, "TS_1", "wall", "people/9", line(1))
    seen: list[Event] = []
    result = evaluate_project(ProjectPicks(str(config), "people"), observe=seen.append)
    notes = [event.text for event in seen if event.kind == "note"]
    assert notes[0] == (
        "true are the first picks of people: of session 0 (2 sets of picks), 7 (1 sets of picks), "
        "9 (1 sets of picks)"
    )
    assert counts(result, "ball") == (3, 5, 3)
    assert counts(result, "rod") == (1, 0, 0)


def test_what_is_not_there_is_named(config: Path) -> None:
    with pytest.raises(AddressError, match=r'has no run "TS_9"; '):
        evaluate_project(ProjectPicks(str(config), "people", runs=("TS_1", "TS_9")))
    with pytest.raises(AddressError, match='picks of peple; did you mean "people/0"'):
        evaluate_project(ProjectPicks(str(config), "peple"))
    with pytest.raises(AddressError, match=r"picks of octopi/2; did you mean \"octopi/1\""):
        evaluate_project(ProjectPicks(str(config), "people", session="2"))
    with pytest.raises(ConfigError, match='"bal" is no object'):
        evaluate_project(ProjectPicks(str(config), "people"), rule=ScoreRule(classes=("bal",)))


def test_an_object_without_a_radius_is_named_and_may_be_left_out(tmp_path: Path) -> None:
    config = make_project(tmp_path, [*OBJECTS, {"name": "new", "label": 9, "radius": None}])
    put(tmp_path, "TS_1", "ball", "people/0", line(1))
    put(tmp_path, "TS_1", "ball", "octopi/1", line(1))
    with pytest.raises(ConfigError, match=r"radii of new are not known.*--object-names"):
        evaluate_project(ProjectPicks(str(config), "people"))
    only = ScoreRule(classes=("ball", "rod"))
    assert counts(evaluate_project(ProjectPicks(str(config), "people"), rule=only), "ball")[0] == 1


def test_a_damaged_run_is_named_and_the_others_are_scored(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "project/ExperimentRuns/TS_3/Picks/octopi_1_ball.json"
    path.write_text("{")
    result = evaluate_project(ProjectPicks(str(config), "people"), output=tmp_path / "out")
    assert [e.status for e in result.entries] == ["done", "done", "failed", "done"]
    assert "TS_3" in result.entries[2].error
    assert counts(result, "ball") == (3, 2, 3)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())["metrics"]
    assert list(metrics) == ["TS_1", "TS_2", "TS_4"]
    rows = pd.read_csv(tmp_path / "out" / "metrics.csv").set_index(["run", "object"])
    assert rows.loc[("TS_1", "ball"), "true_positives"] == metrics["TS_1"]["ball"]["true_positives"]
    assert len(rows) == 9


def test_every_pick_is_listed_with_its_match(config: Path, tmp_path: Path) -> None:
    evaluate_project(ProjectPicks(str(config), "people"), output=tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "picks.csv")
    assert table.groupby(["volume", "side"]).size().to_dict() == {
        ("TS_1", "predicted"): 6, ("TS_1", "truth"): 4, ("TS_2", "truth"): 2,
        ("TS_3", "predicted"): 3,
    }  # fmt: skip
    ball = table[(table["volume"] == "TS_1") & (table["class_name"] == "ball")]
    found = ball[ball["side"] == "predicted"].set_index("number")
    assert found["partner"].tolist() == [0, 1, 2, -1, -1]
    assert found["matched"].tolist() == [True] * 3 + [False] * 2
    assert found["distance_angstrom"].tolist() == pytest.approx(
        [30, 30, 30, np.nan, np.nan], nan_ok=True
    )
    assert found["nearest_angstrom"].iloc[3] == pytest.approx(40)
    assert found.loc[4, ["x_angstrom", "y_angstrom", "z_angstrom"]].tolist() == [0, 4000, 0]
    assert not list((tmp_path / "out").glob(".*")), "nothing half-written is left"


def test_sweeps_are_written_and_go_when_they_are_not_asked_for(
    config: Path, tmp_path: Path
) -> None:
    rule = ScoreRule(sweep=True, distance_scales=(0.2, 0.8))
    picks = ProjectPicks(str(config), "people")
    result = evaluate_project(picks, rule=rule, output=tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "sweep.csv")
    ball = table[table["class_name"] == "ball"]
    assert ball["sweep"].tolist() == ["score", "distance", "distance"]
    assert ball["tp"].tolist() == [3, 0, 3]
    assert ball["fn"].tolist() == [3, 6, 3]
    assert ball["distance_scale"].tolist() == [0.8, 0.2, 0.8]
    content = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert content["sweep"]["ball"]["best_threshold"] == 1.0
    assert content["sweep"]["ghost"]["average_precision"] is None
    assert content["averages"]["micro"]["accuracy"] == pytest.approx(3 / 12)
    assert (tmp_path / "out" / "precision_recall.png").read_bytes()[:4] == b"\x89PNG"
    assert result.sweeps.curves["ball"].average_precision == pytest.approx(3 / 8 * 3 / 6)
    evaluate_project(picks, output=tmp_path / "out", overwrite=True)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert not names & {"sweep.csv", "precision_recall.png"}
    with pytest.raises(ConfigError, match=r"distance_scales \(0.5,\) are parts of radii"):
        ScoreRule(distance=20.0, distance_scales=(0.5,))


def test_the_same_project_by_addresses_has_the_same_scores(config: Path) -> None:
    one = evaluate_project(ProjectPicks(str(config), "people", "0", runs=("TS_1", "TS_2")))
    runs = ["TS_1", "TS_2"]
    other = evaluate(f"{config}:*/:octopi/1", f"{config}:*/:people/0", runs=runs)
    pd.testing.assert_frame_equal(one.scores, other.scores)
