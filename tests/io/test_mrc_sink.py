from __future__ import annotations

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.core.arrays import Sink
from volproc.core.errors import FormatError, ResumeError
from volproc.core.types import Shape, whole
from volproc.io.create import partial_path, refuse_existing
from volproc.io.formats import Header, Selection, Target
from volproc.io.mrc import Mrc
from volproc.io.mrc_sink import measure
from volproc.testing.mrc_bytes import ramp
from volproc.testing.readers import SinkTests

SHAPE = (5, 7, 11)


def read_header(path: Path, **selection: Any) -> Header:
    return Mrc().read_header(str(path), Selection(**selection))


def voxels_of(header: Header) -> npt.NDArray[Any]:
    return header.source.read(whole(header.source.shape))


def begin(
    path: Path, shape: Shape, dtype: npt.DTypeLike = np.float32, kind: str = "intensity", **o: Any
) -> Sink:
    refuse_existing(path, overwrite=o.get("overwrite", False))
    size = o.get("voxel_size", (7.84, 3.0, 13.48)[-len(shape) :])
    return Mrc().create(
        Target(
            str(path),
            shape,
            np.dtype(dtype),
            size,
            o.get("origin", (-30.0, 20.5, 7.0)[-len(shape) :]),
            kind,  # type: ignore[arg-type]
            None,
            o.get("overwrite", False),
            o.get("resume", False),
        )
    )


def write(path: Path, voxels: npt.NDArray[Any], **options: Any) -> None:
    sink = begin(path, voxels.shape, voxels.dtype, **options)
    sink.write(whole(voxels.shape), voxels)
    sink.finish()


class TestWriting(SinkTests):
    suffix = ".mrc"

    def create(self, path: Path, shape: Shape, **options: Any) -> Sink:
        return begin(path, shape, self.dtype, **options)

    def load(self, path: Path) -> npt.NDArray[Any]:
        with mrcfile.open(path) as file:
            return file.data.copy()


class TestWritingCompressed(TestWriting):
    suffix = ".mrc.gz"


class TestWritingHalves(TestWriting):
    suffix = ".rec"
    dtype = np.float16


@pytest.mark.parametrize(
    ("dtype", "mode"),
    [("i1", 0), ("?", 0), ("i2", 1), ("f4", 2), ("f8", 2), ("u1", 6), ("u2", 6), ("f2", 12)],
)
def test_mrcfile_reads_what_is_written(tmp_path: Path, dtype: str, mode: int) -> None:
    path = tmp_path / "a.mrc"
    voxels = ramp(SHAPE, dtype)
    write(path, voxels)
    if dtype != "f2":  # mrcfile sums halves as halves, and overflows
        assert mrcfile.validate(path)
    with mrcfile.open(path) as file:
        assert int(file.header.mode) == mode
        np.testing.assert_array_equal(file.data, voxels.astype(file.data.dtype))
        np.testing.assert_allclose(file.voxel_size.tolist(), (13.48, 3.0, 7.84), rtol=1e-6)
        assert file.is_volume()
        numbers = voxels.astype(np.float64)
        stated = [float(file.header[name]) for name in ("dmin", "dmax", "dmean", "rms")]
        expected = [numbers.min(), numbers.max(), numbers.mean(), numbers.std()]
        np.testing.assert_allclose(stated, expected, rtol=1e-6)
    header = read_header(path)
    assert header.voxel_size == (7.84, 3.0, 13.48)
    assert header.origin == (-30.0, 20.5, 7.0)


def test_a_micrograph_comes_back_as_one(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    voxels = ramp((7, 11), np.float32)
    write(path, voxels)
    with mrcfile.open(path) as file:
        assert file.data.shape == (7, 11)
    header = read_header(path)
    np.testing.assert_array_equal(voxels_of(header), voxels)
    assert header.voxel_size == (3.0, 13.48)


@pytest.mark.parametrize(
    ("kind", "dtype", "most"),
    [("labels", "i4", 65535), ("labels", "u8", 65535), ("intensity", "i4", 2**24)],
)
def test_wide_integers_are_written_as_long_as_they_stay_exact(
    tmp_path: Path, kind: str, dtype: str, most: int
) -> None:
    path = tmp_path / "a.mrc"
    voxels = np.array([[[0, most]]], dtype)
    write(path, voxels, kind=kind)
    with mrcfile.open(path) as file:
        np.testing.assert_array_equal(file.data, voxels)
    with pytest.raises(FormatError, match=rf"{most + 1} do not fit.*ome\.zarr"):
        write(path, voxels + 1, kind=kind, overwrite=True)


def test_complex_voxels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot hold complex64"):
        begin(tmp_path / "a.mrc", SHAPE, np.complex64)
    assert list(tmp_path.iterdir()) == []


def test_the_same_voxels_give_the_same_bytes(tmp_path: Path) -> None:
    voxels = ramp(SHAPE, np.float32)
    for name in ("a.mrc", "a.mrc.gz", "a.mrc.bz2"):
        write(tmp_path / name, voxels)
        first = (tmp_path / name).read_bytes()
        sink = begin(tmp_path / name, SHAPE, overwrite=True)
        for z in (3, 1, 0, 4, 2):
            region = (slice(z, z + 1), slice(0, 7), slice(0, 11))
            sink.write(region, voxels[region])
        sink.finish()
        assert (tmp_path / name).read_bytes() == first


def test_an_unfinished_file_of_other_settings_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    begin(path, SHAPE)
    assert partial_path(path).exists()
    begin(path, SHAPE, resume=True)
    for other in ({"voxel_size": (1.0, 1.0, 1.0)}, {"dtype": np.int16}):
        with pytest.raises(ResumeError, match="another shape"):
            begin(path, SHAPE, resume=True, **other)


@given(
    values=st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), max_size=40),
)
@settings(max_examples=50, deadline=None)
def test_statistics_are_those_of_the_finite_voxels(values: list[float]) -> None:
    array = np.array(values, np.float32)
    finite = array[np.isfinite(array)].astype(np.float64)
    found = measure(array)
    if not finite.size:
        assert found == (0.0, -1.0, -2.0, -1.0)
        return
    expected = (finite.min(), finite.max(), finite.mean(), finite.std())
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * abs(finite).max())


def test_statistics_of_pieces_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volproc.io.mrc_sink.PIECE_VOXELS", 37)
    array = np.random.default_rng(0).normal(1000, 1, (5, 7, 11)).astype(np.float32)
    numbers = array.astype(np.float64)
    np.testing.assert_allclose(measure(array)[2:], (numbers.mean(), numbers.std()), rtol=1e-12)
