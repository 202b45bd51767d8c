"""Saving: every format, whole or not at all, now or later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest

from volproc.core.errors import ConfigError, ExistsError, FormatError, MissingFileError
from volproc.core.points import Points
from volproc.core.volume import Volume
from volproc.graph.chunks import iterate_chunks
from volproc.graph.localize import localize
from volproc.graph.save import aligned, save
from volproc.graph.write_chunks import writing
from volproc.io.copick_project import ProjectObject, create_project
from volproc.io.create import create
from volproc.io.open import open_
from volproc.io.points import read_points

SHAPE = (9, 13, 11)


def voxels(dtype: str = "f4") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, SHAPE).astype(dtype)


def volume_of(array: np.ndarray, chunks: Any = (4, 5, 6)) -> Volume:
    return Volume(da.from_array(array, chunks=chunks), (10.0, 10.0, 10.0), name="test")


def listing(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


@pytest.mark.parametrize(
    "chunks", [(4, 5, 6), (9, 13, 11), (1, 13, 11), ((2, 6, 1), (13,), (1, 10))]
)
@pytest.mark.parametrize("name", ["a.mrc", "a.zarr", "a.tif", "a.h5:/data", "a.npy"])
@pytest.mark.parametrize("dtype", ["f4", "u1"])
def test_every_format_gives_back_what_was_saved(tmp_path, name, chunks, dtype) -> None:
    address = str(tmp_path / name)
    save(volume_of(voxels(dtype), chunks), address)
    found = open_(address, voxel_size=10.0 if name.endswith("npy") else None)
    np.testing.assert_array_equal(found.data.compute(), voxels(dtype))
    # MRC has no unsigned bytes.
    assert found.dtype == np.dtype("u2" if (name, dtype) == ("a.mrc", "u1") else dtype)
    np.testing.assert_allclose(found.voxel_size, 10.0, rtol=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == [name.split(":")[0]]


@pytest.fixture
def config(tmp_path) -> Path:
    objects = (ProjectObject("ribosome", 1, 40.0), ProjectObject("ferritin", 2, 30.0))
    return create_project(tmp_path / "copick.json", objects=objects, runs=["TS_1"])


def test_a_segmentation_of_a_copick_project_is_saved(config) -> None:
    address = f"{config}:TS_1/predict:volproc/1@10"
    save(volume_of(voxels("u1") % 3), address)
    np.testing.assert_array_equal(open_(address).data.compute(), voxels("u1") % 3)


def test_picks_of_a_copick_project_are_saved_lazily(config) -> None:
    classes = np.zeros((20, 20, 20), np.uint8)
    classes[4:11, 5:12, 6:13] = 1
    lazy = localize(volume_of(classes, 7), {"ribosome": 45.0}, class_values={"ribosome": 1})
    address = f"{config}:TS_1/:volproc/1"
    assert save(lazy, address) is None
    np.testing.assert_allclose(read_points(address, voxel_size=10.0).zyx, [[7, 8, 9]])


def test_channels_are_saved_as_one_image(tmp_path) -> None:
    data = np.random.default_rng(0).random((3, *SHAPE)).astype("f2")
    names = ("background", "ribosome", "membrane")
    lazy = da.from_array(data, chunks=(1, 4, 5, 6))
    save(Volume(lazy, (10.0,) * 3, channels=names), tmp_path / "p.zarr")
    for number in range(3):
        found = open_(tmp_path / "p.zarr", c=number)
        np.testing.assert_array_equal(found.data.compute(), data[number])


@pytest.mark.parametrize("name", ["a.mrc", "a.zarr", "a.tif", "a.h5", "a.npy"])
def test_a_failure_leaves_nothing(tmp_path, name) -> None:
    def fail(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        if block_info[0]["chunk-location"] == (1, 1, 1):
            raise RuntimeError("no such voxel")
        return block

    data = da.from_array(voxels(), chunks=(4, 5, 6)).map_blocks(fail, dtype="f4", meta=voxels()[:0])
    with pytest.raises(RuntimeError, match="no such voxel"):
        save(Volume(data, (10.0,) * 3), tmp_path / name)
    assert listing(tmp_path) == []


@pytest.mark.parametrize("name", ["a.mrc", "a.zarr", "a.tif", "a.h5", "a.npy"])
def test_an_existing_output_is_refused_and_replaced_only_if_asked(tmp_path, name) -> None:
    save(volume_of(voxels()), tmp_path / name)
    with pytest.raises(ExistsError, match="--overwrite"):
        save(volume_of(voxels() + 1), tmp_path / name)
    assert open_(tmp_path / name, voxel_size=10.0).data[0, 0, 0].compute() == voxels()[0, 0, 0]
    save(volume_of(voxels() + 1), tmp_path / name, overwrite=True)
    found = open_(tmp_path / name, voxel_size=10.0).data.compute()
    np.testing.assert_array_equal(found, voxels() + 1)


def test_a_failed_overwrite_keeps_the_old_one(tmp_path) -> None:
    def fail(block: np.ndarray) -> np.ndarray:
        raise RuntimeError("no such voxel")

    save(volume_of(voxels()), tmp_path / "a.zarr")
    data = da.from_array(voxels(), chunks=4).map_blocks(fail, dtype="f4", meta=voxels()[:0])
    with pytest.raises(RuntimeError):
        save(Volume(data, (10.0,) * 3), tmp_path / "a.zarr", overwrite=True)
    np.testing.assert_array_equal(open_(tmp_path / "a.zarr").data.compute(), voxels())
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_saving_may_wait_until_it_is_computed(tmp_path) -> None:
    def explode(*args: Any, **kwargs: Any) -> Any:
        pytest.fail("something was computed too early")

    with dask.config.set(scheduler=explode):
        written = save(volume_of(voxels()), tmp_path / "a.zarr", compute=False)
    assert not (tmp_path / "a.zarr").exists()
    assert written is not None
    written.compute()
    np.testing.assert_array_equal(open_(tmp_path / "a.zarr").data.compute(), voxels())


def test_several_outputs_are_computed_together_from_one_pass(tmp_path) -> None:
    calls = []

    def count(block: np.ndarray) -> np.ndarray:
        calls.append(block.shape)
        return block

    source = da.from_array(voxels(), chunks=(9, 13, 11))
    volume = Volume(source.map_blocks(count, dtype="f4", meta=voxels()[:0]), (10.0,) * 3)
    names = ["a.npy", "b.mrc"]
    dask.compute(*(save(volume, tmp_path / name, compute=False) for name in names))
    assert len(calls) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def table() -> Points:
    return Points.from_zyx(
        [[1.0, 2.5, 3.0], [4.0, 5.0, 6.25]],
        class_name=["ribosome", "ferritin"],
        voxel_size=(10.0,) * 3,
        shape=SHAPE,
        name="test",
    )


@pytest.mark.parametrize("name", ["a.csv", "a.star"])
@pytest.mark.parametrize("compute", [True, False])
def test_points_are_saved(tmp_path, name, compute) -> None:
    written = save(table(), tmp_path / name, compute=compute)
    if not compute:
        assert listing(tmp_path) == []
        written.compute()
    found = read_points(tmp_path / name, voxel_size=10.0, shape=SHAPE)
    np.testing.assert_allclose(found.zyx, table().zyx, atol=1e-6)
    assert list(found.table["class_name"]) == ["ribosome", "ferritin"]


def test_options_of_a_points_format_are_passed_on_and_others_refused(tmp_path) -> None:
    save(table(), tmp_path / "a.star", convention="centered")
    assert "Centered" in (tmp_path / "a.star").read_text()
    with pytest.raises(ConfigError, match="unknown options for a volume: convention"):
        save(volume_of(voxels()), tmp_path / "a.mrc", convention="centered")
    with pytest.raises(ConfigError, match="convetion"):
        save(table(), tmp_path / "b.star", convetion="centered")


@pytest.mark.parametrize("address", ["a.csv", "{config}:TS_1/:volproc/1"])
def test_points_that_cannot_be_written_are_not_even_computed(config, tmp_path, address) -> None:
    (tmp_path / "a.csv").write_text("old")
    save(table(), f"{config}:TS_1/:volproc/1")

    def never(block: np.ndarray) -> np.ndarray:
        pytest.fail("a voxel was computed although the output exists")

    data = da.zeros(SHAPE, dtype="u1", chunks=5).map_blocks(
        never, dtype="u1", meta=np.empty((0, 0, 0), "u1")
    )
    lazy = localize(Volume(data, (10.0,) * 3), {"ribosome": 40.0}, class_values={"ribosome": 1})
    where = address.format(config=config) if "config" in address else tmp_path / address
    with pytest.raises(ExistsError, match="--overwrite"):
        save(lazy, where)


@pytest.mark.parametrize(
    ("name", "error"),
    [("nowhere/a.mrc", MissingFileError), ("a.docx", ValueError), ("a.mrc.bz3", ValueError)],
)
def test_addresses_that_cannot_be_are_refused(tmp_path, name, error) -> None:
    with pytest.raises(error):
        save(volume_of(voxels()), tmp_path / name)
    assert listing(tmp_path) == []


def test_channels_into_a_format_without_them_are_refused(tmp_path) -> None:
    volume = Volume(da.zeros((2, 4, 4, 4)), (10.0,) * 3, channels=("a", "b"))
    with pytest.raises(FormatError, match=r"\.zarr"):
        save(volume, tmp_path / "a.mrc")
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("chunks", "multiple", "expected"),
    [
        (((4, 4, 1), (5, 5, 3)), (2, 5), ((4, 4, 1), (5, 5, 3))),
        (((3, 3, 3), (13,)), (2, 5), ((2, 2, 2, 2, 1), (13,))),
        (((5, 4), (7, 6)), (2, 4), ((4, 4, 1), (4, 4, 4, 1))),
        (((9,), (13,)), (64, 64), ((9,), (13,))),
        (((1,) * 9, (13,)), (64, 13), ((9,), (13,))),
    ],
)
def test_chunks_are_aligned_with_storage_where_they_are_not(chunks, multiple, expected) -> None:
    array = da.zeros((9, 13), chunks=chunks)
    assert aligned(array, multiple).chunks == expected


def test_channels_are_not_cut() -> None:
    array = da.zeros((3, 9, 13), chunks=(1, 3, 13))
    assert aligned(array, (4, 13), 3).chunks == ((3,), (4, 4, 1), (13,))


def test_a_chunk_that_stands_at_two_places_is_saved_at_both(tmp_path) -> None:
    half = da.from_array(voxels()[:4], chunks=4) + 1
    both = da.concatenate([half, half[:, ::-1], half, half])
    save(Volume(both, (10.0,) * 3), tmp_path / "a.zarr")
    np.testing.assert_array_equal(open_(tmp_path / "a.zarr").data.compute(), both.compute())


def test_what_makes_a_chunk_and_what_writes_it_is_one_task(tmp_path) -> None:
    data = (da.zeros((40, 40, 40), chunks=10, dtype="u1") + 1).map_blocks(np.copy)
    sink = create(tmp_path / "a.zarr", shape=data.shape, dtype="u1", voxel_size=(10.0,) * 3)
    graph = dict(writing(data, sink, is_alone=True).__dask_graph__())
    assert len(graph) < 1.2 * data.npartitions


@pytest.mark.parametrize(("chunks", "depth"), [((7, 50, 64), 0), ((20, 64, 128), 1)])
def test_a_part_of_a_level_waits_for_all_that_it_is_made_of(tmp_path, chunks, depth) -> None:
    data = da.zeros((20, 200, 600), chunks=chunks, dtype="u1") + 1
    frame = {"dtype": "u1", "voxel_size": (10.0,) * 3, "chunks": (20, 32, 64)}
    sink = create(tmp_path / "a.zarr", shape=data.shape, **frame)
    assert sink.depth(data.chunks) == depth
    graph = dict(writing(data, sink, is_alone=True).__dask_graph__())
    made = {k: task for k, task in graph.items() if "-level-" in k[0]}
    levels = sink.pyramid()
    assert len(made) == sum(map(len, levels[depth:])) > 0
    for (name, number), task in made.items():
        level = int(name.rpartition("-")[2])
        source = levels[level - 1][number].source
        if level == depth + 1:
            below = {c.index: sink.coarsened(c.region, depth) for c in iterate_chunks(data.chunks)}
        else:
            below = {(i,): part.region for i, part in enumerate(levels[level - 2])}
        expected = {index for index, region in below.items() if overlap(region, source)}
        assert {key[1:] for key in task.dependencies} == expected


def overlap(one: Any, other: Any) -> bool:
    """Whether two regions share a voxel."""
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))
