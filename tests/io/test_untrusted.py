"""Hostile files: refused with one clear error, before memory is taken or a path is followed."""

import bz2
import gzip
import json
import lzma
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numcodecs
import numpy as np
import pytest
import tifffile
import zarr

from volproc.core.errors import AddressError, ConfigError, FormatError
from volproc.io.copick_config import read_config
from volproc.io.open import inspect, open_
from volproc.io.points import read_points

FEW_BYTES = 32 * 2**20
"""Memory that a refusal may take."""


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < FEW_BYTES


def read_all(path: Path) -> None:
    source = inspect(str(path)).source
    source.read(tuple(slice(0, n) for n in source.shape))


def write_array(path: Path, **changes: Any) -> Path:
    """A zarr array of 8 × 8 × 8 bytes whose head says otherwise where it is told to."""
    path.mkdir()
    head = {
        "zarr_format": 2,
        "shape": [8, 8, 8],
        "chunks": [8, 8, 8],
        "dtype": "|u1",
        "compressor": None,
        "fill_value": 0,
        "order": "C",
        "filters": None,
    }
    (path / ".zarray").write_text(json.dumps({**head, **changes}))
    return path


# What heads claim


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"chunks": [10**4] * 3}, "a storage chunk of 10000 × 10000 × 10000 would be 931.3 GiB"),
        ({"shape": [10**12, 8, 8]}, "1,000,000,000,000 voxels along z"),
        ({"shape": [10**6] * 3, "dtype": "<f8"}, "PiB"),
        ({"shape": [1e999, 8, 8]}, "damaged or unknown"),
        ({"shape": [10**400, 8, 8]}, "voxels along z"),
        ({"dtype": "|V1000000000000"}, "damaged or unknown"),
        ({"dtype": "|V1000000"}, "real numbers"),
        ({"dtype": "|S1000000000"}, "real numbers"),
    ],
)
def test_a_zarr_head_that_claims_the_absurd_is_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = write_array(tmp_path / "a.zarr", **changes)
    with little_memory(), pytest.raises(FormatError) as caught:
        read_all(path)
    assert said in str(caught.value)


def test_a_large_volume_that_holds_little_is_opened_and_read_in_parts(tmp_path: Path) -> None:
    path = write_array(tmp_path / "a.zarr", shape=[10240] * 3, chunks=[128] * 3)
    with little_memory():
        source = open_(path, voxel_size=10.0).source
        assert source is not None
        assert not source.read((slice(0, 64), slice(9000, 9064), slice(0, 64))).any()


@pytest.mark.parametrize("packing", ["", ".gz", ".bz2"])
def test_an_mrc_head_that_claims_a_terabyte_is_refused(tmp_path: Path, packing: str) -> None:
    head = bytearray(1024)
    head[:16] = struct.pack("<4i", 10_000, 10_000, 10_000, 2)
    head[28:40] = struct.pack("<3i", 10_000, 10_000, 10_000)
    head[40:52] = struct.pack("<3f", 1e5, 1e5, 1e5)
    head[64:76] = struct.pack("<3i", 1, 2, 3)
    head[208:216] = b"MAP \x44\x44\0\0"
    pack = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}[packing]
    path = tmp_path / f"a.mrc{packing}"
    path.write_bytes(pack(bytes(head)))
    with little_memory(), pytest.raises(FormatError, match="truncated"):
        inspect(str(path)).source.read((slice(0, 1), slice(0, 2), slice(0, 2)))


def test_npy_heads_that_claim_a_terabyte_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        head = {"descr": "<f8", "fortran_order": False, "shape": (10**10, 4, 3)}
        np.lib.format.write_array_header_1_0(file, head)
    with little_memory(), pytest.raises(FormatError, match="truncated"):
        inspect(str(path))
    with path.open("wb") as file:
        head = {"descr": "<f8", "fortran_order": False, "shape": (10**11, 3)}
        np.lib.format.write_array_header_1_0(file, head)
    with little_memory(), pytest.raises(FormatError, match="is no readable"):
        read_points(path, voxel_size=10.0)


@pytest.mark.parametrize("text", ["{'descr': '<f8", "{'descr': ((((", "(" * 200, "]", "{1: 2}"])
def test_npy_heads_that_are_no_python_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n")
    with pytest.raises(FormatError, match=r"is no \.npy file"):
        inspect(str(path))
    with pytest.raises(FormatError, match="is no readable"):
        read_points(path, voxel_size=10.0)


def test_a_damaged_hdf5_file_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros((4, 5, 6), np.uint8)
        file["data"].attrs["voxel_size_angstrom"] = 10.0
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + b"\xff\xff" + whole[place + 2 :])
        with suppress(FormatError, AddressError):
            inspect(path)


def test_hdf5_heads_that_claim_the_absurd_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("far", shape=(2**40, 8, 8), chunks=(8, 8, 8), dtype="u1")
        file.create_dataset("wide", shape=(2, 2**20, 2**20), dtype="u1")
    with little_memory():
        with pytest.raises(FormatError, match="voxels along z"):
            inspect(f"{path}:/far")
        with pytest.raises(FormatError, match="a storage chunk of 1 × 1048576 × 1048576"):
            inspect(f"{path}:/wide")


def change_tag(path: Path, code: int, value: int) -> None:
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages[0].tags[code].overwrite(value)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({322: 2**20, 323: 2**20}, "a strip or tile of 1 × 1 × 1048576 × 1048576 × 1"),
        ({256: 2**27, 257: 2**27}, "."),
        ({257: 0}, "."),
        ({322: 0}, "."),
    ],
)
def test_a_tiff_head_that_claims_the_absurd_is_refused(
    tmp_path: Path, tags: dict[int, int], said: str
) -> None:
    path = tmp_path / "a.tif"
    voxels = np.zeros((16, 16), np.uint8)
    tifffile.imwrite(path, voxels, tile=(16, 16), compression="zlib")
    for code, value in tags.items():
        change_tag(path, code, value)
    with little_memory(), pytest.raises(FormatError) as caught:
        inspect(str(path))
    assert said in str(caught.value)


def test_a_tiff_of_no_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((16, 18), np.uint8), tile=(16, 16), compression="zlib")
    for code, value in ((257, 0), (278, 0)):
        with suppress(KeyError):
            change_tag(path, code, value)
    with pytest.raises(FormatError):
        read_all(path)


@pytest.mark.parametrize("value", [b"\x02", b"\xff\xff"])
def test_a_damaged_tiff_file_is_one_error(tmp_path: Path, value: bytes) -> None:
    path = tmp_path / "a.tif"
    voxels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    tifffile.imwrite(path, voxels, tile=(16, 16), compression="zlib")
    whole = path.read_bytes()
    for place in range(min(len(whole), 300)):
        path.write_bytes(whole[:place] + value + whole[place + len(value) :])
        with suppress(FormatError, AddressError):
            source = inspect(path).source
            source.read(tuple(slice(0, min(n, 20)) for n in source.shape))


def test_an_ome_description_of_a_billion_planes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((4, 16, 16), np.uint8), metadata={"axes": "ZYX"})
    text = tifffile.tiffcomment(path)
    for old in ('SizeZ="4"', 'PlaneCount="4"'):
        assert old in text
        text = text.replace(old, old.replace("4", "2000000000"))
    tifffile.tiffcomment(path, text.encode())
    with little_memory(), pytest.raises(FormatError, match="2,000,000,000 planes"):
        inspect(str(path))


def test_points_and_configs_that_are_nested_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "project.json"
    path.write_text('{"pickable_objects": ' + "[" * 100_000)
    with pytest.raises(ConfigError, match="is no JSON file"):
        read_config(path)
    array = write_array(tmp_path / "a.zarr")
    (array / ".zattrs").write_text('{"a": ' + "[" * 100_000)
    with pytest.raises(FormatError, match="is no JSON object"):
        inspect(str(array))


def test_metadata_of_gigabytes_are_not_read(tmp_path: Path) -> None:
    array = write_array(tmp_path / "a.zarr")
    with (array / ".zattrs").open("wb") as file:
        file.truncate(2**34)  # holes take no room on the disk
    with little_memory(), pytest.raises(FormatError, match="metadata at most"):
        inspect(str(array))


# What chunks unpack to

BOMBS = {
    "zlib": lambda data: zlib.compress(data, 9),
    "gzip": lambda data: gzip.compress(data, 9),
    "bz2": bz2.compress,
    "lzma": lzma.compress,
    "zstd": lambda data: numcodecs.Zstd(19).encode(data),
    "lz4": lambda data: numcodecs.LZ4().encode(data),
    "blosc": lambda data: numcodecs.Blosc("zstd", 9).encode(data),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_chunk_that_unpacks_to_more_than_its_voxels_is_refused(tmp_path: Path, name: str) -> None:
    path = write_array(tmp_path / "a.zarr", compressor={"id": name})
    (path / "0.0.0").write_bytes(BOMBS[name](bytes(2**27)))
    with little_memory(), pytest.raises(FormatError, match="it would unpack to"):
        read_all(path)


@pytest.mark.parametrize("name", BOMBS)
def test_chunks_as_they_should_be_are_read(tmp_path: Path, name: str) -> None:
    voxels = np.random.default_rng(0).integers(0, 9, (8, 8, 8)).astype(np.uint8)
    codec = numcodecs.get_codec({"id": name})
    filters = [numcodecs.Delta("u1"), numcodecs.AsType("f8", "u1"), numcodecs.CRC32()]
    zarr.save_array(str(tmp_path / "a.zarr"), voxels, compressor=codec, filters=filters)
    header = inspect(str(tmp_path / "a.zarr"))
    assert np.array_equal(header.source.read((slice(0, 8),) * 3), voxels)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("zstd", b"\x28\xb5\x2f\xfd\xe0" + (2**40).to_bytes(8, "little") + b"\x01\0\0"),
        ("lz4", (2**31 - 1).to_bytes(4, "little") + b"\x10\0"),
        ("blosc", b"\x02\x01\x01\x01" + struct.pack("<3I", 2**31 - 1, 2**31 - 1, 16)),
    ],
)
def test_a_chunk_that_claims_a_size_gets_none(tmp_path: Path, name: str, data: bytes) -> None:
    path = write_array(tmp_path / "a.zarr", compressor={"id": name})
    (path / "0.0.0").write_bytes(data)
    with little_memory(), pytest.raises(FormatError, match="it would unpack to"):
        read_all(path)


def test_a_zstd_frame_that_does_not_say_its_size_is_bounded_by_its_blocks(tmp_path: Path) -> None:
    path = write_array(tmp_path / "a.zarr", compressor={"id": "zstd"})
    block = b"\x02\0\x10" + b"\0"  # repeats one byte 128 KiB times
    (path / "0.0.0").write_bytes(b"\x28\xb5\x2f\xfd\x00\x58" + block * 100_000)
    with little_memory(), pytest.raises(FormatError, match="it would unpack to"):
        read_all(path)


@pytest.mark.parametrize(
    "codec",
    [
        {"id": "pickle", "protocol": 5},
        {"id": "json2"},
        {"id": "vlen-utf8"},
        {"id": "astype", "encode_dtype": "u1", "decode_dtype": "S1000000000"},
        {"id": "delta", "dtype": "O"},
    ],
)
@pytest.mark.parametrize("place", ["compressor", "filters"])
def test_codecs_that_do_more_than_numbers_are_refused(
    tmp_path: Path, codec: dict[str, Any], place: str
) -> None:
    value = codec if place == "compressor" else [codec]
    path = write_array(tmp_path / "a.zarr", **{place: value})
    with pytest.raises(FormatError, match=r"is not among those|is no number"):
        inspect(str(path))


def test_an_attribute_that_is_too_long_to_matter_is_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file["data"] = np.zeros((4, 5, 6), np.uint8)
        file["data"].attrs["axes"] = np.zeros(2**25, np.uint8)
        file["data"].attrs["voxel_size_angstrom"] = 10.0
    with little_memory():
        assert inspect(tmp_path / "a.h5").voxel_size == (10.0, 10.0, 10.0)
