"""Many inputs on the command line: which they are, where outputs go, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from volproc.cli.main import run
from volproc.core.model import ModelSpec
from volproc.io.copick_project import ProjectObject, add_tomogram, create_project
from volproc.io.open import open_
from volproc.models.loading import save_model
from volproc.models.networks import build

SHAPE = (16, 18, 20)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three volumes and a network that thinks that anything may be a ball."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for number in range(3):
        voxels = np.random.default_rng(number).normal(size=SHAPE).astype(np.float32)
        np.save(tmp_path / "data" / f"TS_{number}.npy", voxels)
    torch.manual_seed(0)
    spec = ModelSpec(
        "unet3d", "tiny.pt", patch=(16, 16, 16), classes=("background", "ball"),
        params={"widths": [2, 4]}, radii={"ball": 30.0},
    )  # fmt: skip
    network = build("unet3d", in_channels=1, num_classes=2, widths=[2, 4])
    save_model(tmp_path / "tiny.pt", spec, network.state_dict())
    return tmp_path


def segment(*words: str) -> int:
    return run(["segment", "semantic", "-m", "tiny.pt", "-vs", "10", "-q", *words])


def read_run(path: str) -> dict[str, object]:
    return json.loads(Path(path).read_text())


def test_a_pattern_and_a_folder_make_a_dataset(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment("data/*.npy", "-o", "out/") == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in out[:3]] == [[f"TS_{n}", "done"] for n in range(3)]
    assert out[0].endswith("out/TS_0_classes.zarr")
    assert out[3:] == ["3 volumes: 3 done", f"record  {here}/out/run.json"]
    assert open_("out/TS_2_classes.zarr").shape == SHAPE
    assert read_run("out/run.json")["counts"]["done"] == 3


def test_one_broken_volume_ends_in_status_1_and_its_cause_in_the_table(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "data" / "TS_1.npy").write_bytes(b"broken")
    assert segment("data/TS_0.npy", "data/TS_1.npy", "data/TS_2.npy", "-o", "out") == 1
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in out[:3]] == ["done", "failed", "done"]
    assert "data/TS_1.npy" in out[1]
    assert out[3] == "3 volumes: 2 done, 1 failed"

    np.save(here / "data" / "TS_1.npy", np.zeros(SHAPE, np.float32))
    assert segment("data/*.npy", "-o", "out") == 0, "the same inputs, named otherwise"
    assert "3 volumes: 1 done, 2 skipped" in capsys.readouterr().out
    assert segment("data/*.npy", "-o", "out") == 1
    assert "3 outputs exist" in capsys.readouterr().err
    assert segment("data/*.npy", "-o", "out", "--resume") == 0
    assert "3 volumes: 3 skipped" in capsys.readouterr().out


def test_lists_and_templates(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "list.txt").write_text("# two\ndata/TS_2.npy\ndata/TS_0.npy\n")
    assert segment("--list", "list.txt", "-o", "maps/{folder}-{name}.mrc") == 0
    assert segment("@list.txt", "-o", "more/{name}/map.npy") == 0
    assert sorted(p.name for p in (here / "maps").glob("*.mrc")) == [
        "data-TS_0.mrc", "data-TS_2.mrc"
    ]  # fmt: skip
    assert (here / "more" / "TS_2" / "map.npy").is_file()
    assert read_run("more/run.json")["tomograms"][0]["name"] == "TS_2"


def test_a_config_may_name_many_inputs(here: Path) -> None:
    (here / "many.yaml").write_text(
        "input: [data/TS_0.npy, 'data/TS_[12].npy']\noutput: out/\nmodel: tiny.pt\n"
        "voxel_size_angstrom: 10\nprobabilities: uint8\nprobabilities_output: prob/\n"
    )
    assert run(["segment", "semantic", "--config", "many.yaml", "-q"]) == 0
    assert len(list((here / "out").glob("*_classes.zarr"))) == 3
    assert len(list((here / "prob").glob("*_probabilities.zarr"))) == 3


def test_one_input_behaves_as_ever_but_may_go_to_a_folder(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment("data/TS_0.npy") == 0
    assert capsys.readouterr().out.split()[:2] == ["classes", "TS_0_classes.zarr"]
    assert segment("data/TS_0.npy", "-o", "out/") == 0
    assert (here / "out" / "TS_0_classes.zarr").is_dir()
    assert not list(here.rglob("run.json"))
    assert segment("data/TS_0.npy") == 1
    assert segment("data/TS_0.npy", "--resume") == 0
    assert "finished before" in capsys.readouterr().out


def test_runs_of_a_project_get_their_own_results(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = create_project(
        here / "c.json", objects=(ProjectObject("ball", 1, 30.0),), runs=["TS_0", "TS_1", "TS_9"]
    )
    for number in range(2):
        voxels = np.load(here / "data" / f"TS_{number}.npy")
        add_tomogram(config, f"TS_{number}", "wbp", voxels, voxel_size=10.0)
    words = ["segment", "semantic", "-m", "tiny.pt", "-q"]
    assert run([*words, "c.json:*/wbp@10", "-o", "c.json:*/predict:volproc/1@10"]) == 0
    captured = capsys.readouterr()
    assert "2 volumes: 2 done" in captured.out
    assert "have no wbp@10: TS_9" in captured.err
    assert open_("c.json:TS_1/predict:volproc/1@10").shape == SHAPE
    assert read_run("logs/run.json")["counts"]["done"] == 2
    more = ["c.json:*/wbp@10", "--run-ids", "TS_1,TS_0", "-o", "c.json:{name}/predict:volproc/1@10"]
    assert run([*words, *more]) == 1
    err = capsys.readouterr().err
    assert "2 outputs exist: " in err
    assert "c.json:TS_0/predict:volproc/1@10" in err
    picks = ["localize", "c.json:*/predict:volproc/1@10", "-o", "c.json:*/:volproc/1", "-q"]
    assert run(picks) == 0
    assert "2 volumes: 2 done" in capsys.readouterr().out
    assert run([*picks, "--resume"]) == 0
    assert "2 volumes: 2 skipped" in capsys.readouterr().out


def test_picks_of_many_maps_are_named_after_their_volumes(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment("data/*.npy", "-o", "maps/") == 0
    assert run(["localize", "maps/*_classes.zarr", "-o", "picks/{name}.star", "-q"]) == 0
    assert sorted(p.name for p in (here / "picks").glob("*.star")) == [
        f"TS_{n}.star" for n in range(3)
    ]
    capsys.readouterr()
    assert run(["localize", "maps/TS_0_classes.zarr", "-q"]) == 0
    assert (here / "TS_0_picks.csv").is_file()
    assert run(["localize", "maps/TS_0_classes.zarr", "-q", "--resume"]) == 0


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["data/*.npy", "-o", "one.zarr"], 1, "one.zarr is one output"),
        (["data/*.npy", "-o", "{nam}.zarr"], 1, 'did you mean "name"?'),
        (["data/TS_0.npy", "./data/../data/TS_0.npy", "-o", "o/"], 1, "would both be written"),
        (["nowhere/*.npy"], 1, "nothing fits"),
        (["@no.txt"], 1, "no.txt does not exist"),
        (["--list", "no.txt"], 1, "no.txt does not exist"),
        (["data/TS_0.npy", "--run-ids", "TS_1"], 1, "no input takes runs"),
        (["data/*.npy", "--resume", "--overwrite"], 2, "give one of them"),
        (["data/*.npy", "-o", "data/TS_0.npy"], 1, "is one output"),
        ([], 2, "Missing argument 'INPUT'"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_nothing(
    here: Path, words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(here.rglob("*"))
    assert segment(*words) == status
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert sorted(here.rglob("*")) == before


def test_a_dataset_in_processes_is_killed_and_goes_on(here: Path) -> None:
    """The command is killed after its first volume; nothing finished is done again."""
    for number in range(3, 8):
        voxels = np.random.default_rng(number).normal(size=SHAPE).astype(np.float32)
        np.save(here / "data" / f"TS_{number}.npy", voxels)
    words = [sys.executable, "-c", "import sys; from volproc.cli.main import main; main()"]
    words += ["segment", "semantic", "data/*.npy", "-m", "tiny.pt", "-vs", "10", "-o", "out/"]
    words += ["--cluster", "local", "--workers", "2"]
    with (here / "log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
    records = here / "out"
    deadline = time.monotonic() + 120
    while not list(records.glob("TS_*.zarr.json")) and time.monotonic() < deadline:
        assert process.poll() is None, (here / "log").read_text()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {p: p.stat().st_mtime_ns for p in records.glob("TS_*.zarr.json")}
    assert read_run("out/run.json")["status"] == "running"
    assert segment("data/*.npy", "-o", "out/") == 0
    found = read_run("out/run.json")
    assert found["counts"]["skipped"] == len(finished)
    assert found["counts"]["done"] == 8 - len(finished)
    assert {p: p.stat().st_mtime_ns for p in finished} == finished
    assert segment("data/*.npy", "-o", "undisturbed/") == 0
    for number in range(8):
        name = f"TS_{number}_classes.zarr"
        np.testing.assert_array_equal(
            open_(f"out/{name}").data.compute(), open_(f"undisturbed/{name}").data.compute()
        )
