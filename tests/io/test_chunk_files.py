"""Scratch arrays: any chunks, any region, whole files or none."""

from __future__ import annotations

import errno
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volproc.core.arrays import Source
from volproc.io.chunk_files import ChunkFiles, write_array, write_bytes

SHAPE = (5, 7, 11)
CUTS = ((2, 3), (7,), (5, 1, 5))


def filled(
    folder: Path, *, is_compressed: bool, dtype: str = "i4"
) -> tuple[ChunkFiles, np.ndarray]:
    array = np.random.default_rng(0).integers(0, 100, SHAPE).astype(dtype)
    files = ChunkFiles(str(folder), CUTS, np.dtype(dtype), is_compressed=is_compressed)
    edges = [np.cumsum([0, *cut]) for cut in CUTS]
    for index in np.ndindex(*map(len, CUTS)):
        region = tuple(slice(e[i], e[i + 1]) for e, i in zip(edges, index, strict=True))
        files.write_chunk(index, array[region])
    return files, array


@pytest.mark.parametrize("is_compressed", [False, True])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_region_is_read_from_the_chunks_it_touches(tmp_path, is_compressed, data) -> None:
    files, array = filled(tmp_path / "a", is_compressed=is_compressed)
    starts = [data.draw(st.integers(0, n - 1)) for n in SHAPE]
    stops = [data.draw(st.integers(a + 1, n)) for a, n in zip(starts, SHAPE, strict=True)]
    region = tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))
    found = files.read(region)
    np.testing.assert_array_equal(found, array[region])
    found[...] = 0  # what was read is the reader's own
    np.testing.assert_array_equal(files.read(region), array[region])


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "f2", "f4", "u4"])
def test_chunks_come_back_as_written(tmp_path, is_compressed, dtype) -> None:
    files, array = filled(tmp_path / "a", is_compressed=is_compressed, dtype=dtype)
    chunk = files.read_chunk((1, 0, 2))
    np.testing.assert_array_equal(chunk, array[2:, :, 6:])
    assert chunk.dtype == np.dtype(dtype)
    assert chunk.flags.writeable
    assert files.has_chunk((1, 0, 2))
    assert not files.has_chunk((1, 1, 2))


def test_a_region_that_is_a_chunk_is_written_with_all_its_channels(tmp_path) -> None:
    files = ChunkFiles(str(tmp_path / "a"), ((3,), *CUTS), np.dtype("f4"))
    block = np.random.default_rng(1).random((3, 3, 7, 1), np.float32)
    files.write((slice(2, 5), slice(0, 7), slice(5, 6)), block)
    np.testing.assert_array_equal(files.read_chunk((0, 1, 0, 1)), block)


def test_it_is_a_source(tmp_path) -> None:
    files, array = filled(tmp_path / "a", is_compressed=False)
    assert isinstance(files, Source)
    assert (files.shape, files.chunks) == (SHAPE, (3, 7, 5))
    again = pickle.loads(pickle.dumps(files))
    np.testing.assert_array_equal(again.read(tuple(slice(0, n) for n in SHAPE)), array)
    assert files.identity() == str(tmp_path / "a")


def test_nothing_is_made_before_the_first_chunk(tmp_path) -> None:
    files = ChunkFiles(str(tmp_path / "a" / "b"), CUTS, np.dtype("f4"))
    assert not files.has_chunk((0, 0, 0))
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.npy"
    write_array(path, np.arange(5))

    def break_off(file, array, **options) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "save", break_off)
    with pytest.raises(OSError, match="disk full"):
        write_array(path, np.arange(9))
    np.testing.assert_array_equal(np.load(path), np.arange(5))
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


def test_sizes_on_disk_are_told(tmp_path) -> None:
    assert write_bytes(tmp_path / "a", b"12345") == 5
    assert write_array(tmp_path / "b.npy", np.zeros(7)) == (tmp_path / "b.npy").stat().st_size


@pytest.mark.parametrize("is_array", [True, False])
def test_a_file_that_the_system_refuses_to_hold_is_named_with_the_cause(
    tmp_path: Path, is_array: bool
) -> None:
    """As a full disk does, and NumPy by itself would only count the values that are missing."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    path = tmp_path / "a.npy"
    try:
        with pytest.raises(OSError, match=r"File too large.*a\.npy") as caught:
            write_array(path, np.zeros(10_000)) if is_array else write_bytes(path, bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_compressed", [False, True])
def test_chunks_that_were_not_written_are_zeros_where_that_is_asked_for(
    tmp_path, is_compressed
) -> None:
    files = ChunkFiles(str(tmp_path / "a"), CUTS, np.dtype("i4"), is_compressed, is_sparse=True)
    files.write_chunk((1, 0, 1), np.full((3, 7, 1), 5))
    found = files.read(tuple(slice(0, n) for n in SHAPE))
    assert found[2:, :, 5].tolist() == [[5] * 7] * 3
    assert found.sum() == 5 * 21
    assert not files.read_chunk((0, 0, 0)).any()
    with pytest.raises(FileNotFoundError):
        ChunkFiles(files.folder, CUTS, files.dtype, is_compressed).read_chunk((0, 0, 0))
