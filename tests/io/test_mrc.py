from __future__ import annotations

import bz2
import gzip
import struct
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.core.errors import AddressError, FormatError
from volproc.core.types import whole
from volproc.io.formats import Header, Selection
from volproc.io.mrc import Mrc
from volproc.testing.mrc_bytes import mrc_file, mrc_head, packed_file, ramp
from volproc.testing.readers import OpenSource, ReaderTests

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "tomograms"
REAL = (
    "EMD-3001.map",
    "EMD-3001.map.bz2",
    "EMD-3197.map",
    "emd_3197.map.gz",
    "mrc2D.mrc",
    "mrc3D.mrc",
    "rec3D.rec",
)
SHAPE = (5, 7, 11)


def read_header(path: Path, **selection: Any) -> Header:
    return Mrc().read_header(str(path), Selection(**selection))


def header_of(tmp_path: Path, content: bytes, name: str = "a.mrc", **selection: Any) -> Header:
    path = tmp_path / name
    path.write_bytes(content)
    return read_header(path, **selection)


def voxels_of(header: Header) -> npt.NDArray[Any]:
    return header.source.read(whole(header.source.shape))


@pytest.mark.skipif(not DATA.exists(), reason="the shared files are not here")
class TestRealFiles(ReaderTests):
    head_bytes = 2**18  # bzip2 is unpacked in blocks of 900 kB

    @pytest.fixture(params=REAL)
    def open_source(self, request: pytest.FixtureRequest) -> OpenSource:
        return lambda: read_header(DATA / request.param).source


class TestHandMadeFiles(ReaderTests):
    @pytest.fixture(params=["mode 2", "axes", "packed", "packed axes", "big", "gzip", "stack"])
    def open_source(self, request: pytest.FixtureRequest, tmp_path: Path) -> OpenSource:
        voxels = ramp((60, 70, 110), np.float32)
        path = tmp_path / "a.mrc"
        options: dict[str, Any] = {}
        match request.param:
            case "packed":
                content = packed_file(ramp((40, 70, 111), np.uint8) % 16)
            case "packed axes":
                content = packed_file(ramp((40, 70, 111), np.uint8) % 16, axes=(3, 1, 2))
            case "axes":
                content = mrc_file(voxels, 2, axes=(2, 3, 1))
            case "big":
                content = mrc_file(voxels, 2, order=">")
            case "gzip":
                content = gzip.compress(mrc_file(voxels, 2), 1)
            case "stack":
                content = mrc_file(voxels, 2, ispg=401, intervals=(110, 70, 20))
                options = {"t": 1}
            case _:
                content = mrc_file(voxels, 2)
        path.write_bytes(content)
        return lambda: read_header(path, **options).source


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("mode", "dtype"), [(0, "i1"), (1, "i2"), (2, "f4"), (6, "u2"), (12, "f2")]
)
def test_every_mode_is_read_in_both_byte_orders(
    tmp_path: Path, mode: int, dtype: str, order: str
) -> None:
    voxels = ramp(SHAPE, dtype)
    header = header_of(tmp_path, mrc_file(voxels, mode, order=order))
    assert header.source.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(voxels_of(header), voxels)
    assert header.voxel_size == (4.0, 3.0, 2.0)


@pytest.mark.parametrize("columns", [11, 12, 1])
def test_voxels_of_four_bits_are_unpacked(tmp_path: Path, columns: int) -> None:
    voxels = ramp((5, 7, columns), np.uint8) % 16
    header = header_of(tmp_path, packed_file(voxels))
    assert header.source.dtype == np.uint8
    np.testing.assert_array_equal(voxels_of(header), voxels)
    region = (slice(1, 3), slice(2, 5), slice(columns // 2, columns))
    np.testing.assert_array_equal(header.source.read(region), voxels[region])


def test_bytes_that_imod_says_hold_two_voxels_are_unpacked(tmp_path: Path) -> None:
    packed = ramp((5, 7, 6), np.uint8)
    header = header_of(tmp_path, mrc_file(packed, 0, imod_flags=16))
    assert header.source.shape == (5, 7, 12)
    voxels = voxels_of(header)
    np.testing.assert_array_equal(voxels[..., 0::2], packed & 15)
    np.testing.assert_array_equal(voxels[..., 1::2], packed >> 4)
    assert header.voxel_size == (4.0, 3.0, 2.0)


@given(
    axes=st.permutations([1, 2, 3]),
    sizes=st.tuples(*[st.integers(1, 6)] * 3),
    order=st.sampled_from("<>"),
    is_packed=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_any_axis_order_gives_z_y_x(
    tmp_path_factory: pytest.TempPathFactory,
    axes: list[int],
    sizes: tuple[int, int, int],
    order: str,
    is_packed: bool,
) -> None:
    volume = ramp(sizes, np.uint8) % 16  # (z, y, x)
    of_axis = {3: 0, 2: 1, 1: 2}
    in_file = volume.transpose(of_axis[axes[2]], of_axis[axes[1]], of_axis[axes[0]])
    starts = {1: 10, 2: 20, 3: 30}
    options: dict[str, Any] = {
        "axes": tuple(axes),
        "order": order,
        "start": tuple(starts[a] for a in axes),
    }
    content = (
        packed_file(in_file, **options)
        if is_packed
        else mrc_file(in_file.astype(np.int16), 1, **options)
    )
    header = header_of(tmp_path_factory.mktemp("axes"), content)
    expected = volume[0] if sizes[0] == 1 else volume
    np.testing.assert_array_equal(voxels_of(header), expected)
    ndim = expected.ndim
    assert header.voxel_size == (4.0, 3.0, 2.0)[-ndim:]
    assert header.origin == (30 * 4.0, 20 * 3.0, 10 * 2.0)[-ndim:]


@pytest.mark.parametrize("stamp", [b"\0\0\0\0", b"\x11\x11\0\0", b"\x44\x44\0\0", b"DA\0\0"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_wrong_or_missing_machine_stamp_does_no_harm(
    tmp_path: Path, order: str, stamp: bytes
) -> None:
    voxels = ramp((256, 3, 5), np.int16)
    header = header_of(tmp_path, mrc_file(voxels, 1, order=order, stamp=stamp))
    np.testing.assert_array_equal(voxels_of(header), voxels)
    is_right = {"<": 0x44, ">": 0x11}[order] == stamp[0]
    assert any("stamp" in note for note in header.notes) != is_right


def test_a_head_that_makes_sense_in_no_byte_order_is_refused(tmp_path: Path) -> None:
    content = b"\xff" * 12 + mrc_head((5, 6, 7), 2)[12:] + bytes(5000)
    with pytest.raises(FormatError, match=r"no MRC file.*little-endian.*big-endian"):
        header_of(tmp_path, content)


@pytest.mark.parametrize("content", [b"", b"short", b"# a text, not a volume\n" * 300])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(FormatError, match="MRC file"):
        header_of(tmp_path, content)


def test_an_empty_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="0 × 7 × 11"):
        header_of(tmp_path, mrc_head((11, 7, 0), 2) + bytes(100))


@pytest.mark.parametrize("kept", [1024, 1025, 1024 + 4 * 384])
def test_a_truncated_file_is_refused_with_both_numbers(tmp_path: Path, kept: int) -> None:
    content = mrc_file(ramp(SHAPE, np.float32), 2)
    assert len(content) == 2564
    with pytest.raises(FormatError, match=rf"truncated.*2564 bytes.*{kept}\."):
        header_of(tmp_path, content[:kept])


def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    content = mrc_head((2**25, 2**25, 2**25), 2) + bytes(100)
    with pytest.raises(FormatError, match="truncated"):
        header_of(tmp_path, content)
    with pytest.raises(FormatError, match="truncated"):
        header_of(tmp_path, gzip.compress(content))


def test_bytes_behind_the_last_voxel_are_noted(tmp_path: Path) -> None:
    voxels = ramp(SHAPE, np.float32)
    header = header_of(tmp_path, mrc_file(voxels, 2) + b"tail")
    assert any("4 bytes follow" in note for note in header.notes)
    np.testing.assert_array_equal(voxels_of(header), voxels)


@pytest.mark.parametrize("mode", [3, 4, 16, 7, 500])
def test_modes_that_make_no_volume_are_refused_with_a_cure(tmp_path: Path, mode: int) -> None:
    with pytest.raises(FormatError, match=rf"mode {mode} .*0, 1, 2, 6, 12, 101 can be read"):
        header_of(tmp_path, mrc_head((4, 5, 6), mode) + bytes(10**4))


@pytest.mark.parametrize(
    ("flags", "statistics", "is_signed"),
    [
        (0, (-100.0, 100.0, 0.0), False),  # IMOD's flag goes before the statistics
        (1, (0.0, 255.0, 130.0), True),
        (None, (141.0, 163.0, 152.5), False),
        (None, (0.0, 200.0, 3.0), False),
        (None, (-128.0, 127.0, 0.0), True),
        (None, (0.0, -1.0, -2.0), True),
        (None, (float("nan"),) * 3, True),
        (None, (0.0, 0.0, 140.0), False),
    ],
)
def test_bytes_are_signed_by_flag_then_statistics_then_standard(
    tmp_path: Path, flags: int | None, statistics: tuple[float, float, float], is_signed: bool
) -> None:
    raw = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    header = header_of(tmp_path, mrc_file(raw, 0, imod_flags=flags, statistics=statistics))
    expected = raw.view(np.int8) if is_signed else raw
    assert header.source.dtype == expected.dtype
    np.testing.assert_array_equal(voxels_of(header), expected)
    assert any(note.startswith("mode 0:") for note in header.notes)


@pytest.mark.parametrize("order", ["<", ">"])
def test_extended_heads_are_skipped(tmp_path: Path, order: str) -> None:
    voxels = ramp(SHAPE, np.float32)
    content = mrc_file(voxels, 2, order=order, extended=768 * 5 + 3, extended_type=b"SERI")
    header = header_of(tmp_path, content)
    np.testing.assert_array_equal(voxels_of(header), voxels)
    assert header.details["extended_header"] == "3843 bytes, SERI"


@pytest.mark.parametrize("kind", [b"FEI1", b"FEI2"])
def test_a_micrograph_takes_its_pixel_size_from_an_extended_head(
    tmp_path: Path, kind: bytes
) -> None:
    size = {b"FEI1": 768, b"FEI2": 888}[kind]
    extended = bytearray(size)
    struct.pack_into("<i", extended, 0, size)
    struct.pack_into("<2d", extended, 156, 1.35e-10, 1.36e-10)  # metres, x and y
    voxels = ramp((1, 7, 11), np.float32)
    options: dict[str, Any] = {"extended": size, "extended_type": kind, "voxel": (0.0, 0.0, 0.0)}
    content = bytearray(mrc_file(voxels, 2, **options))
    content[1024 : 1024 + size] = extended
    header = header_of(tmp_path, bytes(content))
    assert header.voxel_size == (1.36, 1.35)
    assert any("extended head" in note for note in header.notes)


@pytest.mark.parametrize("size", [0.0, -1.0, float("inf"), float("nan")])
def test_an_impossible_voxel_size_is_none_and_noted(tmp_path: Path, size: float) -> None:
    voxels = ramp(SHAPE, np.float32)
    header = header_of(tmp_path, mrc_file(voxels, 2, voxel=(2.0, 3.0, size)))
    assert header.voxel_size is None
    assert any("along z" in note for note in header.notes)
    header = header_of(tmp_path, mrc_file(voxels, 2, intervals=(11, 0, 5)))
    assert header.voxel_size is None
    assert any("along y" in note for note in header.notes)
    flat = header_of(tmp_path, mrc_file(voxels[:1], 2, voxel=(2.0, 3.0, size)))
    assert flat.source.shape == (7, 11)
    assert flat.voxel_size == (3.0, 2.0)


def test_the_origin_goes_before_the_start(tmp_path: Path) -> None:
    voxels = ramp(SHAPE, np.float32)
    common: dict[str, Any] = {"start": (-3, 5, 7)}
    assert header_of(tmp_path, mrc_file(voxels, 2, **common)).origin == (28.0, 15.0, -6.0)
    common["origin"] = (100.0, 0.0, -9.0)
    assert header_of(tmp_path, mrc_file(voxels, 2, **common)).origin == (-9.0, 0.0, 100.0)
    imod = mrc_file(voxels, 2, imod_flags=0, **common)
    assert header_of(tmp_path, imod).origin == (9.0, 0.0, -100.0)
    imod = mrc_file(voxels, 2, imod_flags=4, **common)
    assert header_of(tmp_path, imod).origin == (-9.0, 0.0, 100.0)
    old = mrc_file(voxels, 2, map_id=b"\0\0\x91E", **common)
    assert header_of(tmp_path, old).origin == (28.0, 15.0, -6.0)


def test_volumes_in_one_file_are_told_apart_by_t(tmp_path: Path) -> None:
    voxels = ramp((6, 7, 11), np.float32)
    content = mrc_file(voxels, 2, ispg=401, intervals=(11, 7, 2))
    for t in range(3):
        header = header_of(tmp_path, content, t=t)
        np.testing.assert_array_equal(voxels_of(header), voxels[2 * t : 2 * t + 2])
    with pytest.raises(AddressError, match=r"holds 3 volumes.*t=0"):
        header_of(tmp_path, content)
    with pytest.raises(AddressError, match="no t=3"):
        header_of(tmp_path, content, t=3)


@pytest.mark.parametrize("ispg", [0, 1, 4])
def test_image_stacks_and_crystals_are_volumes(tmp_path: Path, ispg: int) -> None:
    voxels = ramp(SHAPE, np.int16)
    header = header_of(tmp_path, mrc_file(voxels, 1, ispg=ispg, intervals=(11, 7, 1)))
    np.testing.assert_array_equal(voxels_of(header), voxels)
    assert header.voxel_size == (4.0, 3.0, 2.0)
    assert header.details["kind"] == ("image stack" if ispg == 0 else "volume")


@pytest.mark.parametrize("selection", [{"t": 1}, {"c": 1}, {"level": 1}, {"dataset": "raw"}])
def test_what_a_plain_file_does_not_hold_cannot_be_selected(
    tmp_path: Path, selection: dict[str, Any]
) -> None:
    with pytest.raises(AddressError):
        header_of(tmp_path, mrc_file(ramp(SHAPE, np.int16), 1), **selection)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_a_truncated_compressed_file_is_refused_when_it_is_read(
    tmp_path: Path, compress: Any
) -> None:
    noise = np.random.default_rng(0).random((20, 40, 50)).astype(np.float32)
    whole_file = mrc_file(noise, 2)
    header = header_of(tmp_path, compress(whole_file), "a.mrc.gz")
    np.testing.assert_array_equal(voxels_of(header), noise)
    for content in (compress(whole_file)[:-9000], compress(whole_file[:-900])):
        # A cut block of bzip2 shows at once, a cut stream of gzip where it ends.
        with pytest.raises(FormatError, match="truncated"):
            voxels_of(header_of(tmp_path, content, "b.mrc.gz"))


def test_the_name_has_no_endings(tmp_path: Path) -> None:
    content = mrc_file(ramp(SHAPE, np.int16), 1)
    assert header_of(tmp_path, content, "TS_01_7.84Apx.rec").name == "TS_01_7.84Apx"
    assert header_of(tmp_path, gzip.compress(content), "emd_1.map.gz").name == "emd_1"
    assert all(Mrc().matches(f"X{ending}.GZ") for ending in (".MRC", ".st", ".rec", ".map"))


@pytest.mark.skipif(not DATA.exists(), reason="the shared files are not here")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # mrcfile's, of files without MAP
@pytest.mark.parametrize("name", REAL)
def test_real_files_are_read_as_mrcfile_reads_them(name: str) -> None:
    header = read_header(DATA / name)
    with mrcfile.open(DATA / name, permissive=True) as file:
        data, head = file.data, file.header
        columns, rows, sections = int(head.mapc), int(head.mapr), int(head.maps)
        if data.ndim == 3:
            of_axis = {sections: 0, rows: 1, columns: 2}
            data = data.transpose(of_axis[3], of_axis[2], of_axis[1])
        size = file.voxel_size
    if header.source.dtype == np.uint8:
        data = data.view(np.uint8)
    np.testing.assert_array_equal(voxels_of(header), data)
    expected = (size.z, size.y, size.x)[-data.ndim :]
    np.testing.assert_allclose(header.voxel_size, expected, rtol=1e-6)


@pytest.mark.skipif(not DATA.exists(), reason="the shared files are not here")
def test_one_imod_tomogram_in_three_formats_is_the_same() -> None:
    import tifffile

    stack = tifffile.imread(DATA / "tif3D.tif")
    for name in ("mrc3D.mrc", "rec3D.rec"):
        header = read_header(DATA / name)
        np.testing.assert_array_equal(voxels_of(header), stack)
        np.testing.assert_allclose(header.voxel_size, 23.2, rtol=1e-5)
    assert read_header(DATA / "EMD-3197.map").origin == (0.0, 0.0, -22.8)
    assert read_header(DATA / "EMD-3001.map").source.shape == (73, 25, 43)
