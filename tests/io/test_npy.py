from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from volproc.core.arrays import Sink
from volproc.core.errors import FormatError, ResumeError
from volproc.core.types import Shape, whole
from volproc.io.create import partial_path, refuse_existing
from volproc.io.formats import Selection, Target
from volproc.io.npy import Npy
from volproc.testing.readers import OpenSource, ReaderTests, SinkTests


def read_header(path: Path):
    return Npy().read_header(str(path), Selection())


def begin(path: Path, shape: Shape, dtype: npt.DTypeLike, **options: Any) -> Sink:
    refuse_existing(path, overwrite=options.get("overwrite", False))
    return Npy().create(
        Target(
            str(path),
            shape,
            np.dtype(dtype),
            (1.0,) * len(shape),
            (0.0,) * len(shape),
            "intensity",
            None,
            options.get("overwrite", False),
            options.get("resume", False),
        )
    )


class TestReading(ReaderTests):
    @pytest.fixture(params=["<f4", ">f4", "<u2", ">i8", "?"])
    def open_source(self, request: pytest.FixtureRequest, tmp_path: Path) -> OpenSource:
        path = tmp_path / "volume.npy"
        np.save(path, np.arange(45 * 71 * 113).reshape(45, 71, 113).astype(request.param))
        return lambda: read_header(path).source


class TestWriting(SinkTests):
    suffix = ".npy"

    def create(self, path: Path, shape: Shape, **options: Any) -> Sink:
        return begin(path, shape, self.dtype, **options)

    def load(self, path: Path) -> npt.NDArray[Any]:
        return np.load(path)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", ">u2"])
def test_voxels_come_in_the_order_of_the_machine(tmp_path: Path, dtype: str) -> None:
    voxels = np.arange(385).reshape(5, 7, 11).astype(dtype)
    np.save(tmp_path / "a.npy", voxels)
    source = read_header(tmp_path / "a.npy").source
    assert source.dtype.isnative
    np.testing.assert_array_equal(source.read(whole((5, 7, 11))), voxels)


def test_a_fortran_ordered_array_is_read_as_it_is_indexed(tmp_path: Path) -> None:
    voxels = np.arange(385).reshape(5, 7, 11)
    np.save(tmp_path / "a.npy", np.asfortranarray(voxels))
    source = read_header(tmp_path / "a.npy").source
    assert source.chunks == (5, 7, 1)
    np.testing.assert_array_equal(source.read(whole((5, 7, 11))), voxels)


def test_a_truncated_file_is_refused_with_both_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((5, 7, 11), np.float32))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FormatError, match=r"1668 bytes.*1000"):
        read_header(path)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 3, 4, 5)),
        np.zeros(5),
        np.zeros((0, 3, 4)),
        np.zeros((3, 4), np.complex64),
        np.full((3, 4), "text"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path: Path, array: npt.NDArray[Any]) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(FormatError, match="A volume is"):
        read_header(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [b"", b"no numpy file at all", b"\x93NUMPY\x01\x00v\x00{'de"])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"is no \.npy file"):
        read_header(path)


def test_an_unfinished_file_of_another_shape_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    begin(path, (5, 7, 11), np.float32)
    assert partial_path(path).exists()
    with pytest.raises(ResumeError, match="another shape"):
        begin(path, (5, 7, 12), np.float32, resume=True)


def test_integers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    sink = begin(tmp_path / "a.npy", (2, 2), np.uint16)
    with pytest.raises(FormatError, match=r"from 1 to 70000 do not fit uint16"):
        sink.write(whole((2, 2)), np.array([[1, 70000], [2, 3]]))
