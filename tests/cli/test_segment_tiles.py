"""``volproc segment semantic`` with networks of CryoSiam, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
import pytest
import torch

from volproc.cli.main import run
from volproc.cli.tile_options import Intensity, Thresholds, fill_mask
from volproc.core.model import ModelSpec
from volproc.io.open import open_
from volproc.models.cryosiam_networks import SEMANTIC
from volproc.models.loading import save_model
from volproc.models.networks import build

TINY: dict[str, Any] = {
    "num_layers": [1, 1, 1, 1], "num_filters": [2, 2, 2, 3], "fpn_channels": 2,
    "projector": [2, 2, 2], "head_widths": [2], "head_kernels": [3, 3],
    "activation": "sigmoid", "intensity": [0, 1, 0.5, 0.25],
}  # fmt: skip
SHAPE = (8, 24, 16)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network of one channel, two tomograms, and masks as CryoSiam calls them."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    network = build(SEMANTIC, **TINY, num_classes=2)
    spec = ModelSpec(SEMANTIC, "", (16, 16, 16), ("background", "foreground"), TINY)
    save_model("lamella.pt", spec, network.state_dict())
    Path("masks").mkdir()
    for number, name in enumerate(("TS_1", "TS_2")):
        np.save(f"{name}.npy", np.random.default_rng(number).random(SHAPE, np.float32))
        with h5py.File(f"masks/{name}_preds.h5", "w") as file:
            file["labels"] = (np.arange(24) < 6)[:, None] * np.ones(SHAPE, np.uint8)
            file["probs"] = np.ones((1, *SHAPE), np.float32)
    return tmp_path


BASE = ["-m", "lamella.pt", "-vs", "10", "--chunks", "8,8,16", "--device", "cpu", "-q"]


def test_many_tomograms_have_a_mask_each_and_one_without_fails_alone(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("masks/TS_2_preds.h5").unlink()
    words = ["TS_*.npy", *BASE, "-o", "out/", "--mask", "masks", "--threshold", "0.3"]
    assert run(["segment", "semantic", *words]) == 1
    said = capsys.readouterr()
    assert "TS_2_preds.h5 does not exist" in said.out + said.err
    record = json.loads(Path("out/TS_1_classes.zarr.json").read_text())
    assert record["tiles"] == {"computed": 1, "outside": 2}
    assert record["settings"]["threshold"] == 0.3
    voxels = open_("out/TS_1_classes.zarr", voxel_size=10.0).data.compute()
    assert voxels[:, :6].any()
    assert not voxels[:, 6:].any()
    assert not Path("out/TS_2_classes.zarr").exists()


def test_settings_come_from_a_file_and_flags_override_them(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("settings.yaml").write_text(
        "input: TS_1.npy\nmask: 'masks/{name}_preds.h5'\nthreshold: {foreground: 0.2}\n"
        "intensity: [0, 2, 0, 1]\ncompat: cryosiam\n"
    )
    words = ["--config", "settings.yaml", *BASE, "-o", "a.zarr", "--compat", "none"]
    assert run(["segment", "semantic", *words, "--probabilities", "float32"]) == 0
    out = capsys.readouterr().out
    assert "1 computed, 2 outside" in out
    settings = json.loads(Path("a.zarr.json").read_text())["settings"]
    assert settings["threshold"] == {"foreground": 0.2}
    assert settings["intensity"] == [0, 2, 0, 1]
    assert "compat" not in settings
    pair = [open_("a_probabilities.zarr", c=c, voxel_size=10.0).data.compute() for c in (0, 1)]
    total = sum(pair)
    np.testing.assert_allclose(total[:, :6], 1, atol=1e-6)  # background and foreground
    assert not total[:, 6:].any()
    assert run(["segment", "semantic", *words, "--probabilities", "float32"]) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_a_plan_is_made_of_tiles_or_of_patches(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", "TS_1.npy", *BASE[:-1]]) == 0
    assert "8 × 8 × 16 voxels with a halo of 48" in capsys.readouterr().out
    words = ["-m", "lamella.pt", "--shape", "464,960,928", "--device", "cpu"]
    assert run(["plan", *words, "--compat", "cryosiam"]) == 0
    assert "of 16 × 16 × 16 voxels, of which the middle half is kept" in capsys.readouterr().out
    assert run(["plan", "TS_1.npy", "TS_2.npy", *BASE[:-1]]) == 0
    assert "2 volumes of 1 kind" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["x", "1.5", "a=0.1,0.2", "a=0.1,a=0.2", "=0.3,b=0.1", "nan"])
def test_a_bad_threshold_is_misuse(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no threshold"):
        Thresholds().convert(text, None, None)
    assert Thresholds().convert("a=0.1, b=1", None, None) == {"a": 0.1, "b": 1.0}


def test_an_intensity_has_four_numbers() -> None:
    assert Intensity().convert("0,2,-1,1e-1", None, None) == (0.0, 2.0, -1.0, 0.1)
    with pytest.raises(click.BadParameter, match="no four numbers"):
        Intensity().convert("0,1", None, None)


def test_masks_are_named_by_their_input(tmp_path: Path) -> None:
    assert fill_mask("", "a/TS_1.mrc") == ""
    assert fill_mask(f"{tmp_path}/{{name}}.zarr", "a/TS_1.mrc") == f"{tmp_path}/TS_1.zarr"
    assert fill_mask(str(tmp_path), "a/TS_1.mrc") == f"{tmp_path}/TS_1_preds.h5"
