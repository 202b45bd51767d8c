"""``volproc cryosiam semantic-predict`` from the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest

from volproc.cli.cryosiam_predict import pick_device
from volproc.cli.main import run

SAMPLES = Path(__file__).parents[2].parent / "shared" / "data" / "peers" / "cryosiam"

needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples of CryoSiam here")

PREDICT = ["cryosiam", "semantic-predict", "-q", "--config_file"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CryoSiam's yaml files and models, and a corner of its tomogram."""
    monkeypatch.chdir(tmp_path)
    for path in [*SAMPLES.glob("*.yaml"), *SAMPLES.glob("*.ckpt")]:
        shutil.copy(path, tmp_path)
    Path("denoised").mkdir()
    Path("lamella").mkdir()
    with mrcfile.open(SAMPLES / "denoised" / "TS_02.mrc") as file:
        mrcfile.write("denoised/TS_02.mrc", file.data[:16, :24, :24], voxel_size=10)
    with h5py.File("lamella/TS_02_preds.h5", "w") as file:
        file["labels"] = np.ones((16, 24, 24), np.uint8)
    return tmp_path


@needs_samples
def test_yaml_files_of_cryosiam_are_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*PREDICT, "particle.yaml"]) == 0
    said = capsys.readouterr()
    assert "the patch is that of the checkpoint" in said.err
    assert "1 tomograms: 1 done" in said.out
    with h5py.File("particle/TS_02_preds.h5") as file:
        assert file["labels"].shape == (16, 24, 24)
    assert run([*PREDICT, "particle.yaml", "--compat", "cryosiam"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    given = [*PREDICT, "particle.yaml", "--compat", "cryosiam", "--overwrite"]
    assert run([*given, "--filename", "TS_02.mrc"]) == 0


@needs_samples
def test_what_is_not_done_is_refused_before_any_work(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path("particle.yaml").read_text().replace("threshold:", "treshold:")
    Path("particle.yaml").write_text(text)
    assert run([*PREDICT, "particle.yaml"]) == 1
    assert "threshold" in capsys.readouterr().err
    assert not Path("particle").exists()


@needs_samples
def test_what_the_checkpoint_says_otherwise_is_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path("particle.yaml").read_text().replace("out_channels: 4", "out_channels: 6")
    text += "save_original_file_extension: True\n"
    Path("particle.yaml").write_text(text.replace("in_channels: 1", "in_channels: 2"))
    assert run([*PREDICT, "particle.yaml"]) == 0
    said = capsys.readouterr().err
    assert "out_channels is 6, and 4 in the checkpoint, which is taken; write 4 there" in said
    assert "in_channels is 2, and 1 in the checkpoint" in said
    assert "patch_size is (128, 128, 128), and (32, 32, 32) in the checkpoint" in said
    with mrcfile.open("particle/TS_02.mrc") as file:
        assert (file.data.dtype, file.data.shape) == (np.dtype("i1"), (16, 24, 24))


def test_devices_are_those_of_the_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert pick_device(0) == pick_device(()) == pick_device("cpu") == ("cpu", [])
    assert pick_device(" CPU ") == pick_device("None") == ("cpu", [])
    device, notes = pick_device(1)
    assert (device, len(notes)) == ("cpu", 1)
    assert pick_device((0,))[0] == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert pick_device(1) == ("cuda", [])
    assert pick_device((3, 4)) == (
        "cuda:3",
        ["gpu_devices is [3, 4]: the first one is used; --cluster cuda uses all"],
    )
