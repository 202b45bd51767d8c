"""Tomograms into a project: as they are or coarser, broken ones named, nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path

import copick
import mrcfile
import numpy as np
import pytest

from volproc.cli.main import run
from volproc.io.copick_project import ProjectObject, create_project
from volproc.io.open import open_
from volproc.reduce.fourier_crop import crop_axis
from volproc.workflows import fourier_rescale

SHAPE = (11, 18, 23)


def volume(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(40, 9, SHAPE).astype(np.float32)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A project without runs, and a folder of three files of which one is broken."""
    (tmp_path / "in").mkdir()
    for number in (1, 2):
        with mrcfile.new(tmp_path / f"in/TS_{number}.rec.mrc", volume(number)) as file:
            file.voxel_size = 10.0
    (tmp_path / "in/TS_3.mrc").write_bytes(b"broken")
    create_project(tmp_path / "config.json", objects=[ProjectObject("ribosome", 1, 60.0)])
    return tmp_path


def command(here: Path, *words: object) -> int:
    given = ["import", "-p", here / "in", "-c", here / "config.json", *words, "-q"]
    return run([str(word) for word in given])


def tomogram(here: Path, name: str) -> np.ndarray:
    voxels: np.ndarray = open_(f"{here / 'config.json'}:{name}").data.compute()
    return voxels


def test_files_become_tomograms_and_a_broken_one_is_named(here, capsys) -> None:
    assert command(here) == 1
    out = capsys.readouterr().out
    assert "TS_3  failed" in out
    assert "3 tomograms: 2 in the project, 1 failed" in out
    root = copick.from_file(str(here / "config.json"))
    assert sorted(r.name for r in root.runs) == ["TS_1", "TS_2"]
    found = root.get_run("TS_2").get_voxel_spacing(10.0).get_tomograms("denoised")[0]
    np.testing.assert_array_equal(found.numpy(), volume(2))
    (here / "in/TS_3.mrc").unlink()
    assert command(here) == 1  # refused: they exist
    assert "--overwrite" in capsys.readouterr().err
    assert command(here, "--resume") == 0
    assert capsys.readouterr().out.count("skipped") == 2
    assert command(here, "--resume", "-ovs", 20) == 0  # another spacing is another tomogram
    assert command(here, "--overwrite") == 0


@pytest.mark.parametrize("slab", [1, 600, 2**24])
def test_coarser_tomograms_are_cropped_transforms_whatever_a_slab_holds(
    here, monkeypatch, slab
) -> None:
    (here / "in/TS_3.mrc").unlink()
    monkeypatch.setattr(fourier_rescale, "SLAB_VOXELS", slab)
    assert command(here, "-ovs", 20, "-alg", "wbp") == 0
    for number in (1, 2):
        expected = volume(number).astype(np.float64)
        for axis, length in ((2, 12), (1, 8), (0, 6)):
            expected = crop_axis(expected, axis, length)
        found = tomogram(here, f"TS_{number}/wbp@20")
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        np.testing.assert_allclose(found.mean(), volume(number).mean(), rtol=1e-5)
    record = json.loads(next((here / "logs").glob("TS_1_wbp*.json")).read_text())
    exact = [110 / 6, 180 / 8, 230 / 12]
    np.testing.assert_allclose(record["exact_voxel_size_angstrom"], exact)
    assert not list(here.rglob("planes.f4"))


def test_a_voxel_that_is_no_number_is_counted_and_nothing_is_left(here, capsys) -> None:
    with mrcfile.mmap(here / "in/TS_1.rec.mrc", "r+") as file:
        file.data[3, 4, 5:7] = np.nan
    assert command(here, "-ovs", 20) == 1
    assert "2 of 4554 voxels are NaN" in capsys.readouterr().out
    assert not (here / "project/ExperimentRuns/TS_1").exists()
    assert not list(here.rglob("planes.f4"))
    assert tomogram(here, "TS_2/denoised@20").shape == (6, 8, 12)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("-ovs", 5), "voxels of 10 Å cannot become voxels of 5 Å"),
        (("-ovs", 10), "made coarser only"),
        (("-p", "nowhere"), "nowhere does not exist"),
        (("-p", "in/TS_1.rec.mrc", "-p", "other/TS_1.mrc"), "would both be written"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(here, capsys, monkeypatch, words, text) -> None:
    monkeypatch.chdir(here)
    (here / "other").mkdir()
    (here / "other/TS_1.mrc").write_bytes(b"")
    assert command(here, *words) == 1
    assert text in capsys.readouterr().err
    assert not list((here / "project").rglob("*.zarr"))


def test_a_header_that_contradicts_is_an_error_unless_it_is_overridden(here, capsys) -> None:
    (here / "in/TS_3.mrc").unlink()
    assert command(here, "-ivs", 13.5) == 1
    out = capsys.readouterr().out
    assert out.count("failed") == 3
    assert "--input-voxel-size says 13.5" in out
    assert command(here, "-ivs", 13.5, "--override-voxel-size") == 0
    assert tomogram(here, "TS_1/denoised@13.5").shape == SHAPE


def test_a_folder_without_tomograms_is_named(here, capsys) -> None:
    (here / "empty").mkdir()
    assert run(["import", "-p", str(here / "empty"), "-c", str(here / "config.json")]) == 1
    assert "holds no .mrc, .mrcs, .rec, .map. Give another folder, or a pattern" in (
        capsys.readouterr().err
    )
