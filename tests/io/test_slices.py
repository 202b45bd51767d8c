from __future__ import annotations

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from volproc.core.errors import AddressError, FormatError, MissingFileError
from volproc.core.types import whole
from volproc.io.create import create
from volproc.io.file_names import natural_key
from volproc.io.formats import Header, Selection, find_format
from volproc.io.open import inspect, open_
from volproc.io.slices import NUM_CHECKED, Slices, find_slices
from volproc.testing.readers import OpenSource, ReaderTests

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "images2d" / "dsb2018"


def ramp(shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8) -> npt.NDArray[Any]:
    return np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)


def save(path: Path, plane: npt.NDArray[Any]) -> None:
    if path.suffix == ".npy":
        np.save(path, plane)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, plane, photometric="minisblack")
    elif path.suffix == ".mrc":
        with mrcfile.new(path) as file:
            file.set_data(plane.astype(np.int16))
            file.voxel_size = 5.0
    else:
        Image.fromarray(plane).save(path)


def fill(folder: Path, voxels: npt.NDArray[Any], ending: str, name: str = "slice_{}") -> Path:
    folder.mkdir(exist_ok=True)
    for z, plane in enumerate(voxels):
        save(folder / (name.format(z) + ending), plane)
    return folder


def read_header(address: Path | str, **selection: Any) -> Header:
    return Slices().read_header(str(address), Selection(**selection))


def voxels_of(header: Header) -> npt.NDArray[Any]:
    return header.source.read(whole(header.source.shape))


class TestFolders(ReaderTests):
    head_bytes = 2**19

    @pytest.fixture(params=[".png", ".tif", ".mrc", ".npy"])
    def open_source(self, request: pytest.FixtureRequest, tmp_path: Path) -> OpenSource:
        noise = np.random.default_rng(0).integers(0, 250, (13, 250, 310)).astype(np.uint8)
        folder = fill(tmp_path / "slices", noise, request.param)
        np.testing.assert_array_equal(voxels_of(read_header(folder)), noise)
        return lambda: read_header(folder).source


@pytest.mark.skipif(not DATA.exists(), reason="the shared files are not here")
class TestRealFolder(ReaderTests):
    @pytest.fixture
    def open_source(self) -> OpenSource:
        return lambda: read_header(DATA / "0bda5" / "masks").source


class TestSingleImage(ReaderTests):
    @pytest.fixture
    def open_source(self, tmp_path: Path) -> OpenSource:
        noise = np.random.default_rng(0).integers(0, 250, (600, 700)).astype(np.uint8)
        save(tmp_path / "a.png", noise)
        return lambda: read_header(tmp_path / "a.png").source


def test_slices_come_in_natural_order(tmp_path: Path) -> None:
    voxels = ramp((12, 3, 5))
    folder = fill(tmp_path / "slices", voxels, ".png")
    np.testing.assert_array_equal(voxels_of(read_header(folder)), voxels)
    assert sorted(["b1", "a10", "a9", "a09", "A8", "a"], key=natural_key) == [
        "a", "A8", "a09", "a9", "a10", "b1",
    ]  # fmt: skip


def test_a_pattern_takes_what_it_matches(tmp_path: Path) -> None:
    voxels = ramp((12, 3, 5))
    folder = fill(tmp_path / "slices", voxels, ".tif")
    fill(folder, voxels[:2], ".tif", name="other_{}")
    header = inspect(folder / "slice_*.tif")
    np.testing.assert_array_equal(voxels_of(header), voxels)
    header = inspect(f"{tmp_path}/s*/slice_?.tif")
    np.testing.assert_array_equal(voxels_of(header), voxels[:10])
    header = inspect(f"{tmp_path}/**/slice_1[01].tif")
    np.testing.assert_array_equal(voxels_of(header), voxels[10:])


def test_slices_in_folders_of_their_own_are_found_by_a_pattern(tmp_path: Path) -> None:
    voxels = ramp((11, 3, 5))
    for z, plane in enumerate(voxels):
        fill(tmp_path / f"z{z}", plane[np.newaxis], ".png", name="image")
    np.testing.assert_array_equal(voxels_of(inspect(f"{tmp_path}/z*/image.png")), voxels)


def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(tmp_path: Path) -> None:
    voxels = ramp((3, 4, 5))
    folder = fill(tmp_path / "run[1]", voxels, ".png")
    np.testing.assert_array_equal(voxels_of(inspect(folder)), voxels)


def test_other_files_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = fill(tmp_path / "slices", ramp((3, 4, 5)), ".png")
    (folder / "notes.txt").write_text("thickness 70 nm")
    (folder / ".hidden.png").write_text("no image")
    header = inspect(folder)
    assert header.source.shape == (3, 4, 5)
    assert any("2 files" in note for note in header.notes)


def test_missing_numbers_are_noted(tmp_path: Path) -> None:
    folder = fill(tmp_path / "slices", ramp((9, 4, 5)), ".png")
    (folder / "slice_4.png").unlink()
    assert any("the first is 4" in note for note in inspect(folder).notes)
    other = fill(tmp_path / "whole", ramp((9, 4, 5)), ".png")
    assert not any("missing" in note for note in inspect(other).notes)


def test_kinds_are_not_mixed(tmp_path: Path) -> None:
    folder = fill(tmp_path / "slices", ramp((3, 4, 5)), ".png")
    fill(folder, ramp((2, 4, 5)), ".tif")
    with pytest.raises(FormatError, match=r"several kinds \(3 of image, 2 of TIFF\)"):
        inspect(folder)


def test_a_folder_without_slices_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(MissingFileError, match="1 files, none of which"):
        inspect(tmp_path)
    with pytest.raises(MissingFileError, match="nothing matches"):
        inspect(tmp_path / "*.tif")
    with pytest.raises(MissingFileError, match="does not exist"):
        inspect(tmp_path / "no_such_folder")


@pytest.mark.parametrize("z", [1, 8])
def test_a_slice_of_another_size_is_named_when_opening(tmp_path: Path, z: int) -> None:
    folder = fill(tmp_path / "slices", ramp((9, 4, 5)), ".png")
    save(folder / f"slice_{z}.png", ramp((4, 6)))
    with pytest.raises(FormatError, match=rf"slice_{z}.png has shape \(4, 6\).*slice_0.png"):
        inspect(folder)


def test_of_many_slices_the_others_are_checked_when_they_are_read(tmp_path: Path) -> None:
    folder = fill(tmp_path / "slices", ramp((NUM_CHECKED + 5, 2, 3)), ".npy")
    save(folder / "slice_7.npy", ramp((4, 6)))
    header = inspect(folder)
    header.source.read((slice(0, 7), slice(0, 2), slice(0, 3)))
    with pytest.raises(FormatError, match=r"slice_7.npy has shape"):
        header.source.read((slice(0, 8), slice(0, 2), slice(0, 3)))


def test_volumes_are_no_slices(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", ramp((6, 4, 5)), photometric="minisblack")
    with pytest.raises(FormatError, match="is a volume of shape"):
        inspect(tmp_path)


def test_colours_are_selected_as_channels(tmp_path: Path) -> None:
    colours = ramp((2, 4, 5, 3))
    folder = fill(tmp_path / "slices", colours, ".png")
    with pytest.raises(AddressError, match=r"3 channels \(R, G, B\).*c=0"):
        inspect(folder)
    np.testing.assert_array_equal(voxels_of(inspect(folder, c=1)), colours[..., 1])


def test_the_distance_of_slices_has_to_be_given(tmp_path: Path) -> None:
    folder = fill(tmp_path / "slices", ramp((3, 4, 5)), ".mrc")
    header = inspect(folder)
    assert header.voxel_size is None
    assert any("they give 5 × 5 Å" in note for note in header.notes)
    volume = open_(folder, voxel_size=(700.0, 5.0, 5.0))
    assert volume.voxel_size == (700.0, 5.0, 5.0)
    assert volume.name == "slices"
    np.testing.assert_array_equal(volume.data.compute(), ramp((3, 4, 5)))


def test_writing_slices_is_refused_with_a_cure(tmp_path: Path) -> None:
    for name in ("out.png", "out_*.tif", "folder"):
        with pytest.raises(FormatError, match=r"one file: NAME.ome.zarr"):
            create(tmp_path / name, shape=(2, 3, 4), dtype=np.uint8, voxel_size=(1.0, 1.0, 1.0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("marker", [".zarray", ".zgroup", "zarr.json"])
def test_a_zarr_store_is_no_folder_of_slices(tmp_path: Path, marker: str) -> None:
    assert Slices().matches(str(tmp_path))
    (tmp_path / marker).write_text("{}")
    assert not Slices().matches(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(FormatError, match="no image"):
        inspect(tmp_path / "a.png")


def test_a_truncated_image_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    save(path, np.random.default_rng(0).integers(0, 250, (90, 90)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(FormatError, match="truncated"):
        voxels_of(inspect(path))


@pytest.mark.parametrize("dtype", ["u1", "u2", "?"])
def test_types_of_png_are_kept(tmp_path: Path, dtype: str) -> None:
    plane = (ramp((7, 11), np.int64) * 700 % 65536).astype(dtype)
    save(tmp_path / "a.png", plane)
    header = inspect(tmp_path / "a.png")
    assert header.source.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(voxels_of(header), plane)


@pytest.mark.skipif(not DATA.exists(), reason="the shared files are not here")
def test_real_masks_are_read_as_pillow_reads_them() -> None:
    folder = DATA / "abbff" / "masks"
    folder = folder if folder.exists() else DATA / "0bda5" / "masks"
    files, _ = find_slices(str(folder))
    expected = np.stack([np.asarray(Image.open(path)) for path in files])
    header = inspect(folder)
    assert isinstance(find_format(str(folder)), Slices)
    np.testing.assert_array_equal(voxels_of(header), expected)
