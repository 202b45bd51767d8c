"""``volproc info`` on files made here and on real ones."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from volproc.cli.info import detail
from volproc.cli.main import run

DATA = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "noise.npy"
    np.save(path, np.zeros((5, 7, 11), np.float32))
    return path


def test_a_missing_voxel_size_is_said_and_is_no_failure(
    volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["info", str(volume)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(volume)
    rows = {line[2:].split("  ")[0]: line for line in lines[1:]}
    assert rows["shape"].endswith("5 × 7 × 11 (z, y, x)")
    assert rows["dtype"].endswith("float32")
    assert rows["size"].endswith("1.54 kB")
    assert "missing: give it with --voxel-size" in rows["voxel size"]


def test_one_bad_file_does_not_hide_the_others(
    volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = volume.with_name("nois.npy")
    assert run(["info", str(missing), str(volume)]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("Error: ")
    assert 'Did you mean "' in captured.err
    assert captured.out.startswith(str(volume))


def test_json_is_one_object_an_address(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", "--json", str(volume), str(volume)]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == second
    assert first["shape"] == [5, 7, 11]
    assert first["voxel_size_angstrom"] is None
    assert first["num_bytes"] == 5 * 7 * 11 * 4


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data are not here")
def test_a_real_tomogram_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", str(DATA / "tomograms" / "mrc3D.mrc")]) == 0
    out = capsys.readouterr().out
    assert "78 × 64 × 32 (z, y, x)" in out
    assert "23.2 × 23.2 × 23.2 Å" in out
    assert "note" in out


def test_details_of_any_kind_are_readable() -> None:
    assert detail("a", {"min": 1.5, "max": 2}) == [("a", "min 1.5, max 2")]
    assert detail("a", ["x", ""]) == [("a", "x, -")]
    assert detail("a", (1, 2.50)) == [("a", "1, 2.5")]
    assert detail("a", ["x" * 40, "y" * 40]) == [("a", "x" * 40), ("", "y" * 40)]
    assert detail("a", []) == [("a", "")]


def test_of_several_datasets_the_first_is_described_and_all_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cells.h5"
    with h5py.File(path, "w") as file:
        file["raw"] = np.zeros((5, 7, 11), np.float32)
        file["masks/nuclei"] = np.zeros((5, 7, 11), np.uint16)
    assert run(["info", str(path)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for word in ("uint16", "/masks/nuclei", "/raw", "--dataset"):
        assert word in captured.out
    assert run(["info", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["choices"] == {"dataset": ["masks/nuclei", "raw"]}
    assert run(["info", "--dataset", "raw", str(path)]) == 0
    assert "float32" in capsys.readouterr().out


def test_of_several_channels_and_time_points_the_first_is_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(path, np.zeros((3, 5, 2, 7, 11), np.uint8), metadata={"axes": "TZCYX"})
    assert run(["info", str(path)]) == 0
    out = capsys.readouterr().out
    for word in ("5 × 7 × 11 (z, y, x)", "3 time points", "--t ", "2 channels", "--c "):
        assert word in out
    assert run(["info", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["choices"] == {"t": [0, 1, 2], "c": [0, 1]}
