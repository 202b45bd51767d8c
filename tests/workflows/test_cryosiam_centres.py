"""CryoSiam's centres and post-processing: against scipy, its own files, and bad folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import starfile
from scipy import ndimage

from volproc.cluster.session import ThreadExecutor
from volproc.core.arrays import Source
from volproc.core.errors import ConfigError, ExistsError, MissingFileError, ResumeError
from volproc.core.executor import SerialExecutor
from volproc.graph.object_blocks import LabelWork
from volproc.io.create import create
from volproc.io.points import read_points
from volproc.plan.blocks import ChunkGrid
from volproc.workflows import cryosiam_postprocessing, particle_stages
from volproc.workflows.cryosiam_centres import find_centres
from volproc.workflows.cryosiam_postprocessing import PostprocessingTask, postprocess
from volproc.workflows.cryosiam_rule import CentresTask

SAMPLES = Path(__file__).parents[2].parent / "shared" / "data" / "peers" / "cryosiam"

SHAPE = (17, 22, 27)

CUBE = np.ones((3, 3, 3), bool)


def make_classes(seed: int) -> np.ndarray:
    """Smooth blobs of three classes, some of which touch the faces and each other."""
    noise = np.random.default_rng(seed).normal(size=(3, *SHAPE))
    smooth = np.stack([ndimage.gaussian_filter(one, 1.3) for one in noise])
    return np.where(smooth.max(axis=0) > 0.12, smooth.argmax(axis=0) + 1, 0).astype(np.uint8)


def write_h5(path: Path, classes: np.ndarray, chunks: Any = None, **others: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("labels", data=classes, chunks=chunks)
        for name, values in others.items():
            file.create_dataset(name, data=values)


def expected(classes: np.ndarray, value: int, min_voxels: int) -> list[tuple[Any, ...]]:
    """Number, voxels and centre of CryoSiam's objects, by its rule and scipy."""
    eroded = ndimage.binary_erosion(classes == value, border_value=1)
    labels, count = ndimage.label(eroded, CUBE)
    rows = []
    for number in range(1, count + 1):
        places = np.argwhere(labels == number)
        if len(places) > min_voxels:
            rows.append((number, float(len(places)), *places.mean(axis=0).tolist()))
    return rows


def read_rows(folder: Path, value: int, tomo: str) -> list[tuple[Any, ...]]:
    table = pd.read_csv(folder / f"labels_{value}.csv", dtype={"tomo": str})
    rows = table.loc[table["tomo"] == tomo, list(table.columns[:5])]
    return list(rows.itertuples(index=False, name=None))


def cut(monkeypatch: pytest.MonkeyPatch, chunks: tuple[int, ...]) -> None:
    """Let all stages have blocks of this size."""

    def grid(source: Source) -> ChunkGrid:
        return ChunkGrid(source.shape, chunks)

    for module in (particle_stages, cryosiam_postprocessing):
        monkeypatch.setattr(module, "statistics_grid", grid)


@pytest.mark.parametrize(
    ("chunks", "is_threaded"),
    [((17, 22, 27), False), ((5, 11, 14), True), ((2, 22, 9), False)],
)
def test_every_cut_and_format_gives_the_objects_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: Any, is_threaded: bool
) -> None:
    cut(monkeypatch, chunks)
    maps = {name: make_classes(seed) for seed, name in enumerate(("a", "b", "c", "d"))}
    write_h5(tmp_path / "a_preds.h5", maps["a"])
    write_h5(tmp_path / "b_preds.h5", maps["b"].astype(np.int16), chunks=(4, 5, 6))
    for name, ending in (("c", "zarr"), ("d", "mrc")):
        size = (10.0, 10.0, 10.0)
        dtype = np.uint8 if ending == "zarr" else np.int16
        address = tmp_path / f"{name}_preds.{ending}"
        sink = create(address, shape=SHAPE, dtype=dtype, voxel_size=size, kind="labels")
        sink.write(tuple(slice(0, n) for n in SHAPE), maps[name].astype(dtype))
        sink.finish()
    least = (4, 0, 11)
    with ThreadExecutor(2) as threads:
        runner = threads if is_threaded else SerialExecutor()
        report = find_centres(CentresTask(str(tmp_path), least), executor=runner)
    assert [entry.status for entry in report.entries] == ["done"] * 4
    gaps = []
    for name, classes in maps.items():
        for value in (1, 2, 3):
            rows = expected(classes, value, least[value - 1])
            assert read_rows(tmp_path, value, name) == rows
            gaps.append(rows)
    assert any(len(rows) < rows[-1][0] for rows in gaps)


@pytest.mark.skipif(not SAMPLES.exists(), reason="shared samples are missing")
@pytest.mark.parametrize("folder", ["particle", "particle_internal"])
def test_the_files_are_those_of_cryosiam(tmp_path: Path, folder: str) -> None:
    task = CentresTask(
        str(SAMPLES / folder),
        (20, 20, 20),
        output=str(tmp_path),
        is_compatible=True,
        tomograms=str(SAMPLES / "denoised"),
        extension=".mrc",
        relion=str(tmp_path / "relion.star"),
    )
    report = find_centres(task)
    for value in (1, 2, 3):
        name = f"labels_{value}.csv"
        assert (tmp_path / name).read_bytes() == (SAMPLES / "particle" / name).read_bytes()
        name = f"labels_{value}_particles.star"  # its first line has the time
        mine, theirs = ((at / name).read_text() for at in (tmp_path, SAMPLES / "particle"))
        assert mine.splitlines()[1:] == theirs.splitlines()[1:]
    assert report.counts == {"class-1": 9, "class-2": 6, "class-3": 0}
    table = pd.read_csv(tmp_path / "particles.csv")
    assert len(table) == 15
    relion = starfile.read(tmp_path / "relion.star")["particles"]
    x = (table["x"] - 64 / 2) * 6.8
    np.testing.assert_allclose(relion["rlnCenteredCoordinateXAngst"], x, atol=1e-6)
    assert set(relion["rlnTomoName"]) == {"TS_02"}
    points = read_points(tmp_path / "particles.csv", voxel_size=6.8)
    assert points.class_names == ("class-1", "class-2")
    if folder == "particle":
        assert (table["score"] == 1).all()
        return
    with h5py.File(SAMPLES / folder / "TS_02_preds.h5") as file:
        classes, scores = file["labels"][:], file["probs"][:]
    labels, _ = ndimage.label(ndimage.binary_erosion(classes == 2, border_value=1), CUBE)
    rows = table[table["class_value"] == 2]
    means = ndimage.mean(scores[2].astype(np.float64), labels, rows["label"])
    np.testing.assert_allclose(rows["score"], means, rtol=1e-12)
    np.testing.assert_array_equal(
        rows["max_score"], ndimage.maximum(scores[2], labels, rows["label"])
    )


def test_sizes_in_nm3_and_touching_the_edge(tmp_path: Path) -> None:
    classes = np.zeros((12, 12, 40), np.uint8)
    classes[2:6, 2:6, 2:6] = 1  # 8 voxels are left
    classes[2:8, 2:8, 12:18] = 1  # 64
    classes[0:9, 2:11, 24:33] = 1  # 7 × 7 × 8 at the face
    write_h5(tmp_path / "a.mrc_v2_preds.h5", classes)
    task = CentresTask(str(tmp_path), (0,), voxel_size=10.0, min_size_nm3=8.0, max_size_nm3=64.0)
    find_centres(task)
    table = pd.read_csv(tmp_path / "particles.csv")
    assert table["num_voxels"].tolist() == [8, 64]
    assert table["volume_nm3"].tolist() == [8.0, 64.0]
    assert table["tomo"].tolist() == ["a.mrc_v2"] * 2
    find_centres(CentresTask(str(tmp_path), (8,), overwrite=True))
    table = pd.read_csv(tmp_path / "particles.csv")
    assert table["num_voxels"].tolist() == [392, 64]  # strictly more than 8
    assert table["touches_edge"].tolist() == [True, False]
    task = CentresTask(str(tmp_path), (8,), min_size_nm3=1.0, overwrite=True)
    (entry,) = find_centres(task).entries
    assert "how large a voxel is" in entry.error
    with pytest.raises(ConfigError, match="from 5 to 2 nm³"):
        CentresTask(str(tmp_path), (8,), min_size_nm3=5, max_size_nm3=2)


def test_a_centre_may_lie_inside_its_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(monkeypatch, (6, 11, 9))
    classes = np.zeros((7, 23, 23), np.uint8)
    classes[2:5, 3:20, 3:6] = 1  # a U around a cube of its own class
    classes[2:5, 17:20, 3:20] = 1
    classes[2:5, 3:20, 17:20] = 1
    classes[1:6, 7:12, 9:14] = 1
    write_h5(tmp_path / "a_preds.h5", classes)
    find_centres(CentresTask(str(tmp_path), (0,)))
    before = pd.read_csv(tmp_path / "labels_1.csv")
    find_centres(CentresTask(str(tmp_path), (0,), inside=True, overwrite=True))
    after = pd.read_csv(tmp_path / "labels_1.csv")
    eroded = ndimage.binary_erosion(classes == 1, border_value=1)
    labels, count = ndimage.label(eroded, CUBE)
    assert count == 2
    where = ["centroid-0", "centroid-1", "centroid-2"]
    ball, bent = (1, 0) if labels[3, 9, 11] == 2 else (0, 1)
    assert after.iloc[ball].to_list() == before.iloc[ball].to_list()
    middle = before[where].to_numpy(float)[bent]
    assert labels[tuple(np.rint(middle).astype(int))] != bent + 1
    places = np.argwhere(labels == bent + 1)
    nearest = places[((places - middle) ** 2).sum(axis=1).argmin()]
    assert after[where].to_numpy(float)[bent].tolist() == nearest.tolist()


def test_foreign_and_damaged_files_hurt_nobody_else(tmp_path: Path) -> None:
    for number in range(9):
        write_h5(tmp_path / f"TS_{number}_preds.h5", make_classes(number))
    damaged = tmp_path / "TS_4_preds.h5"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    with h5py.File(tmp_path / "TS_9_preds.h5", "w") as file:
        file["preds"] = np.zeros(SHAPE, np.float32)
    with h5py.File(tmp_path / "embeds.h5", "w") as file:
        file["embeddings"] = np.zeros((4, 5))
    notes: list[str] = []
    task = CentresTask(str(tmp_path), (3, 3, 3))
    report = find_centres(task, observe=lambda event: notes.append(event.text))
    failed = {entry.name: entry.error for entry in report.entries if entry.status == "failed"}
    assert set(failed) == {"TS_4", "TS_9"}
    assert "Copy it again" in failed["TS_4"]
    assert "no semantic prediction" in failed["TS_9"]
    assert any("embeds.h5" in note for note in notes)
    assert len(set(pd.read_csv(tmp_path / "labels_1.csv")["tomo"])) == 8
    # Once the file is whole the same call goes on; what was done is not read again.
    damaged.write_bytes(whole)
    (tmp_path / "TS_9_preds.h5").unlink()
    again = find_centres(task)
    assert {entry.status for entry in again.entries} == {"done"}
    assert read_rows(tmp_path, 1, "TS_4") == expected(make_classes(4), 1, 3)
    assert not list(tmp_path.glob(".*"))


def test_a_killed_run_goes_on_and_a_finished_one_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(monkeypatch, (9, 22, 27))
    for name in "ab":
        write_h5(tmp_path / f"{name}_preds.h5", make_classes(ord(name)))
    task = CentresTask(str(tmp_path), (3, 3, 3))
    calls: list[tuple[str, Any]] = []
    usual: Callable[..., Any] = LabelWork.__call__

    def count(work: Any, index: Any) -> Any:
        if is_killed and len(calls) == 3:
            raise KeyboardInterrupt
        calls.append((work.source.path, index))
        return usual(work, index)

    is_killed = True
    monkeypatch.setattr(LabelWork, "__call__", count)
    with pytest.raises(KeyboardInterrupt):
        find_centres(task)
    assert not list(tmp_path.glob("labels_*"))
    is_killed = False
    find_centres(task)
    assert len(calls) == 4
    for name in "ab":
        assert read_rows(tmp_path, 2, name) == expected(make_classes(ord(name)), 2, 3)
    with pytest.raises(ExistsError, match=r"labels_1.csv.*--overwrite"):
        find_centres(task)
    assert find_centres(CentresTask(str(tmp_path), (3, 3, 3), resume=True)).was_finished
    assert len(calls) == 4
    with pytest.raises(ResumeError, match="min_voxels"):
        find_centres(CentresTask(str(tmp_path), (3, 3, 4), resume=True))


def test_a_folder_without_predictions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        find_centres(CentresTask(str(tmp_path / "nowhere"), (1,)))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["preds"] = np.zeros(SHAPE, np.float32)
    with pytest.raises(MissingFileError, match=r"no predictions.*other.h5"):
        find_centres(CentresTask(str(tmp_path), (1,)))
    write_h5(tmp_path / "empty_preds.h5", np.zeros(SHAPE, np.uint8))
    find_centres(CentresTask(str(tmp_path), (1, 1)))
    header = "label,area,centroid-0,centroid-1,centroid-2,tomo"
    assert (tmp_path / "labels_2.csv").read_text().startswith(f"{header},class_name,score,")
    find_centres(CentresTask(str(tmp_path), (1, 1), is_compatible=True, overwrite=True))
    assert (tmp_path / "labels_2.csv").read_text() == f"{header}\n"
    assert next(iter(starfile.read(tmp_path / "labels_2_particles.star"))) == "rlnLabel"


@pytest.mark.parametrize("chunks", [(17, 22, 27), (6, 11, 9)])
def test_small_objects_leave_and_everything_else_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: Any
) -> None:
    cut(monkeypatch, chunks)
    classes = make_classes(5)
    scores = np.random.default_rng(1).random((4, *SHAPE)).astype(np.float32)
    write_h5(tmp_path / "a_preds.h5", classes, probs=scores, distances=scores)
    write_h5(tmp_path / "b_preds.h5", classes)
    whole = (tmp_path / "b_preds.h5").read_bytes()
    (tmp_path / "b_preds.h5").write_bytes(whole[:3000])
    files = ("a.mrc", "b.mrc", "c.mrc")
    numbers, _ = ndimage.label(classes == 1, CUBE)
    exact = int(np.bincount(numbers.ravel())[1])  # an object of just this size goes
    task = PostprocessingTask("", ".mrc", str(tmp_path), (-1, exact, -1, 60), files=files)
    report = postprocess(task)
    assert [entry.status for entry in report.entries] == ["done", "failed", "failed"]
    assert "has no prediction" in report.entries[2].error
    wanted = classes.copy()
    for value, size in ((1, exact), (3, 60)):
        labels, _ = ndimage.label(classes == value, CUBE)
        wanted[(np.bincount(labels.ravel()) <= size)[labels] & (labels > 0)] = 0
    assert (wanted != classes).any()
    with h5py.File(tmp_path / "a_preds.h5") as file:
        np.testing.assert_array_equal(file["labels"][:], wanted)
        np.testing.assert_array_equal(file["probs"][:], scores)
        np.testing.assert_array_equal(file["distances"][:], scores)
    assert (tmp_path / "b_preds.h5").read_bytes() == whole[:3000]
    assert not list(tmp_path.glob(".*"))
    assert postprocess(task).removed == {"a": 0}  # once more changes nothing


def test_post_processing_into_another_folder(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    write_h5(folder / "a_preds.h5", make_classes(5))
    (folder / "a.mrc").touch()
    before = (folder / "a_preds.h5").read_bytes()
    task = PostprocessingTask(str(folder), ".mrc", str(folder), (-1, 50), output=str(out))
    assert postprocess(task).removed["a"] > 0
    assert (folder / "a_preds.h5").read_bytes() == before
    with pytest.raises(ExistsError, match=r"a_preds\.h5 exist"):
        postprocess(task)
    with pytest.raises(MissingFileError, match=r"no file in .* ends in \.rec"):
        postprocess(PostprocessingTask(str(folder), ".rec", str(folder), (-1, 50)))
    with pytest.raises(ConfigError, match="no name of a tomogram"):
        postprocess(PostprocessingTask("", ".mrc", str(folder), (1, 2), files=("a.rec",)))
    shutil.rmtree(out)
