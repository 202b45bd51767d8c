"""Conversion: any format to any other, block by block, whole or not at all."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from volproc.cluster.start import connect
from volproc.core.errors import (
    ExistsError,
    FormatError,
    MissingFileError,
    VolprocError,
    VoxelSizeError,
)
from volproc.core.events import Event
from volproc.core.executor import SerialExecutor
from volproc.io.open import open_
from volproc.workflows.convert import convert, copy_chunks

NAMES = ("a.mrc", "a.zarr", "a.tif", "a.h5:/volume", "a.npy")


def of_size(name: str) -> tuple[float, ...] | None:
    """Voxel size to open a file with, where it has none itself."""
    return (8.0, 9.0, 10.0) if name.endswith("npy") else None


@pytest.mark.parametrize(
    ("first", "second", "executor"),
    [
        *((first, second, "serial") for first, second in product(NAMES, NAMES)),
        *(("a.zarr", second, "threads") for second in NAMES),
    ],
)
def test_voxels_and_frame_survive_every_pair_of_formats(
    address, voxels, tmp_path, first, second, executor
) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    between, last = str(tmp_path / "1" / first), str(tmp_path / "2" / second)
    with connect(executor) as runner:
        convert(address, between, voxel_size=(8.0, 9.0, 10.0), executor=runner)
        convert(between, last, voxel_size=of_size(first), executor=runner)
    found = open_(last, voxel_size=of_size(second))
    np.testing.assert_array_equal(found.data.compute(), voxels)
    np.testing.assert_allclose(found.voxel_size, (8, 9, 10), rtol=1e-5)
    assert [p.name for p in (tmp_path / "2").iterdir()] == [second.split(":")[0]]


def test_a_micrograph_is_converted(tmp_path) -> None:
    image = np.random.default_rng(0).integers(0, 9, (13, 17)).astype("u2")
    np.save(tmp_path / "a.npy", image)
    convert(str(tmp_path / "a.npy"), str(tmp_path / "b.zarr"), voxel_size=2.0)
    np.testing.assert_array_equal(open_(tmp_path / "b.zarr").data.compute(), image)


def test_one_channel_of_several_is_taken(tmp_path) -> None:
    image = np.random.default_rng(0).integers(0, 9, (5, 2, 13, 17)).astype("u2")
    tifffile.imwrite(tmp_path / "a.tif", image, imagej=True, metadata={"axes": "ZCYX"})
    convert(str(tmp_path / "a.tif"), str(tmp_path / "b.npy"), voxel_size=2.0, selection={"c": 1})
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), image[:, 1])


def test_events_cover_the_volume(address, voxels, tmp_path) -> None:
    events: list[Event] = []
    convert(address, str(tmp_path / "a.zarr"), voxel_size=10.0, observe=events.append)
    blocks = [e for e in events if e.kind == "block"]
    assert sum(prod(e.facts["shape"]) for e in blocks) == voxels.size
    assert sum(e.facts["bytes_read"] for e in blocks) == voxels.nbytes
    assert events[0].total == len(blocks)


class Chunked:
    """What has a shape and storage chunks."""

    def __init__(self, shape: tuple[int, ...], chunks: tuple[int, ...]) -> None:
        self.shape, self.chunks, self.dtype = shape, chunks, np.dtype("f4")


sizes = st.tuples(*[st.integers(1, 3000)] * 3)
small = st.tuples(*[st.integers(1, 300)] * 3)


@given(sizes, small, small)
def test_blocks_are_multiples_of_what_is_written_and_fit_into_memory(shape, reads, writes) -> None:
    reads, writes = (
        tuple(min(c, n) for c, n in zip(chunks, shape, strict=True)) for chunks in (reads, writes)
    )
    chosen = copy_chunks(Chunked(shape, reads), Chunked(shape, writes))
    for size, chunk, n in zip(chosen, writes, shape, strict=True):
        assert size % chunk == 0 or size == n
    assert prod(chosen) * 4 <= max(2**28, prod(writes) * 4)


@pytest.mark.parametrize(
    ("source", "output", "options", "error", "text"),
    [
        ("nothing.mrc", "b.zarr", {}, MissingFileError, "does not exist"),
        ("a.mrc", "b.zarr", {}, FormatError, "no MRC file, or a damaged one"),
        ("a.npy", "b.docx", {}, VolprocError, "known"),
        ("a.npy", "none/b.zarr", {}, MissingFileError, "does not exist"),
        ("a.npy", "b.zarr", {"voxel_size": None}, VoxelSizeError, "--voxel-size"),
        ("a.npy", "b.zarr", {"voxel_size": -1.0}, VoxelSizeError, "-1.0 Å"),
        ("c.npy", "b.mrc", {}, VolprocError, "complex128"),
        ("e.npy", "b.mrc", {}, VolprocError, "empty|no voxels"),
    ],
)
def test_bad_input_ends_in_one_message_and_nothing_half_written(
    voxels, tmp_path, listing, source, output, options, error, text
) -> None:
    np.save(tmp_path / "a.npy", voxels)
    np.save(tmp_path / "c.npy", voxels.astype(complex))
    np.save(tmp_path / "e.npy", voxels[:0])
    (tmp_path / "a.mrc").write_bytes(b"\0" * 1500)
    before = listing()
    with pytest.raises(error, match=text):
        convert(str(tmp_path / source), str(tmp_path / output), **({"voxel_size": 10.0} | options))
    assert listing() == before


@pytest.mark.parametrize("name", ["b.mrc", "b.zarr", "b.tif", "b.h5", "b.npy"])
def test_an_existing_output_is_replaced_only_if_asked(address, voxels, tmp_path, name) -> None:
    output = str(tmp_path / name)
    convert(address, output, voxel_size=10.0)
    np.save(tmp_path / "other.npy", voxels + 1)
    with pytest.raises(ExistsError, match="--overwrite"):
        convert(str(tmp_path / "other.npy"), output, voxel_size=10.0)
    np.testing.assert_array_equal(open_(output, voxel_size=10.0).data.compute(), voxels)
    convert(str(tmp_path / "other.npy"), output, voxel_size=10.0, overwrite=True)
    np.testing.assert_array_equal(open_(output, voxel_size=10.0).data.compute(), voxels + 1)


def test_a_volume_may_replace_itself(voxels, tmp_path) -> None:
    path = str(tmp_path / "a.zarr")
    np.save(tmp_path / "a.npy", voxels)
    convert(str(tmp_path / "a.npy"), path, voxel_size=10.0)
    convert(path, path, voxel_size=5.0, override_voxel_size=True, overwrite=True)
    np.testing.assert_array_equal(open_(path).data.compute(), voxels)
    assert open_(path).voxel_size == (5, 5, 5)


def test_a_contradicting_voxel_size_is_refused_unless_overridden(address, tmp_path) -> None:
    path = str(tmp_path / "a.mrc")
    convert(address, path, voxel_size=10.0)
    with pytest.raises(VoxelSizeError, match="--override-voxel-size"):
        convert(path, str(tmp_path / "b.mrc"), voxel_size=12.0)
    convert(path, str(tmp_path / "b.mrc"), voxel_size=12.0, override_voxel_size=True)
    np.testing.assert_allclose(open_(tmp_path / "b.mrc").voxel_size, 12.0)


def test_a_failure_on_the_way_leaves_nothing(address, tmp_path, listing, monkeypatch) -> None:
    def fail(event: Event) -> None:
        if event.kind == "block":
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        convert(address, str(tmp_path / "a.zarr"), voxel_size=10.0, observe=fail)
    assert listing() == {}


def test_what_one_process_only_can_write_is_written_here_and_read_by_several(
    address, voxels, tmp_path
) -> None:
    class Processes(SerialExecutor):
        has_processes = True

        def submit(self, key: str, function: Callable[..., Any], *args: Any) -> None:
            assert b"Hdf5Sink" not in pickle.dumps(function)
            super().submit(key, function, *args)

    convert(address, str(tmp_path / "a.h5"), voxel_size=10.0, executor=Processes())
    np.testing.assert_array_equal(open_(tmp_path / "a.h5").data.compute(), voxels)
