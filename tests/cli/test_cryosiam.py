"""``volproc cryosiam``: CryoSiam's yaml files from the command line."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import starfile

from volproc.cli.main import run

TEXT = """
data_folder: './tomograms'
log_dir: '.'
prediction_folder: './particle'
trained_model: './model.ckpt'
file_extension: '.mrc'
test_files: null
parameters:
  gpu_devices: 1
  network: {out_channels: 3, threshold: 0.7, min_voxels: [7, 9], postprocessing_sizes: [-1, 64, -1]}
hyper_parameters: {batch_size: 2}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A yaml file, and a prediction of two cubes of one class."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(TEXT)
    for folder in ("tomograms", "particle"):
        Path(folder).mkdir()
    Path("tomograms/a.mrc").touch()
    classes = np.zeros((9, 11, 25), np.uint8)
    classes[2:6, 2:6, 2:6] = 1
    classes[2:7, 2:7, 12:17] = 1
    with h5py.File("particle/a_preds.h5", "w") as file:
        file["labels"] = classes
    return tmp_path


def test_centres_and_post_processing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    centres = ["cryosiam", "semantic-to-centers", "--config_file", "config.yaml", "-q"]
    centres += ["--compat", "cryosiam"]
    assert run(centres) == 0
    said = capsys.readouterr()
    assert "log_dir is ignored" in said.err
    assert "1 tomograms: 1 done" in said.out
    lines = Path("particle/labels_1.csv").read_text().splitlines()
    assert lines[1:] == ["1,8.0,3.5,3.5,3.5,a", "2,27.0,4.0,4.0,14.0,a"]
    assert len(Path("particle/labels_2.csv").read_text().splitlines()) == 1
    post = ["cryosiam", "semantic-postprocessing", "--config-file", "config.yaml", "-q"]
    assert run([*post, "--filename", "a.mrc"]) == 0
    assert "1 objects" in capsys.readouterr().out
    assert run(centres) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run([*centres, "--overwrite"]) == 0
    lines = Path("particle/labels_1.csv").read_text().splitlines()
    assert lines[1:] == ["1,27.0,4.0,4.0,14.0,a"]


def test_what_is_wrong_is_said_and_the_rest_is_done(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("particle/b_preds.h5").write_bytes(b"no HDF5")
    Path("tomograms/b.mrc").touch()
    for command in ("semantic-to-centers", "semantic-postprocessing"):
        assert run(["cryosiam", command, "--config_file", "config.yaml", "-q"]) == 1
        assert "1 done, 1 failed" in capsys.readouterr().out
    Path("config.yaml").write_text(TEXT.replace("out_channels", "out_chanels"))
    assert run(["cryosiam", "semantic-to-centers", "--config_file", "config.yaml"]) == 1
    assert 'did you mean "parameters.network.out_channels"?' in capsys.readouterr().err
    assert run(["cryosiam", "semantic-to-centres", "--config_file", "config.yaml"]) == 2
    assert 'did you mean "semantic-to-centers"?' in capsys.readouterr().err


def test_native_options_of_centres(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    centres = ["cryosiam", "semantic-to-centers", "--config_file", "config.yaml", "-q"]
    own = ["--inside", "--max-size", "10", "--class", "ribosome=1", "--voxel-size", "10"]
    assert run([*centres, *own, "--relion", "all.star"]) == 0
    assert "ribosome  1" in capsys.readouterr().out
    assert Path("particle/labels_1.csv").read_text().splitlines()[1].startswith("1,8.0,3.5,")
    assert "opticsGroup1" in Path("all.star").read_text()
    assert run([*centres, *own, "--compat", "cryosiam", "--overwrite"]) == 1
    assert "CryoSiam has no max_size_nm3, inside" in capsys.readouterr().err


def test_predictions_are_localized_by_erosion(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["localize", "particle/a_preds.h5:/labels", "--class", "ribosome=1", "-vs", "10", "-q"]
    erosion = [*given, "--method", "erosion", "--min-voxels", "7"]
    assert run([*erosion, "-o", "{name}.csv"]) == 0
    assert "ribosome  2" in capsys.readouterr().out
    assert Path("a.csv").read_text().splitlines()[1].startswith("3.5,3.5,3.5,35.0,")
    assert run([*erosion, "--min-voxels", "ribosome=8", "-o", "b.csv"]) == 0
    assert "ribosome  1" in capsys.readouterr().out
    weights = np.arange(9 * 11 * 25, dtype=np.float32).reshape(9, 11, 25)
    np.save("a_weights.npy", weights)
    assert run([*erosion, "--weight-by", "{name}_weights.npy", "-o", "c.csv"]) == 0
    assert not Path("c.csv").read_text().splitlines()[1].startswith("3.5,")
    for words, text in (
        (["--weight-by", "probabilities"], "needs --probabilities"),
        (["--min-voxels", "many"], "no number of voxels"),
    ):
        assert run([*erosion, *words, "-o", "d.csv"]) == 2
        assert text in capsys.readouterr().err


def test_picks_of_all_maps_come_in_one_table(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = np.zeros((9, 11, 30), np.uint8)
    with h5py.File("particle/b_preds.h5", "w") as file:
        file["labels"] = classes
    classes[3:7, 3:7, 20:24] = 1
    with h5py.File("particle/c_preds.h5", "w") as file:
        file["labels"] = classes
    Path("particle/d_preds.h5").write_bytes(b"no HDF5")
    maps = [f"particle/{name}_preds.h5:/labels" for name in "abcd"]
    given = ["localize", *maps, "--class", "ribosome=1", "-vs", "10", "-q", "--method", "erosion"]
    given += ["--min-voxels", "7", "-o", "picks/{name}.csv"]
    assert run([*given, "--combined", "all.csv"]) == 1
    table = pd.read_csv("all.csv")
    assert table["tomo"].tolist() == ["a", "a", "c"]
    assert table["x"].tolist() == [3.5, 14.0, 21.5]
    assert table["x_angstrom"].tolist() == [35.0, 140.0, 215.0]
    Path("particle/d_preds.h5").unlink()
    given.remove(maps[3])
    assert run([*given, "--resume", "--combined", "all.star"]) == 0
    particles = starfile.read("all.star")["particles"]
    assert particles["rlnTomoName"].tolist() == ["a", "a", "c"]
    x = [(3.5 - 12.5) * 10, (14 - 12.5) * 10, (21.5 - 15) * 10]
    assert particles["rlnCenteredCoordinateXAngst"].tolist() == x
    assert particles["volprocTouchesEdge"].tolist() == [0, 0, 0]
    capsys.readouterr()
    for words, text in ((["all.star"], "exists"), (["all.txt"], "no name of a table")):
        assert run([*given, "--combined", *words]) == 1
        assert text in capsys.readouterr().err
