"""CryoSiam's prediction of a folder: its own files, bad folders, runs that are done again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest

from volproc.core.errors import ExistsError
from volproc.core.events import Event
from volproc.workflows.cryosiam_prediction import PredictionReport, predict_tomograms
from volproc.workflows.cryosiam_task import PredictionTask

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


def test_compatible_labels_are_cryosiams(tmp_path: Path) -> None:
    task = PredictionTask(
        str(SAMPLES / "denoised"), ".mrc", str(tmp_path), str(SAMPLES / "tiny_particles.ckpt"), 0.7,
        (0, 1, 0, 1), mask_folder=str(SAMPLES / "lamella"), is_compatible=True, device="cpu",
    )  # fmt: skip
    assert statuses(predict_tomograms(task)) == [("TS_02", "done")]
    with h5py.File(SAMPLES / "particle" / "TS_02_preds.h5") as file:
        np.testing.assert_array_equal(read(task, "TS_02")["labels"], file["labels"][:])
