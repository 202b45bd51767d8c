from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from volproc.core.errors import AddressError, FormatError
from volproc.core.types import whole
from volproc.io.formats import Header, Selection
from volproc.io.mapped import MappedSource
from volproc.io.tiff import Tiff
from volproc.io.tiff_pages import PageSource
from volproc.testing.readers import OpenSource, ReaderTests

DATA = Path(__file__).parents[2].parent / "shared" / "data"
REAL = sorted(p.relative_to(DATA).as_posix() for p in DATA.glob("*/*.tif*"))
SHAPE = (5, 7, 11)


def read_header(path: Path, **selection: Any) -> Header:
    return Tiff().read_header(str(path), Selection(**selection))


def voxels_of(header: Header) -> npt.NDArray[Any]:
    return header.source.read(whole(header.source.shape))


def ramp(shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint16) -> npt.NDArray[Any]:
    return np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)


@pytest.mark.skipif(not REAL, reason="the shared files are not here")
class TestRealFiles(ReaderTests):
    head_bytes = 2**20  # tifffile makes objects of the tags of every page

    @pytest.fixture(params=REAL or [""])
    def open_source(self, request: pytest.FixtureRequest) -> OpenSource:
        return lambda: read_header(DATA / request.param).source


KINDS: dict[str, dict[str, Any]] = {
    "mapped": {},
    "ImageJ": {"imagej": True},
    "big-endian": {"byteorder": ">", "compression": "zlib"},
    "lzw": {"compression": "lzw", "predictor": True},
    "deflate strips": {"compression": "zlib", "rowsperstrip": 9},
    "zstd tiles": {"compression": "zstd", "tile": (32, 48)},
    "raw tiles": {"tile": (32, 48), "bigtiff": True},
    "OME": {"ome": True, "metadata": {"axes": "ZYX"}, "compression": "zlib"},
    "jpeg": {"compression": "jpeg", "tile": (32, 32)},
}


class TestKinds(ReaderTests):
    head_bytes = 2**20

    @pytest.fixture(params=sorted(KINDS))
    def open_source(self, request: pytest.FixtureRequest, tmp_path: Path) -> OpenSource:
        path = tmp_path / "a.tif"
        dtype = np.uint8 if request.param == "jpeg" else np.uint16
        voxels = np.random.default_rng(0).integers(0, 250, (30, 150, 331)).astype(dtype)
        tifffile.imwrite(path, voxels, **KINDS[request.param])
        if request.param != "jpeg":
            np.testing.assert_array_equal(voxels_of(read_header(path)), voxels)
        return lambda: read_header(path).source


@pytest.mark.skipif(not REAL, reason="the shared files are not here")
@pytest.mark.parametrize("name", REAL)
def test_real_files_are_read_as_tifffile_reads_them(name: str) -> None:
    header = read_header(DATA / name)
    voxels = tifffile.imread(DATA / name)
    assert header.source.dtype == voxels.dtype
    np.testing.assert_array_equal(voxels_of(header), voxels)


@pytest.mark.skipif(not REAL, reason="the shared files are not here")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tomograms/13pf_MT.tif", (10.52, 10.52, 10.52)),
        ("tomograms/3_0_25_54_25.tif", None),
        ("tomograms/tif3D.tif", None),
        ("images2d/xy_8bit__em_mitochondria_er.tif", (80.0, 80.0)),
        ("images2d/img2d.tif", None),
        ("microscopy/rgb_3D_0.tiff", (1e4, 1e4, 1e4)),
        ("microscopy/xyz_8bit__mitotic_plate_calibrated.tif", (3e4, 851.9643, 851.9643)),
        ("microscopy/xyz_8bit__mitotic_plate_badZcalibrated.tif", None),
        ("microscopy/xyz_8bit__nuclei_autothresh.tif", (4e4, 8286.432, 8286.432)),
    ],
)
def test_voxel_sizes_of_real_files(name: str, expected: tuple[float, ...] | None) -> None:
    header = read_header(DATA / name)
    if expected is None:
        assert header.voxel_size is None
        assert any("no usable voxel size" in note for note in header.notes)
    else:
        assert header.voxel_size == pytest.approx(expected, rel=1e-6)


@given(
    # tifffile takes a last axis of length 1 for samples when it writes.
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(2, 5)),
    kind=st.sampled_from(["plain", "ImageJ", "OME", "pages"]),
    compression=st.sampled_from([None, "zlib"]),
)
@settings(max_examples=60, deadline=None)
def test_any_shape_keeps_its_axes(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, int, int],
    kind: str,
    compression: str | None,
) -> None:
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    voxels = ramp(shape)
    options: dict[str, Any] = {
        "plain": {},
        "ImageJ": {"imagej": True, "metadata": {"axes": "ZYX"}},
        "OME": {"ome": True, "metadata": {"axes": "ZYX"}},
        "pages": {"metadata": None},
    }[kind]
    tifffile.imwrite(path, voxels, photometric="minisblack", compression=compression, **options)
    expected = voxels[0] if shape[0] == 1 else voxels
    np.testing.assert_array_equal(voxels_of(read_header(path)), expected)


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_time_points_and_channels_are_selected(
    tmp_path: Path, options: dict[str, Any], compression: str | None
) -> None:
    path = tmp_path / "a.tif"
    voxels = ramp((2, 4, 3, 6, 7))
    tifffile.imwrite(path, voxels, metadata={"axes": "TZCYX"}, compression=compression, **options)
    for t in range(2):
        for c in range(3):
            header = read_header(path, t=t, c=c)
            np.testing.assert_array_equal(voxels_of(header), voxels[t, :, c])
            region = (slice(1, 3), slice(2, 6), slice(0, 5))
            np.testing.assert_array_equal(header.source.read(region), voxels[t, :, c][region])
    with pytest.raises(AddressError, match=r"2 time points.*t=0 … t=1"):
        read_header(path, c=0)
    with pytest.raises(AddressError, match=r"3 channels.*c=0 … c=2"):
        read_header(path, t=0)
    with pytest.raises(AddressError, match="no c=3: it holds 3 channels"):
        read_header(path, t=0, c=3)
    assert read_header(path, t=0, c=0).source.identity() != (
        read_header(path, t=0, c=1).source.identity()
    )


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_colours_are_selected_as_channels(
    tmp_path: Path, planarconfig: str, compression: str | None
) -> None:
    path = tmp_path / "a.tif"
    colour_last = planarconfig == "contig"
    voxels = ramp((4, 6, 7, 3) if colour_last else (4, 3, 6, 7), np.uint8)
    tifffile.imwrite(
        path, voxels, photometric="rgb", planarconfig=planarconfig, compression=compression
    )
    with pytest.raises(AddressError, match=r"3 samples per pixel.*c=0"):
        read_header(path)
    for c in range(3):
        expected = voxels[..., c] if colour_last else voxels[:, c]
        np.testing.assert_array_equal(voxels_of(read_header(path, c=c)), expected)


def test_a_single_colour_image_is_a_micrograph(tmp_path: Path) -> None:
    voxels = ramp((6, 7, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", voxels, photometric="rgb")
    np.testing.assert_array_equal(voxels_of(read_header(tmp_path / "a.tif", c=1)), voxels[..., 1])


def test_too_many_channels_for_imagej_are_slices(tmp_path: Path) -> None:
    voxels = ramp((9, 6, 7))
    tifffile.imwrite(tmp_path / "a.tif", voxels, imagej=True)
    header = read_header(tmp_path / "a.tif")
    np.testing.assert_array_equal(voxels_of(header), voxels)
    assert any("calls its 9 slices channels" in note for note in header.notes)
    np.testing.assert_array_equal(voxels_of(read_header(tmp_path / "a.tif", c=2)), voxels[2])
    tifffile.imwrite(tmp_path / "a.tif", voxels[:8], imagej=True)
    with pytest.raises(AddressError, match="8 channels"):
        read_header(tmp_path / "a.tif")


def test_frames_of_pillow_are_slices(tmp_path: Path) -> None:
    voxels = ramp(SHAPE, np.uint8)
    first, *others = [Image.fromarray(v) for v in voxels]
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    header = read_header(tmp_path / "a.tif")
    np.testing.assert_array_equal(voxels_of(header), voxels)
    assert any("read as z" in note for note in header.notes)


def test_black_and_white_pages_are_read(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).random((7, 11)) > 0.5
    Image.fromarray(voxels).save(tmp_path / "a.tif", compression="group4")
    np.testing.assert_array_equal(voxels_of(read_header(tmp_path / "a.tif")), voxels)


def test_levels_of_a_pyramid_are_selected(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    fine = ramp((6, 64, 80))
    coarse = fine[:, ::2, ::2]
    metadata = {"axes": "ZYX"}
    for letter, size in (("X", 10.0), ("Y", 10.0), ("Z", 50.0)):
        metadata[f"PhysicalSize{letter}"] = size  # type: ignore[assignment]
        metadata[f"PhysicalSize{letter}Unit"] = "nm"
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(fine, subifds=1, tile=(32, 32), metadata=metadata)
        writer.write(coarse, subfiletype=1, tile=(32, 32))
    header = read_header(path)
    np.testing.assert_array_equal(voxels_of(header), fine)
    assert header.voxel_size == (500.0, 100.0, 100.0)
    header = read_header(path, level=1)
    np.testing.assert_array_equal(voxels_of(header), coarse)
    assert header.voxel_size == (500.0, 200.0, 200.0)
    with pytest.raises(AddressError, match="no level=2"):
        read_header(path, level=2)


def test_positions_of_a_plate_are_selected_as_data_sets(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    voxels = ramp((2, *SHAPE))
    with tifffile.TiffWriter(path, ome=True) as writer:
        for position in voxels:
            writer.write(position, metadata={"axes": "ZYX"})
    for index in range(2):
        header = read_header(path, dataset=str(index))
        np.testing.assert_array_equal(voxels_of(header), voxels[index])
    with pytest.raises(AddressError, match=r"2 images of one size.*dataset=0"):
        read_header(path)
    for name in ("2", "raw"):
        with pytest.raises(AddressError, match=r"0 to 1|0 … 1"):
            read_header(path, dataset=name)


def test_an_ome_image_in_several_files_is_read_as_one(tmp_path: Path) -> None:
    voxels = ramp((2, 6, 7))
    names = ["a_0.ome.tif", "a_1.ome.tif"]
    uuids = [f"urn:uuid:0000000{i}-0000-0000-0000-000000000000" for i in range(2)]
    blocks = "".join(
        f'<TiffData FirstZ="{z}" FirstC="0" FirstT="0" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{names[z]}">{uuids[z]}</UUID></TiffData>'
        for z in range(2)
    )
    for z in range(2):
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/'
            f'Schemas/OME/2016-06" UUID="{uuids[z]}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
            'DimensionOrder="XYZCT" Type="uint16" SizeX="7" SizeY="6" SizeZ="2" SizeC="1" '
            'SizeT="1" PhysicalSizeX="0.5" PhysicalSizeY="0.5" PhysicalSizeZ="2">'
            f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{blocks}</Pixels></Image></OME>'
        )
        tifffile.imwrite(tmp_path / names[z], voxels[z], description=xml, metadata=None)
    header = read_header(tmp_path / names[0])
    assert header.voxel_size == (2e4, 5e3, 5e3)
    np.testing.assert_array_equal(voxels_of(header), voxels)


@pytest.mark.parametrize("cut", [0.0, 0.001, 0.02, 0.3, 0.6, 0.97, 0.999])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"imagej": True},
        {"imagej": True, "compression": "zlib"},
        {"compression": "lzw"},
        {"ome": True},
        {"ome": True, "compression": "lzw", "bigtiff": True},
        {"metadata": None, "compression": "zlib", "byteorder": ">"},
    ],
)
def test_a_truncated_file_is_refused(tmp_path: Path, options: dict[str, Any], cut: float) -> None:
    path = tmp_path / "a.tif"
    voxels = np.random.default_rng(0).integers(0, 255, (12, 60, 70)).astype(np.uint8)
    tifffile.imwrite(path, voxels, **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * cut)])
    with pytest.raises(FormatError, match=r"truncated|damaged|no TIFF"):
        voxels_of(read_header(path))


def test_damage_inside_of_compressed_data_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, ramp(SHAPE), compression="zlib")
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages[3].dataoffsets[0], tif.pages[3].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = b"\xff" * count
    path.write_bytes(content)
    header = read_header(path)
    header.source.read((slice(0, 3), slice(0, 7), slice(0, 11)))
    with pytest.raises(FormatError, match="damaged: segment 0"):
        voxels_of(header)


def test_a_changed_file_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for options in ({}, {"compression": "zlib"}):
        tifffile.imwrite(path, ramp(SHAPE), **options)
        before = read_header(path)
        np.testing.assert_array_equal(voxels_of(before), ramp(SHAPE))
        tifffile.imwrite(path, ramp(SHAPE) + 1, **options)
        after = read_header(path)
        assert after.source.identity() != before.source.identity()
        np.testing.assert_array_equal(voxels_of(after), ramp(SHAPE) + 1)


def test_voxels_in_one_piece_are_mapped_and_others_decoded_by_segment(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", ramp((6, 64, 96)), imagej=True, metadata={"axes": "ZYX"})
    assert isinstance(read_header(tmp_path / "a.tif").source, MappedSource)
    tifffile.imwrite(tmp_path / "b.tif", ramp((6, 64, 96)), compression="zlib", tile=(16, 32))
    source = read_header(tmp_path / "b.tif").source
    assert isinstance(source, PageSource)
    assert source.chunks == (1, 16, 32)


def test_complex_voxels_and_other_axes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, ramp((6, 7), np.complex64))
    with pytest.raises(FormatError, match="complex64"):
        read_header(path)
    tifffile.imwrite(path, ramp((2, 3, 4, 6, 7)), photometric="minisblack")
    with pytest.raises(FormatError, match=r"only z, y, x, t \(time\) and c"):
        read_header(path, t=0)


def test_a_file_made_byte_by_byte_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    voxels = ramp((7, 11), np.uint16)
    for order, magic in (("<", b"II"), (">", b"MM")):
        data = voxels.astype(order + "u2").tobytes()
        tags = [
            (256, 3, 1, 11), (257, 3, 1, 7), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1),
            (273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 7), (279, 4, 1, len(data)),
            (282, 5, 1, 8 + len(data)), (283, 5, 1, 16 + len(data)), (296, 3, 1, 3),
        ]  # fmt: skip
        content = magic + struct.pack(order + "HI", 42, 24 + len(data)) + data
        # 2e8 and 4e8 pixels per cm: 0.5 and 0.25 Å.
        content += struct.pack(order + "4I", 200_000_000, 1, 400_000_000, 1)
        content += struct.pack(order + "H", len(tags))
        for tag, kind, count, value in tags:
            form = "HHIHxx" if kind == 3 else "HHII"
            content += struct.pack(order + form, tag, kind, count, value)
        path.write_bytes(content + bytes(4))
        header = read_header(path)
        np.testing.assert_array_equal(voxels_of(header), voxels)
        assert header.voxel_size == (0.25, 0.5)
        path.write_bytes(content[:100])
        with pytest.raises(FormatError, match="truncated"):
            read_header(path)


def test_data_beyond_the_end_are_found_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    noise = np.random.default_rng(0).integers(0, 255, (3, 60, 70)).astype(np.uint8)
    tifffile.imwrite(path, noise, compression="zlib", metadata=None, photometric="minisblack")
    with tifffile.TiffFile(path) as tif:
        last = tif.pages[-1]
        end = last.dataoffsets[0] + last.databytecounts[0]
    path.write_bytes(path.read_bytes()[: end - 1])
    with pytest.raises(FormatError, match=rf"page 3 needs {end} bytes, the file has {end - 1}"):
        read_header(path)
