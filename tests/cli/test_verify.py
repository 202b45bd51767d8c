"""``volproc verify`` and ``volproc seams``: what they print, and how they exit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from scipy import ndimage as ndi

from volproc.cli.main import run
from volproc.core.model import ModelSpec
from volproc.models.loading import save_model
from volproc.models.networks import build


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a finished run and labels."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("noise.npy", rng.normal(size=(12, 20, 24)).astype(np.float32))
    seeds = rng.integers(0, (30, 34, 38), (150, 3))
    place = np.zeros((30, 34, 38), np.int64)
    place[tuple(seeds.T)] = np.arange(1, 151)
    nearest = ndi.distance_transform_edt(place == 0, return_indices=True)[1]
    labels = place[tuple(nearest)]  # a dense packing
    np.save("labels.npy", labels)
    labels[15:] += 1000
    np.save("cut.npy", labels)
    return tmp_path


@pytest.fixture
def classes(here: Path, capsys: pytest.CaptureFixture[str]) -> str:
    torch.manual_seed(0)
    network = build("unet3d", num_classes=2, widths=[2, 4])
    spec = ModelSpec(
        "unet3d", "", patch=(8, 8, 8), classes=("background", "ball"), params={"widths": [2, 4]}
    )
    save_model(here / "tiny.pt", spec, network.state_dict())
    words = ["semantic", "noise.npy", "-vs", "10", "-m", "tiny.pt", "-o", "classes.zarr", "-q"]
    assert run(["segment", *words, "--chunks", "8"]) == 0
    capsys.readouterr()
    return "classes.zarr"


def test_a_run_is_verified_and_a_wrong_voxel_ends_in_status_1(
    here: Path, classes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", classes, "--regions", "2", "--seed", "3"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0].split() == ["verdict", "equal"]
    assert "classes.zarr.certificate.json" in captured.out
    assert "every bit is the same" in captured.err
    array = zarr.open(classes, mode="r+")["0"]
    array[3, 4, 5] = 1 - array[3, 4, 5]
    assert run(["verify", classes, "--regions", "all", "-q"]) == 1
    captured = capsys.readouterr()
    assert "differs" in captured.out
    assert "first at voxel (z, y, x) = (3, 4, 5)" in captured.err
    assert json.loads((here / "classes.zarr.certificate.json").read_text())["verdict"] == "differs"


def test_seams_are_json_and_the_status_says_whether_they_pass(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--chunks", "15,17,19", "-q"]
    assert run(["seams", "labels.npy", *words]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "pass"
    assert run(["seams", "cut.npy", *words, "--figure", "seams.png"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["verdict"] == "fail"
    assert "along z" in captured.err
    assert (here / "seams.png").read_bytes().startswith(b"\x89PNG")
    assert run(["seams", "cut.npy", *words, "--figure", "seams.png"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run(["seams", "labels.npy", "--chunks", "99", "-q"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["verdict"] == "cannot judge"
    assert "one block only" in captured.err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["verify", "labels.npy"], 1, "has no record"),
        (["verify", "nothing.zarr"], 1, "has no record"),
        (["verify", "labels.npy", "--regions", "some"], 2, "is not a number of regions"),
        (["verify", "labels.npy", "--regions", "0"], 2, "is not a number of regions"),
        (["seams", "labels.npy"], 1, "--chunks"),
        (["seams", "nothing.npy", "--chunks", "8"], 1, "does not exist"),
        (["seams", "noise.npy", "--chunks", "8", "--kind", "labels"], 1, "--kind intensity"),
    ],
)
def test_mistakes_end_in_one_message(
    here: Path, words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(here.iterdir())
    assert run([*words, "-q"]) == status
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert sorted(here.iterdir()) == before
