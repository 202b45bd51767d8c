"""The command that says what a segmentation takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from volproc.cli.main import run
from volproc.core.model import ModelSpec
from volproc.models.loading import save_model
from volproc.models.networks import build


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        np.save(tmp_path / f"noise{number}.npy", np.ones((20, 24, 28 + number // 2), np.float32))
    torch.manual_seed(0)
    params = {"widths": [2, 4]}
    spec = ModelSpec("unet3d", "", (16, 16, 16), ("background", "ball"), params=params)
    save_model(tmp_path / "tiny.pt", spec, build("unet3d", num_classes=2, **params).state_dict())
    return tmp_path


def plan(*words: str) -> int:
    return run(["plan", *words, "-m", "tiny.pt"])


def test_a_shape_is_planned_without_a_file(here: Path, capsys) -> None:
    assert plan("--shape", "10240,10240,10240", "--dtype", "int16", "--workers", "8") == 0
    out = capsys.readouterr().out
    assert "10240 × 10240 × 10240 voxels, 2.15 TB" in out
    assert "storage chunks 128 × 128 × 128" in out
    assert "16 under way" in out


def test_a_plan_is_for_the_cluster_that_a_run_would_have(here: Path, capsys) -> None:
    (here / "slurm.yaml").write_text(
        "cluster: slurm\ninterface: ib0\n"
        "gpu: {jobs: 3, walltime_h: 1, memory_gib: 2}\n"
        "cpu: {jobs: 9, walltime_h: 1, memory_gib: 640}\n"
    )
    assert plan("--shape", "2048", "--cluster", "slurm.yaml") == 0
    out = capsys.readouterr().out
    assert "6 under way at a time" in out
    assert "of 1.84 GB" in out, "nine tenths of what a worker in the job may use"
    assert plan("--shape", "2048", "--cluster", "local", "--workers", "5") == 0
    assert "10 under way at a time" in capsys.readouterr().out


def test_many_inputs_are_planned_together(here: Path, capsys) -> None:
    before = sorted(here.iterdir())
    assert plan("noise*.npy", "-vs", "10", "-o", "out/") == 0
    out = capsys.readouterr().out
    assert "3 volumes of 2 kinds" in out
    assert "20 × 24 × 29" in out
    assert sorted(here.iterdir()) == before


def test_one_broken_input_of_many_is_named_and_fails_the_plan(here: Path, capsys) -> None:
    (here / "noise9.npy").write_bytes(b"")
    assert plan("noise*.npy", "-vs", "10", "-o", "out/") == 1
    assert "noise9.npy: " in capsys.readouterr().out


def test_blocks_are_measured_where_that_is_asked_for(here: Path, capsys) -> None:
    before = sorted(here.iterdir())
    assert plan("noise0.npy", "-vs", "10", "--calibrate", "-q", "--workers", "2") == 0
    assert "a pass, measured on 1 block" in capsys.readouterr().out
    assert plan("noise*.npy", "-vs", "10", "--calibrate", "-q") == 0
    assert "a pass, measured on 1 block" in capsys.readouterr().out
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["noise0.npy", "--shape", "9"], 2, "takes no INPUT and no --calibrate"),
        (["--shape", "9", "--calibrate"], 2, "takes no INPUT and no --calibrate"),
        (["noise0.npy", "--dtype", "int8"], 2, "--dtype describes a volume that does not exist"),
        (["noise0.npy", "--storage-chunks", "8"], 2, "--storage-chunks describes"),
        (["--shape", "64", "--dtype", "complex64"], 1, '"complex64" is no type of real voxels'),
        (["--shape", "64", "--dtype", "x"], 1, '"x" is no type of real voxels'),
        (["--shape", "64,64"], 1, "--shape has three sizes"),
        (["--shape", "64", "--memory-limit", "1MB"], 1, "a worker has 1 MB"),
        (["--shape", "9,64,64"], 1, "smaller than one patch"),
        (["--shape", "0,64,64"], 2, "is not a size"),
    ],
)
def test_a_mistake_is_one_message(here: Path, words, status, said, capsys) -> None:
    assert plan(*words) == status
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
