"""Picks beside a membrane: near and far, how they are turned, and what cannot be done."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from volproc.cli.main import run
from volproc.core.errors import AddressError, ConfigError, ExistsError, ResumeError
from volproc.core.events import Event
from volproc.io.copick_project import ProjectObject, create_project
from volproc.io.create import create, write_whole
from volproc.workflows import membrane
from volproc.workflows.membrane import MembraneReport, MembraneTask, extract_membrane

VOXEL = 10.0
TURN = [[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
WAYS = np.array([[0.0, 0.0, 1.0], [0.6, 0.0, -0.8], [0.0, -1.0, 0.0], [0.48, 0.6, -0.64]])
"""From the middle of a shell, (z, y, x)."""


def shell() -> np.ndarray:
    """A vesicle of radius 12 voxels in the middle, beside a thick wall."""
    z, y, x = np.indices((36, 40, 44))
    distance = np.sqrt((z - 18.0) ** 2 + (y - 20.0) ** 2 + (x - 20.0) ** 2)
    mask = (np.abs(distance - 12) <= 1.5).astype(np.uint8)
    mask[:, :, 41:] = 2
    return mask


def places(lengths: list[float]) -> np.ndarray:
    """Picks at distances from the middle of the vesicle, (z, y, x), voxels."""
    return np.array([18.0, 20, 20]) + WAYS * np.array(lengths)[:, None]


def put(config: Path, run_name: str, zyx: np.ndarray, *, turn: list | None = None) -> Path:
    points: list[dict[str, Any]] = [
        {
            "location": dict(zip("xyz", (one[::-1] * VOXEL).tolist(), strict=True)),
            "score": 0.25 + 0.125 * number,
            "instance_id": number + 5,
        }
        for number, one in enumerate(zyx)
    ]
    if turn is not None:
        points[0]["transformation_"] = turn
    folder = config.parent / "project" / "ExperimentRuns" / run_name / "Picks"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "octopi_1_spike.json"
    values = {"pickable_object_name": "spike", "user_id": "octopi", "session_id": "1",
              "run_name": run_name, "unit": "angstrom", "points": points}  # fmt: skip
    path.write_text(json.dumps(values))
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Two runs with a vesicle, of which the picks of the second are turned; one without a mask."""
    objects = (ProjectObject("spike", 1, 50.0), ProjectObject("other", 2, 50.0))
    path = create_project(tmp_path / "c.json", objects=objects, runs=["A", "B", "C", "D"])
    for name in ("A", "B"):
        address = f"{path}:{name}/membrane:people/0@{VOXEL:g}"
        mask = shell()
        sink = create(address, shape=mask.shape, dtype=mask.dtype, voxel_size=(VOXEL,) * 3,
                      kind="labels", chunks=(16, 16, 16))  # fmt: skip
        write_whole(sink, mask)
    put(path, "A", places([16, 17, 12, 30]))
    put(path, "B", places([16, 17, 12, 30]), turn=TURN)
    put(path, "C", places([16, 17, 12, 30]))
    return path


def task(config: Path, **more: Any) -> MembraneTask:
    found = {"picks": ("spike", "octopi", "1"), "mask": ("membrane", None, None), **more}
    return MembraneTask(str(config), save_session="4", **found)


def read(config: Path, run_name: str, session: str, user: str = "octopi") -> dict[str, Any]:
    folder = config.parent / "project" / "ExperimentRuns" / run_name / "Picks"
    values: dict[str, Any] = json.loads((folder / f"{user}_{session}_spike.json").read_text())
    return values


def turns(values: dict[str, Any]) -> np.ndarray:
    return np.array([p["transformation_"] for p in values["points"]])[:, :3, :3]


def test_picks_are_told_apart_and_turned_and_keep_what_they_are(config: Path) -> None:
    seen: list[Event] = []
    report = extract_membrane(task(config), observe=seen.append)
    assert [(e.name, e.status) for e in report.entries] == [
        ("A", "done"), ("B", "done"), ("C", "failed")
    ]  # fmt: skip
    assert "there are no segmentations at 10 Å membrane" in report.entries[2].error
    assert [e.text for e in seen if e.kind == "note"] == ["left out, since there are no picks: D"]
    assert report.counts == {"A": (2, 2), "B": (2, 2)}
    near, far = read(config, "A", "4"), read(config, "A", "5")
    assert [p["instance_id"] for p in near["points"]] == [5, 6]
    assert [p["instance_id"] for p in far["points"]] == [7, 8], "one inside, one too far"
    assert [p["score"] for p in near["points"]] == [0.25, 0.375]
    assert near["points"][0]["location"] == {"x": 360.0, "y": 200.0, "z": 180.0}
    assert (near["session_id"], near["trust_orientation"]) == ("4", True)
    for matrix, way in zip(turns(near), WAYS, strict=False):
        assert (matrix @ way[::-1])[2] > np.cos(np.radians(2)), "the normal is turned to z"
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    stays, none = read(config, "B", "4")["points"]
    assert stays["transformation_"] == TURN
    assert "transformation_" not in none
    assert "trust_orientation" not in read(config, "B", "4"), "what was turned stays"
    log = yaml.safe_load(
        (config.parent / "project/logs/membrane-extract_octopi_4.yaml").read_text()
    )
    assert log["output"] == {"save_user_id": "octopi", "save_session_id": "4"}
    assert log["parameters"]["distance_threshold"] == [1.0, 10.0]
    assert log["runs"] == {"done": ["A", "B"], "failed": ["C"]}


def test_the_centre_is_that_of_the_label_and_octopis_way_takes_z_for_x(config: Path) -> None:
    only = task(config, runs=("A",), facing="centre", save_user="me")
    extract_membrane(only)
    for matrix, way in zip(turns(read(config, "A", "4", "me")), WAYS, strict=False):
        np.testing.assert_allclose(matrix @ way[::-1], [0, 0, 1], atol=1e-6)
    extract_membrane(replace(only, facing="octopi", overwrite=True))
    for matrix, way in zip(turns(read(config, "A", "4", "me")), WAYS, strict=False):
        np.testing.assert_allclose(matrix @ way, [0, 0, 1], atol=3e-4)


def close(report: MembraneReport) -> int:
    return report.counts["A"][0]


def test_thresholds_are_voxels_or_angstrom_and_both_ends_count(config: Path) -> None:
    put(config, "A", np.array([[5.0, 5, 37], [5, 5, 38], [5, 5, 39.5], [5, 5, 42]]))
    only = task(config, runs=("A",), overwrite=True)
    # 4, 3 and 1.5 voxels from the wall, and within it.
    assert close(extract_membrane(replace(only, threshold=(0.0, 4.0)))) == 4
    assert close(extract_membrane(replace(only, threshold=(1.5, 3.0)))) == 2
    assert close(extract_membrane(replace(only, threshold=(15.0, 39.9), unit="angstrom"))) == 2
    assert close(extract_membrane(replace(only, threshold=(50.0, 60.0), unit="angstrom"))) == 0
    assert read(config, "A", "4")["points"] == [], "none of the earlier run stay"


def test_what_cannot_be_done_is_named_before_any_work(config: Path) -> None:
    for more, error, said in (
        ({"runs": ("A", "X")}, AddressError, 'has no run "X"'),
        ({"picks": ("spik", None, None)}, AddressError, 'no object of .*did you mean "spike"'),
        ({"picks": ("other", None, None)}, AddressError, "no run of .* has picks other"),
        ({"threshold": (5.0, 2.0)}, ConfigError, "ascending, got 5,2"),
        ({"save_user": "a_b"}, AddressError, "no name in copick"),
        ({"mask": ("wall", None, None)}, AddressError, "no run can be done; A: there are no seg"),
    ):
        with pytest.raises(error, match=said):
            extract_membrane(task(config, **more))
    with pytest.raises(ConfigError, match='must be a whole number, got "x"'):
        replace(task(config), save_session="x")
    for session in ("0", "1"):
        with pytest.raises(ConfigError, match="would be overwritten by what is made of them"):
            extract_membrane(replace(task(config), save_session=session, overwrite=True))
    extract_membrane(task(config, runs=("A",)))
    with pytest.raises(ExistsError, match=r"A/spike:octopi/4 and 1 more exist.*--overwrite"):
        extract_membrane(task(config, runs=("A",)))


def test_a_run_that_was_broken_off_goes_on_and_a_finished_one_is_not_replaced(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = task(config, runs=("A", "B"))
    write = membrane.write_parts
    done: list[object] = []

    def write_once(*args: Any) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(write(*args))

    monkeypatch.setattr(membrane, "write_parts", write_once)
    with pytest.raises(KeyboardInterrupt):
        extract_membrane(only)
    monkeypatch.undo()
    logs = config.parent / "project" / "logs"
    assert sorted(p.name for p in logs.iterdir()) == [
        ".membrane-extract_octopi_4.finished",
        "membrane-extract_octopi_4.run.json",
    ]
    with pytest.raises(ResumeError, match=r"threshold was"):
        extract_membrane(replace(only, threshold=(2.0, 9.0)))
    report = extract_membrane(only)
    assert report.counts == {"A": (2, 2), "B": (2, 2)}
    assert [entry.status for entry in report.entries] == ["skipped", "done"]
    assert report.log is not None
    assert yaml.safe_load(report.log.read_text())["picks"]["A"] == {"close": 2, "far": 2}
    assert not any(path.name.endswith(".finished") for path in logs.iterdir())
    with pytest.raises(ExistsError, match="--overwrite"):
        extract_membrane(only)


def test_a_finished_run_is_done_again_only_where_its_files_changed(config: Path) -> None:
    every = task(config)  # C has no mask, so that the command is never done

    def become() -> list[str]:
        return [entry.status for entry in extract_membrane(every).entries]

    assert become() == ["done", "done", "failed"]
    assert become() == ["skipped", "skipped", "failed"]
    put(config, "A", places([16, 12, 30, 30]))
    folder = config.parent / "project" / "ExperimentRuns"
    (folder / "B" / "Picks" / "octopi_4_spike.json").unlink()
    assert become() == ["done", "done", "failed"]
    assert len(read(config, "B", "4")["points"]) == 2
    (logs,) = (config.parent / "project" / "logs").glob(".*.finished")
    for marker in logs.iterdir():
        marker.write_text("{")
    assert become() == ["done", "done", "failed"]


def test_the_command_takes_octopis_flags(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["-c", str(config), "-pi", "spike,octopi,1", "-si", "membrane", "-ssid", "7"]
    assert run(["membrane-extract", *command, "--runIDs", "A,B", "-q"]) == 0
    assert "A  2 close, 2 far" in capsys.readouterr().out
    octopi = ["octopi", "membrane-extract", *command, "-t", "30", "-suid", "me", "-q"]
    assert run(octopi) == 1
    out = capsys.readouterr().out
    assert "C  failed  there are no segmentations" in out
    assert "2 runs done, 1 failed: 6 picks close, 2 far" in out
    assert run([*octopi, "--threshold", "9,1"]) == 2
    assert run([*octopi, "-np", "2", "--cluster", "threads"]) == 2
    assert "give one of them" in capsys.readouterr().err
