from __future__ import annotations

import json
import logging
import shutil
import stat
from pathlib import Path
from typing import Any

import copick
import fsspec
import numpy as np
import numpy.typing as npt
import pytest
import zarr

from volproc.core.arrays import Sink
from volproc.core.errors import (
    AddressError,
    ExistsError,
    FormatError,
    MissingFileError,
    ResumeError,
    VoxelSizeError,
)
from volproc.core.types import Shape, whole
from volproc.io.copick_project import ProjectObject, add_tomogram, create_project, list_runs
from volproc.io.create import create, write_whole
from volproc.io.open import inspect, open_
from volproc.testing.readers import OpenSource, ReaderTests, SinkTests

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
OCTOPI = SHARED / "peers" / "octopi"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="shared data are not here")

OBJECTS = (ProjectObject("ribosome", 1, 130.0), ProjectObject("apo-ferritin", 2, 60.0))
SHAPE = (5, 7, 11)


def make_config(folder: Path, runs: tuple[str, ...] = ("TS_1",)) -> Path:
    return create_project(folder / "copick.json", objects=OBJECTS, runs=runs)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return make_config(tmp_path)


@pytest.fixture
def labels() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 3, SHAPE).astype(np.uint8)


def begin(address: str, dtype: npt.DTypeLike = "u1", **options: Any) -> Sink:
    return create(address, **{"shape": SHAPE, "dtype": dtype, "voxel_size": (10.0,) * 3, **options})


def copick_segmentation(config: Path, labels: npt.NDArray[Any], **kind: bool) -> None:
    """Write a segmentation with copick itself."""
    run = copick.from_file(str(config)).get_run("TS_1")
    made = run.new_segmentation(10.0, kind.pop("name", "predict"), "1", user_id="tool", **kind)
    made.from_numpy(labels)


class TestReading(ReaderTests):
    head_bytes = 2**18  # copick reads and checks its whole configuration

    @pytest.fixture
    def open_source(self, tmp_path: Path) -> OpenSource:
        voxels = np.random.default_rng(0).normal(size=(45, 71, 113)).astype(np.float32)
        address = add_tomogram(make_config(tmp_path), "TS_1", "wbp", voxels, voxel_size=10.0)
        return lambda: inspect(address).source


class TestWriting(SinkTests):
    shapes = (SHAPE,)
    member = "wbp@10"
    store = "VoxelSpacing10.000/wbp.zarr"
    dtype: npt.DTypeLike = np.float32

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        self.config = make_config(tmp_path)
        path = tmp_path / "project" / "ExperimentRuns" / "TS_1" / self.store
        path.parent.mkdir()
        return path

    def create(self, path: Path, shape: Shape, **options: Any) -> Sink:
        return begin(f"{self.config}:TS_1/{self.member}", self.dtype, shape=shape, **options)

    def load(self, path: Path) -> npt.NDArray[Any]:
        return zarr.open(str(path), mode="r")["0"][:]


class TestWritingSegmentations(TestWriting):
    member = "predict:volproc/1@10"
    store = "Segmentations/10.000_volproc_1_predict-multilabel.zarr"
    dtype = np.uint16


def test_copick_reads_a_tomogram_that_was_written(config: Path) -> None:
    voxels = np.random.default_rng(0).normal(size=(70, 80, 90)).astype(np.float32)
    add_tomogram(config, "TS_7", "wbp", voxels, voxel_size=7.84)
    spacing = copick.from_file(str(config)).get_run("TS_7").get_voxel_spacing(7.84)
    (tomogram,) = spacing.get_tomograms("wbp")
    np.testing.assert_array_equal(tomogram.numpy(), voxels)
    assert tomogram.zarr().fs.exists(tomogram.zarr().path)


def test_what_copick_wrote_is_read(config: Path) -> None:
    voxels = np.random.default_rng(0).normal(size=(20, 30, 40)).astype(np.float32)
    run = copick.from_file(str(config)).get_run("TS_1")
    run.new_voxel_spacing(13.48).new_tomogram("wbp").from_numpy(voxels)
    volume = open_(f"{config}:TS_1/wbp@13.4801")
    np.testing.assert_array_equal(volume.data.compute(), voxels)
    assert volume.voxel_size == (13.48,) * 3
    coarse = open_(f"{config}:TS_1/wbp", level=1)
    assert (coarse.shape, coarse.voxel_size) == ((10, 15, 20), (26.96,) * 3)


def test_copick_and_octopi_find_a_segmentation_where_they_look(config: Path, labels) -> None:
    write_whole(begin(f"{config}:TS_1/predict:octopi/1@10"), labels)
    store = "project/ExperimentRuns/TS_1/Segmentations/10.000_octopi_1_predict-multilabel.zarr"
    assert (config.parent / store).is_dir()
    (found,) = (
        copick.from_file(str(config))
        .get_run("TS_1")
        .get_segmentations(
            name="predict", user_id="octopi", session_id="1", voxel_size=10.0, is_multilabel=True
        )
    )
    np.testing.assert_array_equal(found.numpy(), labels)
    assert found.numpy().dtype == np.uint8


def test_segmentations_are_labels_even_where_the_caller_does_not_say_so(config: Path) -> None:
    write_whole(begin(f"{config}:TS_1/predict:a/1"), np.ones(SHAPE, np.uint8))
    (path,) = (config.parent / "project").rglob("*-multilabel.zarr")
    attributes = json.loads((path / ".zattrs").read_text())
    assert attributes["multiscales"][0]["type"] == "nearest"
    assert attributes["image-label"] == {"version": "0.4"}


def test_every_kind_of_segmentation_of_copick_is_read(config: Path, labels) -> None:
    copick_segmentation(config, labels, name="both", is_multilabel=True)
    copick_segmentation(config, labels > 0, name="ribosome")
    copick_segmentation(config, labels + 5, name="apo-ferritin", is_instance=True)
    both = np.stack([labels, labels.astype(np.uint16) * 300])
    copick_segmentation(config, both, name="all", is_panoptic=True)
    for name, expected in (
        ("both", labels),
        ("ribosome", labels > 0),
        ("apo-ferritin", labels + 5),
    ):
        volume = open_(f"{config}:TS_1/{name}:tool/1@10")
        np.testing.assert_array_equal(volume.data.compute(), expected)
    with pytest.raises(AddressError, match="2 channels"):
        open_(f"{config}:TS_1/all:tool/1@10")
    instances = open_(f"{config}:TS_1/all:tool/1@10", c=1)
    np.testing.assert_array_equal(instances.data.compute(), both[1])


def test_a_segmentation_has_one_level_as_octopi_writes_it(config: Path) -> None:
    shape = (3, 140, 300)  # a tomogram of this shape has coarser levels
    for member, num_levels in (("predict:octopi/1@10", 1), ("wide@10", 3)):
        sink = create(
            f"{config}:TS_1/{member}", shape=shape, dtype=np.uint8, voxel_size=(10.0,) * 3
        )
        write_whole(sink, np.ones(shape, np.uint8))
        assert inspect(f"{config}:TS_1/{member}").details["levels"] == num_levels


def test_of_two_kinds_of_one_name_multilabel_is_read_and_said(config: Path, labels) -> None:
    copick_segmentation(config, labels, name="ribosome", is_multilabel=True)
    copick_segmentation(config, labels > 0, name="ribosome")
    header = inspect(f"{config}:TS_1/ribosome:tool/1")
    assert "binary, multilabel have this name: multilabel was read" in " ".join(header.notes)


def test_a_run_is_made_for_a_tomogram_and_removed_with_it(config: Path) -> None:
    sink = begin(f"{config}:TS_5/wbp@10")
    sink.write(whole(SHAPE), np.ones(SHAPE, np.uint8))
    assert not any(t.tomograms for t in run_of(config, "TS_5").voxel_spacings)
    sink.discard()
    assert list_runs(config) == ["TS_1"]
    write_whole(begin(f"{config}:TS_5/wbp@10"), np.ones(SHAPE, np.uint8))
    assert list_runs(config, tomogram="wbp", voxel_size=10) == ["TS_5"]


def run_of(config: Path, name: str) -> Any:
    return copick.from_file(str(config)).get_run(name)


def test_the_voxel_spacing_may_be_left_out_where_there_is_one(config: Path) -> None:
    voxels = np.zeros(SHAPE, np.float32)
    add_tomogram(config, "TS_1", "wbp", voxels, voxel_size=10.0)
    assert open_(f"{config}:TS_1/wbp").voxel_size == (10.0,) * 3
    add_tomogram(config, "TS_1", "wbp", voxels, voxel_size=20.0)
    with pytest.raises(AddressError, match="Add one of @10, @20"):
        open_(f"{config}:TS_1/wbp")
    assert open_(f"{config}:TS_1/wbp@20").voxel_size == (20.0,) * 3


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("", r"Its runs are: TS_1\."),
        (":TS_1", r"Its members are: TS_1/wbp@10, TS_1/predict:tool/1@10\."),
        (":TS_2/wbp@10", 'no run "TS_2"; did you mean "TS_1"'),
        (":TS_1/wpb@10", 'no tomogram wpb@10; did you mean "wbp@10"'),
        (":TS_1/wbp@10.2", 'no tomogram wbp@10.2; did you mean "wbp@10"'),
        (":TS_1/predict:tool/2@10", 'did you mean "predict:tool/1@10"'),
        (":TS_1/predict:tool/1@20", 'did you mean "predict:tool/1@10"'),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(config, labels, member, message) -> None:
    add_tomogram(config, "TS_1", "wbp", np.zeros(SHAPE, np.float32), voxel_size=10.0)
    copick_segmentation(config, labels, is_multilabel=True)
    with pytest.raises(AddressError, match=message):
        open_(f"{config}{member}")


def test_a_missing_project_is_named(tmp_path: Path) -> None:
    make_config(tmp_path)
    with pytest.raises(MissingFileError, match=r"did you mean|Did you mean"):
        open_(f"{tmp_path}/copik.json:TS_1/wbp@10")


def test_a_store_that_contradicts_the_project_is_noted(config: Path, caplog) -> None:
    address = add_tomogram(config, "TS_1", "wbp", np.zeros(SHAPE, np.float32), voxel_size=10.0)
    store = config.parent / "project/ExperimentRuns/TS_1/VoxelSpacing10.000/wbp.zarr"
    text = (store / ".zattrs").read_text()
    (store / ".zattrs").write_text(text.replace("10.0", "12.0"))
    with caplog.at_level(logging.INFO, logger="volproc"):
        assert open_(address).voxel_size == (10.0,) * 3
    assert "the store says 12 × 12 × 12 Å per voxel, the project 10 Å" in caplog.text


def test_a_damaged_store_is_refused(config: Path) -> None:
    address = add_tomogram(config, "TS_1", "wbp", np.zeros(SHAPE, np.float32), voxel_size=10.0)
    store = config.parent / "project/ExperimentRuns/TS_1/VoxelSpacing10.000/wbp.zarr"
    (store / "0" / ".zarray").unlink()
    with pytest.raises(FormatError, match="wbp@10"):
        open_(address)


@pytest.mark.parametrize(
    ("member", "options", "error", "message"),
    [
        ("TS_1/predict:me/1@10", {"dtype": "f4"}, FormatError, "holds integers, got float32"),
        ("TS_1/predict:m_e/1@10", {}, AddressError, "'m-e'"),
        ("TS_1/pre_dict:me/1@10", {}, AddressError, "'pre-dict'"),
        ("TS_1/features@10", {}, AddressError, "another type"),
        ("TS_1/wbp@12", {}, VoxelSizeError, "12 Å, the volume has 10 Å"),
        ("TS_1/wbp", {"voxel_size": (10.0, 8.0, 8.0)}, VoxelSizeError, "one voxel size"),
        ("TS_1/wbp@10", {"shape": (6, 9), "voxel_size": (10.0,) * 2}, FormatError, "volumes"),
        ("", {}, AddressError, "Its runs are"),
    ],
)
def test_what_a_project_cannot_hold_is_refused(config, member, options, error, message) -> None:
    before = sorted(config.parent.rglob("*"))
    with pytest.raises(error, match=message):
        begin(f"{config}:{member}" if member else str(config), **options)
    assert sorted(config.parent.rglob("*")) == before


def test_a_run_of_another_shape_is_not_gone_on_with(config: Path) -> None:
    begin(f"{config}:TS_1/wbp@10")
    with pytest.raises(ResumeError):
        begin(f"{config}:TS_1/wbp@10", shape=(6, 7, 11), resume=True)


def test_the_read_only_part_of_a_project_is_left_alone(config: Path, tmp_path: Path) -> None:
    add_tomogram(config, "TS_1", "wbp", np.ones(SHAPE, np.float32), voxel_size=10.0)
    values = json.loads(config.read_text())
    overlay = f"local://{tmp_path}/overlay/"
    both = tmp_path / "both.json"
    both.write_text(
        json.dumps({**values, "static_root": values["overlay_root"], "overlay_root": overlay})
    )
    assert open_(f"{both}:TS_1/wbp@10").data.sum().compute() == 385
    with pytest.raises(AddressError, match="read-only"):
        begin(f"{both}:TS_1/wbp@10", overwrite=True)
    write_whole(begin(f"{both}:TS_1/other@10"), np.ones(SHAPE, np.uint8))
    assert open_(f"{both}:TS_1/other@10").shape == SHAPE
    assert not (tmp_path / "project/ExperimentRuns/TS_1/VoxelSpacing10.000/other.zarr").exists()


def test_a_segmentation_that_exists_is_kept_unless_asked(config: Path, labels) -> None:
    address = f"{config}:TS_1/predict:me/1@10"
    write_whole(begin(address), labels)
    with pytest.raises(ExistsError, match="--overwrite"):
        begin(address)
    write_whole(begin(address, overwrite=True), labels[::-1].copy())
    np.testing.assert_array_equal(open_(address).data.compute(), labels[::-1])


@pytest.fixture
def in_memory(config: Path):
    """Return a project whose runs lie in no local folder."""
    voxels = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    add_tomogram(config, "TS_1", "wbp", voxels, voxel_size=10.0)
    memory = fsspec.filesystem("memory")
    memory.put(str(config.parent / "project"), "/volproc-test", recursive=True)
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "overlay_root": "memory://volproc-test"}))
    shutil.rmtree(config.parent / "project")
    yield config, voxels
    memory.rm("/volproc-test", recursive=True)


def test_a_project_elsewhere_than_on_disk_is_read(in_memory) -> None:
    config, voxels = in_memory
    volume = open_(f"{config}:TS_1/wbp@10")
    np.testing.assert_array_equal(volume.data.compute(), voxels)
    assert volume.voxel_size == (10.0,) * 3


def test_a_project_elsewhere_than_on_disk_is_not_written_block_by_block(in_memory) -> None:
    config, _ = in_memory
    with pytest.raises(AddressError, match="local overlay_root"):
        begin(f"{config}:TS_1/other@10")


@needs_shared
def test_the_project_of_octopi_is_read_from_anywhere(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    volume = open_(f"{OCTOPI}/config.json:TS_2/wbp@10")
    assert (volume.shape, volume.voxel_size) == ((64, 128, 128), (10.0,) * 3)
    store = OCTOPI / "project/ExperimentRuns/TS_2/VoxelSpacing10.000/wbp.zarr"
    np.testing.assert_array_equal(volume.data.compute(), zarr.open(str(store), mode="r")["0"][:])
    assert list(tmp_path.iterdir()) == []


@needs_shared
def test_a_segmentation_of_octopi_comes_back_from_its_project(tmp_path: Path, monkeypatch) -> None:
    project = tmp_path / "octopi"
    shutil.copytree(OCTOPI, project, copy_function=shutil.copyfile)
    for path in (project, *project.rglob("*")):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
    (expected,) = np.load(OCTOPI / "expected" / "seg_TS_2_predict.npz").values()
    address = f"{project}/config.json:TS_2/predict:volproc/1@10"
    write_whole(begin(address, expected.dtype, shape=expected.shape), expected)
    monkeypatch.chdir(project)  # where copick itself looks for a relative root
    (found,) = copick.from_file("config.json").get_run("TS_2").get_segmentations(name="predict")
    np.testing.assert_array_equal(found.numpy(), expected)
