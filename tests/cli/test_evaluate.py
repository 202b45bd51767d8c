"""``volproc evaluate`` on tables made here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from volproc.cli.main import run
from volproc.core.points import Points
from volproc.io.copick_project import ProjectObject, create_project
from volproc.io.points import write_points


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two volumes: all of two classes found, and of three balls two, with one that is none."""
    monkeypatch.chdir(tmp_path)
    for folder in ("picks", "truth"):
        (tmp_path / folder).mkdir()
    both = [[1, 2, 3], [1, 2, 33]]
    write("truth/TS_1.csv", both, ["ball", "rod"])
    write("picks/TS_1_picks.star", both, ["ball", "rod"])
    write("truth/TS_2.csv", [[1, 2, 3], [1, 2, 33], [1, 2, 63]], ["ball"] * 3)
    write("picks/TS_2_picks.star", [[1, 2, 4], [1, 2, 5], [1, 2, 33]], ["ball"] * 3)
    return tmp_path


def write(path: str, zyx: object, names: list[str]) -> None:
    write_points(Points.from_zyx(zyx, class_name=names, voxel_size=(10.0,) * 3, shape=()), path)


def words(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_two_files_give_a_table(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "picks/TS_2_picks.star", "--truth", "truth/TS_2.csv", "-q"]
    assert run([*command, "--distance", "25"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert words(out[0]) == [
        "class", "truth", "predicted", "tp", "fp", "fn", "precision", "recall", "f1", "fbeta"
    ]  # fmt: skip
    assert words(out[1]) == ["ball", "3", "3", "2", "1", "1", *["0.667"] * 4]
    assert words(out[2])[0] == "overall"
    assert "paired one to one, at most 25 Å apart; F-beta with beta 4" in out
    assert out[-1] == "1 volume: 1 scored"
    assert run(command) == 1
    assert "--radius" in capsys.readouterr().err
    assert run([*command, "--radius", "ball=25"]) == 0
    assert "at most 0.8 radii (Å: ball 25) apart" in capsys.readouterr().out
    assert run([*command, "--radius", "ball=25", "--distance-fraction", "0.3", "-fb", "1"]) == 0
    out = capsys.readouterr().out
    assert words(out.splitlines()[1])[3] == "1"
    assert "at most 0.3 radii" in out
    assert "weighted F1  0.3333  (weights: ball 1)" in out


def test_many_files_give_tables_means_and_files(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "picks/*.star", "-t", "truth/{name}.csv", "--distance", "25", "-q"]
    assert run([*command, "-o", "out", "--weight", "rod=3"]) == 0
    out = capsys.readouterr().out
    rows = {words(line)[0]: words(line)[1:] for line in out.splitlines() if line}
    assert ["overall", "5", "5", "4", "1", "1"] in [words(line)[:6] for line in out.splitlines()]
    assert rows["TS_1"][:5] == ["2", "2", "2", "0", "0"]
    assert rows["TS_2"][:5] == ["3", "3", "2", "1", "1"]
    assert rows["ball"][0].startswith("2 volumes: precision 0.833 ± 0.167")
    assert rows["rod"][0].startswith("1 volumes: precision 1.000 ± 0.000")
    assert "2 volumes: 2 scored" in out
    weighted = (17 * 3 / (17 * 3 + 16 + 1) + 3) / 4
    assert f"weighted F4  {weighted:.4f}  (weights: ball 1, rod 3)" in out
    scores = json.loads((here / "out" / "scores.json").read_text())
    assert scores["weighted_fbeta"] == pytest.approx(weighted)
    assert json.loads((here / "out" / "run.json").read_text())["counts"]["done"] == 2
    assert run([*command, "-o", "out"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run([*command, "-o", "out", "--overwrite"]) == 0


def test_a_broken_volume_is_named_and_the_status_is_1(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "picks" / "TS_1_picks.star").write_text("broken")
    command = ["evaluate", "picks", "-t", "truth", "--distance", "25", "-q", "-o", "out"]
    assert run(command) == 1
    out = capsys.readouterr().out.splitlines()
    assert words(out[1])[:4] == ["ball", "3", "3", "2"]
    (line,) = (line for line in out if "failed  " in line)
    assert line.startswith("TS_1  failed  picks/TS_1_picks.star")
    assert "2 volumes: 1 scored, 1 failed" in out
    write("picks/TS_1.star", [[1, 2, 3]], ["ball"])
    (here / "picks" / "TS_1_picks.star").unlink()
    assert run(command) == 0, "the same command goes on where a volume had failed"


def test_lists_run_ids_and_classes_choose(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "list.txt").write_text("picks/TS_2_picks.star\npicks/TS_1_picks.star\n")
    command = ["evaluate", "--list", "list.txt", "-t", "truth", "--distance", "25", "-q"]
    assert run([*command, "--run-ids", "TS_1", "--object-names", "ball"]) == 0
    out = capsys.readouterr().out
    assert words(out.splitlines()[1])[:4] == ["ball", "1", "1", "1"]
    assert "rod" not in out
    assert run([*command, "--run-ids", "TS_3"]) == 1
    assert "no prediction is of TS_3" in capsys.readouterr().err
    assert run([*command, "--object-names", "bal"]) == 1
    assert 'did you mean "ball"' in capsys.readouterr().err


def test_tables_of_others_get_their_units(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["experiment,particle_type,x,y,z", "TS_1,ball,31,20,10", "TS_2,ball,30,20,10"]
    (here / "submission.csv").write_text("\n".join(rows))
    command = ["evaluate", "submission.csv", "-t", "truth/{name}.csv", "--distance", "9", "-q"]
    assert run([*command, "--unit", "angstrom", "--truth-unit", "voxel"]) == 0
    rows = [words(line)[:6] for line in capsys.readouterr().out.splitlines()]
    assert ["overall", "5", "2", "2", "0", "3"] in rows
    np.save(here / "one.npy", np.array([[2.0, 4.0, 6.0]]))
    np.save(here / "true.npy", np.array([[1.0, 2.0, 3.0]]))
    npy = ["evaluate", "one.npy", "-t", "true.npy", "--distance", "1", "-q", "-vs", "5"]
    assert run([*npy, "--truth-voxel-size", "10"]) == 0
    assert ["particle", "1", "1", "1", "0", "0"] in [
        words(line)[:6] for line in capsys.readouterr().out.splitlines()
    ]
    assert run(["evaluate", "one.npy", "-t", "true.npy", "--distance", "1", "-q"]) == 1
    assert "--voxel-size" in capsys.readouterr().err


@pytest.fixture
def project(here: Path) -> str:
    """A project with three true balls, of which two are found, one of them twice."""
    objects = (ProjectObject("ball", 1, 100.0), ProjectObject("wall", 2, is_particle=False))
    create_project(here / "c.json", objects=objects, runs=["TS_1"])
    for owner, zyx in (
        ("people/0", [[1, 2, 3], [1, 2, 33], [1, 2, 63]]),
        ("octopi/1", [[1, 2, 3], [1, 2, 4], [1, 2, 33]]),
    ):
        write(f"c.json:TS_1/:{owner}", zyx, ["ball"] * 3)
    return "c.json"


def test_octopis_flags_score_picks_of_a_project(
    project: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--config", project, "--ground-truth-user-id", "people", "-q"]
    assert run([*command, "--predict-user-id", "octopi", "--save-path", "out", "--sweep"]) == 0
    out = capsys.readouterr().out
    assert words(out.splitlines()[1])[:6] == ["ball", "3", "3", "2", "1", "1"]
    assert "paired one to one, at most 0.8 radii (Å: ball 100) apart" in out
    assert "macro F4  0.6667" in out
    assert "ball  average precision 0.4444; best F4 0.6667 at scores from 1" in out
    assert {"picks.csv", "metrics.json", "precision_recall.png"} <= {
        path.name for path in (here / "out").iterdir()
    }
    assert run([*command, "--run-ids", "[TS_1]", "--matching", "octopi"]) == 0
    assert words(capsys.readouterr().out.splitlines()[1])[:6] == ["ball", "3", "3", "3", "0", "1"]
    assert run([*command, "--matching", "kaggle", "--distance-scales", "0.05,0.5"]) == 0
    assert "F4 at 0.05 radii: ball 0.6667, overall 0.6667" in capsys.readouterr().out
    assert run([*command, "--run-ids", "TS_2"]) == 1
    assert 'has no run "TS_2"' in capsys.readouterr().err


def test_octopis_own_command_writes_to_its_own_folder(
    project: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["octopi", "evaluate", "-c", project, "-gtuid", "people", "-gtsid", "0", "-q"]
    assert run([*command, "-puid", "octopi", "-psid", "1", "-dts", "0.5", "-fb", "2"]) == 0
    assert "weighted F2  0.6667" in capsys.readouterr().out
    written = json.loads((here / "scores" / "metrics.json").read_text())
    assert written["input"]["ground_truth_session_id"] == "0"
    assert written["parameters"]["distance_threshold_scale"] == 0.5
    assert run(command) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_a_project_and_tables_exclude_each_other(
    project: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, said in (
        (["picks/*.star", "-c", project, "-gtuid", "people"], "PREDICTED and --config exclude"),
        (["-c", project, "-gtuid", "people", "-vs", "10"], "--voxel-size and --config exclude"),
        (["-c", project], "--ground-truth-user-id"),
        (["picks", "-t", "truth", "-puid", "me"], "--predict-user-id needs --config"),
        (["picks", "-t", "truth", "--distance-scales", "0,1"], "no list of numbers above 0"),
    ):
        assert run(["evaluate", *more]) == 2
        assert said in capsys.readouterr().err


def test_misuse_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "-t", "truth"]) == 2
    assert "PREDICTED" in capsys.readouterr().err
    assert run(["evaluate", "picks"]) == 2
    assert "--truth" in capsys.readouterr().err
    assert run(["evaluate", "picks", "-t", "truth", "--distance", "0"]) == 2


def test_the_log_of_events_takes_standard_output(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "picks", "-t", "truth", "--distance", "25", "-q", "--log-json", "-"]
    assert run(command) == 0
    captured = capsys.readouterr()
    kinds = [json.loads(line)["kind"] for line in captured.out.splitlines()]
    assert kinds.count("tomogram") == 2
    assert "2 volumes: 2 scored" in captured.err
