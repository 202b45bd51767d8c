from __future__ import annotations

import logging
import os
from pathlib import Path
from threading import Event, Thread
from typing import Any

import dask
import numpy as np
import pytest
import tifffile
import zarr

from volproc.core.errors import (
    AddressError,
    ExistsError,
    FormatError,
    MissingFileError,
    ShapeError,
    VolprocError,
    VoxelSizeError,
)
from volproc.io.create import create, move_into_place, partial_path, write_whole
from volproc.io.formats import find_format
from volproc.io.open import inspect, open_
from volproc.testing.mrc_bytes import mrc_file, mrc_head, ramp

SHAPE = (5, 7, 11)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A volume whose voxels are 4, 3, 2 Å along z, y, x."""
    file = tmp_path / "tomogram.mrc"
    file.write_bytes(mrc_file(ramp(SHAPE, np.float32), 2))
    return file


def test_opening_gives_a_lazy_volume_in_its_frame(path: Path) -> None:
    volume = open_(path)
    assert volume.shape == SHAPE
    assert volume.voxel_size == (4.0, 3.0, 2.0)
    assert volume.name == "tomogram"
    assert volume.address == str(path)
    assert volume.source is not None
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(volume.data.compute(), ramp(SHAPE, np.float32))
    assert open_(str(path), chunks=(2, 3, 4)).data.chunksize == (2, 3, 4)


def test_a_given_voxel_size_supplies_a_missing_one(tmp_path: Path) -> None:
    file = tmp_path / "a.mrc"
    file.write_bytes(mrc_file(ramp(SHAPE, np.float32), 2, voxel=(2.0, 3.0, 0.0)))
    with pytest.raises(VoxelSizeError, match=r"along z: the cell is 0 Å.*--voxel-size"):
        open_(file)
    assert open_(file, voxel_size=7.84).voxel_size == (7.84, 7.84, 7.84)
    assert open_(file, voxel_size=(1.0, 2.0, 3.0)).voxel_size == (1.0, 2.0, 3.0)


def test_a_given_voxel_size_overrides_with_a_warning_or_is_refused(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert open_(path, voxel_size=10.0).voxel_size == (10.0, 10.0, 10.0)
    assert "10 × 10 × 10 Å is used" in caplog.text
    with pytest.raises(VoxelSizeError, match=r"4 × 3 × 2 Å.*10 × 10 × 10"):
        open_(path, voxel_size=10.0, on_conflict="error")


def test_a_voxel_size_within_one_per_cent_is_no_conflict(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        open_(path, voxel_size=(4.03, 3.0, 2.0), on_conflict="error")
    assert caplog.text == ""


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf"), (1.0, 2.0)])
def test_an_impossible_voxel_size_is_refused(path: Path, size: Any) -> None:
    with pytest.raises(VoxelSizeError):
        open_(path, voxel_size=size)


def test_a_link_to_nothing_says_where_it_leads(path: Path) -> None:
    link = path.with_name("tomogran.mrc")
    link.symlink_to("elsewhere.mrc")
    with pytest.raises(MissingFileError, match=r"does not exist\. It is a link to elsewhere"):
        open_(link)


def test_a_path_that_does_not_exist_names_its_nearest_sibling(path: Path) -> None:
    with pytest.raises(MissingFileError, match=r'Did you mean ".*tomogram.mrc"'):
        open_(path.with_name("tomogrm.mrc"))
    with pytest.raises(MissingFileError, match="Check the path"):
        open_(path.parent / "no" / "such" / "folder.mrc")
    with pytest.raises(FileNotFoundError):
        inspect(path.with_name("x.tif"))


def test_an_unknown_ending_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("")
    with pytest.raises(AddressError, match=r"\.mrc.*\.tif"):
        open_(tmp_path / "a.xyz")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.MRC", "MRC"),
        ("a.rec.gz", "MRC"),
        ("a.st", "MRC"),
        ("a.ome.TIF", "TIFF"),
        ("a.tiff", "TIFF"),
        ("a.npy", "NumPy"),
        ("a.png", "slices"),
        ("a_*.tif", "slices"),
        ("folder", "slices"),
    ],
)
def test_endings_choose_the_format(tmp_path: Path, name: str, expected: str) -> None:
    assert find_format(str(tmp_path / name)).name == expected


def test_a_pattern_is_no_single_file(tmp_path: Path) -> None:
    for z in range(3):
        tifffile.imwrite(tmp_path / f"a_{z}.tif", ramp((4, 5), np.uint8))
    assert inspect(tmp_path / "a_*.tif").source.shape == (3, 4, 5)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.mrc", b""),
        ("a.mrc", mrc_head((11, 7, 5), 2)),
        ("a.mrc.gz", b"no gzip"),
        ("a.mrc.gz", b"\x1f\x8b" + b"broken" * 9),
        ("a.mrc.bz2", b"BZh9" + b"broken" * 300),
        ("a.tif", b"II*\0"),
        ("a.tif", b"MM\0*\0\0\0\x08\0\x01"),
        ("a.npy", b"\x93NUMPY"),
        ("a.png", b"\x89PNG\r\n\x1a\n"),
    ],
)
def test_every_damaged_file_ends_in_one_clear_error(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=name):
        open_(tmp_path / name, voxel_size=1.0)


@pytest.mark.parametrize("name", ["a.mrc", "a.tif", "a.npy"])
def test_a_folder_with_the_ending_of_a_file_is_a_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(VolprocError, match=name):
        open_(tmp_path / name, voxel_size=1.0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("name", ["a.mrc", "a.zarr", "a.tif", "a.h5", "a.npy"])
def test_a_pipe_is_refused_at_once(tmp_path: Path, name: str) -> None:
    """Whoever opens it waits for a writer, and the other volumes of a dataset would too."""
    pipe = tmp_path / name
    os.mkfifo(pipe)
    is_over = Event()

    def write_nothing() -> None:
        while not is_over.is_set():  # so that a reader fails here, and does not wait for ever
            pipe.open("wb").close()

    writer = Thread(target=write_nothing)
    writer.start()
    try:
        with pytest.raises(AddressError, match="is a pipe, a socket or a device"):
            open_(pipe)
    finally:
        is_over.set()
        while writer.is_alive():  # it may look before this, and open the pipe after it
            os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
            writer.join(0.05)


@pytest.mark.parametrize("name", ["a.mrc", "a.rec.gz", "a.tif", "a.ome.tif", "a.npy"])
def test_what_is_created_opens_again(tmp_path: Path, name: str) -> None:
    voxels = ramp(SHAPE, np.float32)
    sink = create(tmp_path / name, shape=SHAPE, dtype=np.float32, voxel_size=(7.84, 3.0, 13.48))
    write_whole(sink, voxels)
    size = 5.0 if name == "a.npy" else None
    volume = open_(tmp_path / name, voxel_size=size)
    np.testing.assert_array_equal(volume.data.compute(scheduler="synchronous"), voxels)
    if size is None:
        assert volume.voxel_size == pytest.approx((7.84, 3.0, 13.48), rel=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.mrc", "a.tif", "a.npy"])
def test_what_fails_while_writing_leaves_nothing(tmp_path: Path, name: str) -> None:
    sink = create(tmp_path / name, shape=SHAPE, dtype=np.int16, voxel_size=(1.0, 1.0, 1.0))
    with pytest.raises(FormatError, match="do not fit"):
        write_whole(sink, np.full(SHAPE, 10**6))
    assert list(tmp_path.iterdir()) == []


def test_creating_checks_shape_folder_and_voxel_size(tmp_path: Path) -> None:
    options: dict[str, Any] = {"dtype": np.uint8, "voxel_size": (1.0, 1.0, 1.0)}
    with pytest.raises(ShapeError, match="empty volume"):
        create(tmp_path / "a.mrc", shape=(0, 7, 11), **options)
    with pytest.raises(MissingFileError, match="Make the folder"):
        create(tmp_path / "no" / "a.mrc", shape=SHAPE, **options)
    with pytest.raises(VoxelSizeError, match="along y"):
        create(tmp_path / "a.mrc", shape=SHAPE, dtype=np.uint8, voxel_size=(1.0, 0.0, 1.0))
    (tmp_path / "a.mrc").write_text("old")
    with pytest.raises(ExistsError, match="--overwrite"):
        create(tmp_path / "a.mrc", shape=SHAPE, **options)


def test_a_folder_is_moved_into_the_place_of_another(tmp_path: Path) -> None:
    final = tmp_path / "a.zarr"
    partial = partial_path(final)
    for folder, text in ((final, "old"), (partial, "new")):
        folder.mkdir()
        (folder / "data").write_text(text)
    move_into_place(partial, final)
    assert (final / "data").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_an_input_is_the_same_however_its_path_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import h5py

    monkeypatch.chdir(tmp_path)
    voxels = np.zeros((3, 4, 5), np.float32)
    np.save("a.npy", voxels)
    tifffile.imwrite("a.tif", voxels, photometric="minisblack")
    with h5py.File("a.h5", "w") as file:
        file["raw"] = voxels
    Path("slices").mkdir()
    for z in range(2):
        np.save(f"slices/{z}.npy", voxels[z])
    zarr.save("a.zarr", voxels)
    for name in ("a.npy", "a.tif", "a.h5", "a.zarr", "slices"):
        here, from_root = inspect(name).source, inspect(tmp_path / name).source
        assert here.identity() == from_root.identity()
