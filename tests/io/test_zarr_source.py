import json
import os
import shutil
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volproc.core.errors import FormatError, MissingFileError
from volproc.core.types import whole
from volproc.io.chunk_cache import CHUNK_CACHE, ChunkCache
from volproc.io.zarr_array import ArrayMeta
from volproc.io.zarr_source import open_array
from volproc.testing.readers import ReaderTests

SHAPE = (5, 7, 11)
CHUNKS = (2, 3, 4)


def noise(shape=SHAPE, dtype=np.float32):
    return np.random.default_rng(5).integers(0, 100, shape).astype(dtype)


def store(path, voxels, *, chunks=None, separator="/", **options):
    directory = zarr.DirectoryStore(str(path), dimension_separator=separator)
    array = zarr.create(
        shape=voxels.shape,
        chunks=chunks or CHUNKS,
        dtype=options.pop("dtype", voxels.dtype),
        store=directory,
        dimension_separator=separator,
        **options,
    )
    array[...] = voxels
    return str(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.zarr"


class TestSmallChunks(ReaderTests):
    @pytest.fixture
    def open_source(self, path):
        store(path, noise((30, 41, 27)), chunks=(8, 16, 5))
        return lambda: open_array(str(path))


class TestTurnedAxes(ReaderTests):
    @pytest.fixture
    def open_source(self, path):
        voxels = noise((3, 5, 7, 11))
        store(path, voxels, chunks=(2, 2, 3, 4), order="F", dtype=">f4")
        # stored as (c, x, y, z), say
        return lambda: open_array(str(path), index=(1, None, None, None), order=(3, 2, 1))

    def test_the_voxels_are_those_of_the_selection(self, source):
        expected = noise((3, 5, 7, 11))[1].transpose(2, 1, 0)
        np.testing.assert_array_equal(source.read(whole(source.shape)), expected)
        assert source.shape == (11, 7, 5)
        assert source.chunks == (4, 3, 2)


@pytest.mark.parametrize("separator", ["/", "."])
@pytest.mark.parametrize(
    "compressor",
    [
        None,
        numcodecs.Blosc("lz4", 5, numcodecs.Blosc.BITSHUFFLE),
        numcodecs.Blosc("zstd", 1),
        numcodecs.GZip(1),
        numcodecs.Zstd(1),
        numcodecs.LZ4(),
        numcodecs.Zlib(1),
        numcodecs.BZ2(1),
    ],
    ids=str,
)
def test_every_layout_equals_zarr(path, separator, compressor):
    voxels = noise(dtype=np.int16)
    store(path, voxels, separator=separator, compressor=compressor)
    np.testing.assert_array_equal(open_array(str(path)).read(whole(SHAPE)), voxels)


@pytest.mark.parametrize(
    "dtype", ["|b1", "|i1", "|u1", "<u2", ">i2", "<i4", ">u4", "<i8", "<f2", ">f8"]
)
def test_every_type_comes_in_the_order_of_the_machine(path, dtype):
    voxels = (
        noise(dtype=np.dtype(dtype).newbyteorder("=")) > 50
        if dtype == "|b1"
        else noise(dtype=dtype)
    )
    store(path, voxels, dtype=dtype)
    source = open_array(str(path))
    block = source.read((slice(1, 4), slice(0, 7), slice(3, 9)))
    assert block.dtype == source.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(block, voxels[1:4, :, 3:9])


def test_filters_are_undone(path):
    voxels = np.cumsum(noise(dtype=np.int32).ravel()).reshape(SHAPE).astype(np.int32)
    store(path, voxels, filters=[numcodecs.Delta("<i4")], compressor=numcodecs.Blosc("zstd"))
    np.testing.assert_array_equal(open_array(str(path)).read(whole(SHAPE)), voxels)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_cut_of_any_chunking_equals_zarr(tmp_path, data):
    chunks = tuple(data.draw(st.integers(1, n + 2)) for n in SHAPE)
    order = data.draw(st.sampled_from("CF"))
    path = tmp_path / "-".join(map(str, (*chunks, order)))
    if not path.exists():
        store(path, noise(), chunks=chunks, order=order)
    region = []
    for n in SHAPE:
        start = data.draw(st.integers(0, n - 1))
        region.append(slice(start, data.draw(st.integers(start + 1, n))))
    expected = zarr.open_array(str(path), mode="r")[tuple(region)]
    np.testing.assert_array_equal(open_array(str(path)).read(tuple(region)), expected)


@pytest.mark.parametrize(
    ("fill", "value"), [(7.0, 7.0), (None, 0.0), ("NaN", np.nan), ("-Infinity", -np.inf)]
)
def test_a_missing_chunk_holds_the_fill_value(path, fill, value):
    store(path, noise())
    head = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps({**head, "fill_value": fill}))
    (path / "0" / "0" / "0").unlink()
    source = open_array(str(path))
    expected = noise()
    expected[:2, :3, :4] = value
    np.testing.assert_array_equal(source.read(whole(SHAPE)), expected)
    np.testing.assert_array_equal(
        source.read((slice(0, 2), slice(0, 3), slice(0, 4))), expected[:2, :3, :4]
    )


def test_a_vanished_store_is_no_empty_one(path):
    store(path, noise())
    source = open_array(str(path))
    shutil.rmtree(path)
    with pytest.raises(MissingFileError, match="is gone"):
        source.read(whole(SHAPE))


@pytest.mark.parametrize(
    "compressor", [None, numcodecs.Blosc("lz4"), numcodecs.GZip(1), numcodecs.Zstd(1)], ids=str
)
@pytest.mark.parametrize("kept", [0, 7, -1])
def test_a_truncated_chunk_is_named(path, compressor, kept):
    store(path, noise(), compressor=compressor)
    chunk = path / "1" / "0" / "2"
    chunk.write_bytes(chunk.read_bytes()[:kept])
    source = open_array(str(path))
    with pytest.raises(FormatError, match=r"chunk 1/0/2 of .*a\.zarr is truncated or damaged"):
        source.read(whole(SHAPE))
    source.read((slice(0, 2), slice(0, 7), slice(0, 11)))  # the others are whole


def test_a_chunk_of_another_size_is_refused(path):
    store(path, noise(), compressor=numcodecs.Blosc("lz4"))
    (path / "0" / "0" / "0").write_bytes(numcodecs.Blosc("lz4").encode(np.zeros(23, np.float32)))
    with pytest.raises(FormatError, match="92 bytes of voxels, 96 are due"):
        open_array(str(path)).read(whole(SHAPE))


def test_an_absurd_head_takes_no_memory(path):
    store(path, noise())
    head = json.loads((path / ".zarray").read_text())
    huge = {**head, "shape": [10**9] * 3, "chunks": [10**8] * 3}
    (path / ".zarray").write_text(json.dumps(huge))
    with pytest.raises(FormatError, match="a storage chunk of 100000000 × 100000000"):
        open_array(str(path))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"chunks": [0, 3, 4]}, "damaged or unknown"),
        ({"chunks": [3, 4]}, "damaged or unknown"),
        ({"shape": None}, "damaged or unknown"),
        ({"dtype": "<q9"}, "damaged or unknown"),
        ({"dtype": [["a", "<f4"]]}, "real numbers"),
        ({"dtype": "|O"}, "real numbers"),
        ({"dtype": "<c8"}, "real numbers"),
        ({"shape": [0, 7, 11]}, "non-empty"),
        ({"order": "Z"}, "damaged or unknown"),
        ({"compressor": {"id": "unheard-of"}}, "unheard-of"),
        ({"fill_value": "many"}, "damaged or unknown"),
    ],
)
def test_a_senseless_head_is_refused(path, change, match):
    store(path, noise())
    head = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps({**head, **change}))
    with pytest.raises(FormatError, match=match):
        open_array(str(path))


def test_half_a_head_is_refused(path):
    store(path, noise())
    head = (path / ".zarray").read_text()
    (path / ".zarray").write_text(head[: len(head) // 2])
    with pytest.raises(FormatError, match="no JSON object"):
        open_array(str(path))


def test_nested_chunks_are_found_where_the_head_does_not_say_so(path):
    store(path, noise())
    head = json.loads((path / ".zarray").read_text())
    del head["dimension_separator"]
    (path / ".zarray").write_text(json.dumps(head))
    np.testing.assert_array_equal(open_array(str(path)).read(whole(SHAPE)), noise())


def test_a_mapping_is_a_store_too(tmp_path):
    store(tmp_path / "g.zarr" / "sub", noise())
    mapping = zarr.DirectoryStore(str(tmp_path / "g.zarr"))
    source = open_array(mapping, "sub")
    np.testing.assert_array_equal(source.read(whole(SHAPE)), noise())


def count_decodings(monkeypatch):
    calls = []
    decode = ArrayMeta.decode

    def counted(self, data, key):
        calls.append(key)
        return decode(self, data, key)

    monkeypatch.setattr(ArrayMeta, "decode", counted)
    return calls


def test_blocks_with_halos_decode_each_chunk_once(path, monkeypatch):
    store(path, noise((12, 12, 12)), chunks=(4, 4, 4))
    calls = count_decodings(monkeypatch)
    source = open_array(str(path))
    for z in range(0, 12, 4):
        source.read((slice(max(z - 1, 0), min(z + 5, 12)), slice(0, 12), slice(0, 12)))
    assert len(calls) == len(set(calls)) == 27


def test_a_rewritten_chunk_is_read_anew(path):
    store(path, noise())
    source = open_array(str(path))
    region = (slice(1, 3), slice(1, 4), slice(1, 5))
    np.testing.assert_array_equal(source.read(region), noise()[region])
    zarr.open_array(str(path), mode="r+")[...] = noise() + 1
    np.testing.assert_array_equal(source.read(region), noise()[region] + 1)
    assert open_array(str(path)).identity() != source.identity()


def test_a_chunk_that_changed_in_place_is_read_anew(path):
    store(path, noise(), compressor=None)
    source = open_array(str(path))
    region = (slice(0, 1), slice(0, 3), slice(0, 4))
    before = source.read(region)
    chunk = path / "0" / "0" / "0"
    changed = np.frombuffer(chunk.read_bytes(), np.float32) + 1
    chunk.write_bytes(changed.tobytes())
    os.utime(chunk, (1, 1))  # a clock may be too coarse to tell the two moments apart
    np.testing.assert_array_equal(source.read(region), before + 1)


def test_the_cache_keeps_within_its_limit():
    cache = ChunkCache(100)
    for key in range(10):
        cache.put(key, np.zeros(40, np.uint8))
        assert cache.num_bytes <= 100
    assert cache.get(9) is not None
    assert cache.get(0) is None
    cache.put("large", np.zeros(101, np.uint8))
    assert cache.get("large") is None
    cache.resize(0)
    assert cache.num_bytes == 0


def test_the_process_has_one_cache_of_128_mib():
    assert CHUNK_CACHE.max_bytes == 128 * 2**20


SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data are not here")
def test_real_stores_equal_zarr():
    for path in (
        "zarr/tubhiswt4D_sub.zarr/1",
        "peers/octopi/project/ExperimentRuns/TS_2/VoxelSpacing10.000/wbp.zarr/1",
    ):
        expected = zarr.open_array(str(SHARED / path), mode="r")
        source = open_array(str(SHARED / path))
        np.testing.assert_array_equal(source.read(whole(source.shape)), expected[...])
