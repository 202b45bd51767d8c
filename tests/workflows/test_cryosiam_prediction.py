"""CryoSiam's prediction of a folder: its own files, bad folders, runs that are done again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest

from volproc.core.errors import (
    ConfigError,
    ExistsError,
    MissingFileError,
    ResumeError,
    VolprocError,
)
from volproc.core.events import Event
from volproc.io.open import inspect
from volproc.models.same_numbers import ISA_VARIABLE
from volproc.workflows.cryosiam_prediction import PredictionReport, predict_tomograms
from volproc.workflows.cryosiam_task import STAGE, PredictionTask
from volproc.workflows.record import work_path

SAMPLES = Path(__file__).parents[2].parent / "shared" / "data" / "peers" / "cryosiam"

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples of CryoSiam here")


@pytest.fixture
def task(tmp_path: Path) -> PredictionTask:
    """One small tomogram of two, and a mask of half of it."""
    folder = tmp_path / "tomograms"
    folder.mkdir()
    with mrcfile.open(SAMPLES / "denoised" / "TS_02.mrc") as file:
        voxels = file.data[:16, :32, :24].astype(np.float32)
    for name in ("a.mrc", "a.mrc_v2.mrc"):
        mrcfile.write(folder / name, voxels, voxel_size=10)
    (tmp_path / "masks").mkdir()
    for name in ("a", "a.mrc_v2"):
        with h5py.File(tmp_path / "masks" / f"{name}_preds.h5", "w") as file:
            file["labels"] = np.repeat([1, 0], 16)[:, None] * np.ones((16, 32, 24), np.uint8)
    return PredictionTask(
        str(folder), ".mrc", str(tmp_path / "out"), str(SAMPLES / "tiny_particles.ckpt"), 0.5,
        (0, 1, 0, 1), files=("a.mrc",), device="cpu", core=16,
    )  # fmt: skip


def read(task: PredictionTask, name: str = "a") -> dict[str, np.ndarray]:
    with h5py.File(task.outputs(name).labels) as file:
        return {key: file[key][:] for key in file}


def statuses(report: PredictionReport) -> list[tuple[str, str]]:
    return [(entry.name, entry.status) for entry in report.entries]


def test_predictions_do_not_depend_on_tiles_and_are_not_done_again(task: PredictionTask) -> None:
    report = predict_tomograms(task)
    assert statuses(report) == [("a", "done")]
    labels = read(task)
    assert list(labels) == ["labels"]
    assert labels["labels"].dtype == np.uint8
    assert labels["labels"].any()
    assert statuses(predict_tomograms(task)) == [("a", "skipped")]
    with pytest.raises(ExistsError, match="not of these settings"):
        predict_tomograms(replace(task, threshold=0.4))
    other = replace(task, core=64, has_outputs=True, overwrite=True)
    assert predict_tomograms(other).num_tiles == {"a": (1, 0, 0)}
    found = read(other)
    np.testing.assert_array_equal(found["labels"], labels["labels"])
    assert found["probs"].shape == found["distances"].shape == (4, 16, 32, 24)
    with h5py.File(task.outputs("a").labels) as file:
        assert file["labels"].attrs["voxel_size_angstrom"].tolist() == [10, 10, 10]


def test_a_mask_is_applied_and_bad_tomograms_fail_alone(
    task: PredictionTask, tmp_path: Path
) -> None:
    predict_tomograms(task)
    plain = read(task)["labels"]
    data = Path(task.data_folder)
    (data / "b.mrc").write_bytes((data / "a.mrc").read_bytes()[:2000])
    shutil.copy(data / "a.mrc", data / "c.mrc")
    shutil.copy(data / "a.mrc", data / "d.mrc")
    for name, value in (("b", 1), ("d", 0)):
        with h5py.File(tmp_path / "masks" / f"{name}_preds.h5", "w") as file:
            file["labels"] = np.full((16, 32, 24), value, np.uint8)
    masked = replace(
        task, files=None, mask_folder=str(tmp_path / "masks"), folder=str(tmp_path / "other")
    )
    report = predict_tomograms(masked)
    assert statuses(report) == [
        ("a", "done"), ("a.mrc_v2", "done"), ("b", "failed"), ("c", "failed"), ("d", "failed"),
    ]  # fmt: skip
    errors = [entry.error for entry in report.entries[2:]]
    assert "b.mrc" in errors[0]
    assert "has no mask of c" in errors[1]
    assert "mask of d is empty" in errors[2]
    assert report.num_tiles["a"] == (2, 2, 0)
    found = read(masked)["labels"]
    np.testing.assert_array_equal(found[:, :16], plain[:, :16])
    assert plain[:, 16:].any()
    assert not found[:, 16:].any()
    assert sorted(p.name for p in Path(masked.folder).iterdir()) == [
        "a.mrc_v2_preds.h5", "a.mrc_v2_preds.h5.json", "a_preds.h5", "a_preds.h5.json"
    ]  # fmt: skip


def test_a_contrast_that_is_clipped_is_said(task: PredictionTask) -> None:
    path = Path(task.data_folder) / "a.mrc"
    with mrcfile.open(path, "r+") as file:
        file.data[3, 4, 5] = 7
    seen: list[Event] = []
    predict_tomograms(task, observe=seen.append)
    texts = [event.text for event in seen if event.kind == "note"]
    assert any("…7, and the model wants 0…1" in text for text in texts)
    assert any("times the network's work" in text for text in texts)


class Stopped(BaseException):
    """What a run is stopped by, as by Ctrl+C."""


def stop_after(count: int) -> Callable[[Event], None]:
    """Observer that stops a run when some passes of the network are done."""
    seen = []

    def observe(event: Event) -> None:
        if event.kind == "block" and event.stage == STAGE:
            seen.append(event)
            if len(seen) == count:
                raise Stopped

    return observe


def test_a_run_that_was_stopped_goes_on_after_its_finished_tiles(task: PredictionTask) -> None:
    task = replace(task, has_outputs=True)
    predict_tomograms(task)
    whole, work = read(task), work_path(str(task.outputs("a").labels))
    again = replace(task, overwrite=True)
    with pytest.raises(Stopped):
        predict_tomograms(again, observe=stop_after(1))
    assert statuses(predict_tomograms(task)) == [("a", "skipped")]  # what was there is whole
    with pytest.raises(Stopped):
        predict_tomograms(again, observe=stop_after(3))
    task.outputs("a").labels.unlink()
    with pytest.raises(ResumeError, match=r"threshold was 0\.5, is 0\.4"):
        predict_tomograms(replace(task, threshold=0.4))
    # A larger tile than that of the run that was stopped would do nothing for it.
    assert predict_tomograms(replace(task, core=64)).num_tiles == {"a": (1, 0, 3)}
    for key, voxels in read(task).items():
        np.testing.assert_array_equal(voxels, whole[key])
    assert not work.exists()
    with pytest.raises(Stopped):
        predict_tomograms(again, observe=stop_after(2))
    assert predict_tomograms(replace(again, core=8)).num_tiles["a"].kept == 0
    with pytest.raises(Stopped):
        predict_tomograms(again, observe=stop_after(2))
    (work / "tiles" / "labels" / "0.0.0.npy").unlink()
    assert predict_tomograms(again).num_tiles == {"a": (3, 0, 1)}


def test_a_tomogram_that_was_denoised_again_meanwhile_begins_anew(task: PredictionTask) -> None:
    with pytest.raises(Stopped):
        predict_tomograms(task, observe=stop_after(2))
    path = Path(task.data_folder) / "a.mrc"
    mrcfile.write(path, 1 - mrcfile.read(path), voxel_size=10, overwrite=True)
    assert predict_tomograms(task).num_tiles == {"a": (4, 0, 0)}


def test_predictions_are_written_in_other_formats(task: PredictionTask) -> None:
    predict_tomograms(replace(task, has_outputs=True))
    known = read(task)
    task = replace(task, folder=f"{task.folder}-other")
    predict_tomograms(replace(task, form="zarr", has_outputs=True))
    place = Path(task.folder)
    stored = inspect(place / "a_preds.zarr")
    assert (stored.source.dtype, stored.voxel_size) == (np.dtype("u1"), (10, 10, 10))
    region = tuple(slice(0, n) for n in stored.source.shape)
    np.testing.assert_array_equal(stored.source.read(region), known["labels"])
    for name in ("probs", "distances"):
        found = inspect(place / f"a_{name}.zarr", c=2).source.read(region)
        np.testing.assert_array_equal(found, known[name][2])
    predict_tomograms(replace(task, form="mrc"))
    predict_tomograms(replace(task, form="original"))
    for name in ("a_preds.mrc", "a.mrc"):
        with mrcfile.open(place / name) as file:
            assert (file.data.dtype, int(file.header.mode)) == (np.dtype("i1"), 0)
            assert file.voxel_size.x == pytest.approx(10)
            assert float(file.header.dmax) == known["labels"].max()
            np.testing.assert_array_equal(file.data, known["labels"])
        assert mrcfile.validate(place / name)


def test_formats_that_say_how_large_a_voxel_is_need_to_know_it(task: PredictionTask) -> None:
    with mrcfile.open(Path(task.data_folder) / "a.mrc", "r+") as file:
        file.voxel_size = 0
    task = replace(task, form="mrc")
    assert "--voxel-size" in predict_tomograms(task).entries[0].error
    predict_tomograms(replace(task, voxel_size=7.5))
    assert inspect(task.outputs("a").labels).voxel_size == (7.5, 7.5, 7.5)


def test_tomograms_are_never_written_over(task: PredictionTask) -> None:
    with pytest.raises(ConfigError, match="Choose another folder"):
        predict_tomograms(replace(task, folder=task.data_folder, form="original"))
    with pytest.raises(ConfigError, match="would be taken for a tomogram"):
        predict_tomograms(replace(task, folder=task.data_folder, form="mrc"))


def test_masks_that_are_none_are_named(task: PredictionTask, tmp_path: Path) -> None:
    task = replace(task, mask_folder=str(tmp_path / "masks"))
    path = tmp_path / "masks" / "a_preds.h5"
    for name, shape, value, said in (
        ("labels", (16, 32, 24), 2, "holds 2 beside 0 and 1"),
        ("labels", (16, 20, 24), 1, "not of one box"),
        ("instances", (16, 32, 24), 1, "labels"),
    ):
        path.unlink()  # which may still be open, so that it cannot be written over
        with h5py.File(path, "w") as file:
            file[name] = np.full(shape, value, np.uint8)
        assert said in predict_tomograms(task).entries[0].error
    path.unlink()
    mrcfile.write(tmp_path / "masks" / "a.mrc", np.ones((8, 16, 12), np.int8), voxel_size=20)
    assert statuses(predict_tomograms(task)) == [("a", "done")]
    with pytest.raises(MissingFileError, match="mask folder"):
        predict_tomograms(replace(task, mask_folder=str(tmp_path / "none")))


def test_voxels_that_are_no_numbers_fail_their_tomogram(task: PredictionTask) -> None:
    with mrcfile.open(Path(task.data_folder) / "a.mrc", "r+") as file:
        file.data[3, 4, 5] = np.nan
    report = predict_tomograms(replace(task, files=("a.mrc", "a.mrc_v2.mrc")))
    assert statuses(report) == [("a", "failed"), ("a.mrc_v2", "done")]
    assert "1 voxels of a tile are NaN" in report.entries[0].error
    assert [p.name for p in Path(task.folder).glob("*")] == [
        "a.mrc_v2_preds.h5", "a.mrc_v2_preds.h5.json",
    ]  # fmt: skip


def test_models_that_are_none_of_this_task_are_refused(
    task: PredictionTask, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(Path(task.model).read_bytes()[:5000])
    for model, said in ((cut, "cut.ckpt"), (tmp_path / "none.ckpt", "none.ckpt")):
        with pytest.raises(VolprocError, match=said):
            predict_tomograms(replace(task, model=str(model)))
    with pytest.raises(VolprocError, match="cuda:77"):
        predict_tomograms(replace(task, device="cuda:77"))
    with pytest.raises(ConfigError, match="turns nothing"):
        predict_tomograms(replace(task, is_compatible=True, views="rot4"))
    assert not Path(task.folder).exists()


def test_a_lamella_is_never_one_of_several_classes(task: PredictionTask) -> None:
    with pytest.raises(ConfigError, match="which class is the lamella"):
        predict_tomograms(replace(task, has_postprocessing=True))
    assert not Path(task.folder).exists()


def test_compatible_predictions_are_cryosiams_on_every_processor(tmp_path: Path) -> None:
    """In a process of its own: oneDNN asks but once which instructions it may use."""
    code = f"""
from volproc.workflows.cryosiam_prediction import predict_tomograms
from volproc.workflows.cryosiam_task import PredictionTask
predict_tomograms(PredictionTask(
    {str(SAMPLES / "denoised")!r}, ".mrc", {str(tmp_path)!r}, {str(SAMPLES / "tiny_particles.ckpt")!r},
    0.7, (0, 1, 0, 1), mask_folder={str(SAMPLES / "lamella")!r}, has_outputs=True,
    is_compatible=True, device="cpu",
))
"""  # noqa: E501
    without = {key: value for key, value in os.environ.items() if key != ISA_VARIABLE}
    without["OMP_WAIT_POLICY"] = "passive"  # two threads may share a core here
    subprocess.run([sys.executable, "-c", code], check=True, env=without)
    with (
        h5py.File(tmp_path / "TS_02_preds.h5") as own,
        h5py.File(SAMPLES / "particle_internal" / "TS_02_preds.h5") as theirs,
    ):
        assert own["labels"].dtype == theirs["labels"].dtype == np.int16
        np.testing.assert_array_equal(own["labels"], theirs["labels"])
        for name in ("probs", "distances"):
            np.testing.assert_allclose(own[name], theirs[name], rtol=0, atol=1e-6)
