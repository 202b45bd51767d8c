from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.core.arrays import Sink
from volproc.core.errors import FormatError, ResumeError
from volproc.core.types import Shape, whole
from volproc.io.create import refuse_existing
from volproc.io.formats import Header, Selection, Target
from volproc.io.tiff import Tiff
from volproc.io.tiff_sink import stored_dtype
from volproc.testing.readers import SinkTests

SHAPE = (5, 7, 11)


def begin(path: Path, shape: Shape, dtype: npt.DTypeLike = np.float32, **o: Any) -> Sink:
    refuse_existing(path, overwrite=o.get("overwrite", False))
    size = o.get("voxel_size", (7.84, 3.0, 13.48)[-len(shape) :])
    return Tiff().create(
        Target(
            str(path),
            shape,
            np.dtype(dtype),
            size,
            (0.0,) * len(shape),
            "intensity",
            None,
            o.get("overwrite", False),
            o.get("resume", False),
        )
    )


def write(path: Path, voxels: npt.NDArray[Any], **options: Any) -> Header:
    sink = begin(path, voxels.shape, voxels.dtype, **options)
    sink.write(whole(voxels.shape), voxels)
    sink.finish()
    return Tiff().read_header(str(path), Selection())


class TestWriting(SinkTests):
    suffix = ".tif"

    def create(self, path: Path, shape: Shape, **options: Any) -> Sink:
        return begin(path, shape, self.dtype, **options)

    def load(self, path: Path) -> npt.NDArray[Any]:
        return tifffile.imread(path)


class TestWritingOme(TestWriting):
    suffix = ".ome.tif"
    dtype = np.int16


class TestWritingBig(TestWriting):
    suffix = ".btf"
    dtype = np.uint32


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_imagej_types_become_imagej_stacks_with_spacing_and_unit(
    tmp_path: Path, dtype: str
) -> None:
    path = tmp_path / "a.tif"
    voxels = np.arange(385).reshape(SHAPE).astype(dtype)
    header = write(path, voxels)
    with tifffile.TiffFile(path) as tif:
        assert tif.is_imagej
        assert not tif.is_bigtiff
        metadata = tif.imagej_metadata
        assert metadata["slices"] == 5
        assert metadata["unit"] == "micron"
        assert metadata["spacing"] == pytest.approx(7.84e-4)
        count, over = tif.pages[0].tags["XResolution"].value
        assert count / over == pytest.approx(1 / 13.48e-4, rel=1e-6)
    assert header.voxel_size == pytest.approx((7.84, 3.0, 13.48), rel=1e-6)
    np.testing.assert_array_equal(header.source.read(whole(SHAPE)), voxels)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "u4", "f8"])
def test_other_types_become_ome_tiff(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "a.tif"
    voxels = np.arange(385).reshape(SHAPE).astype(dtype)
    header = write(path, voxels)
    with tifffile.TiffFile(path) as tif:
        assert tif.is_ome
        assert tif.is_bigtiff
        assert tif.series[0].axes == "ZYX"
        np.testing.assert_array_equal(tif.asarray(), voxels)
    assert header.voxel_size == pytest.approx((7.84, 3.0, 13.48), rel=1e-8)
    assert header.source.dtype == voxels.dtype


@pytest.mark.parametrize(
    ("dtype", "expected"), [("?", "u1"), ("f2", "f4"), ("i8", "i4"), ("u8", "u4")]
)
def test_types_without_a_place_are_widened_or_checked(
    tmp_path: Path, dtype: str, expected: str
) -> None:
    voxels = (np.arange(385).reshape(SHAPE) % 2).astype(dtype)
    header = write(tmp_path / "a.tif", voxels)
    assert header.source.dtype == np.dtype(expected)
    np.testing.assert_array_equal(header.source.read(whole(SHAPE)), voxels)


def test_integers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="do not fit int32"):
        write(tmp_path / "a.tif", np.array([[0, 2**31]], np.int64))


def test_complex_voxels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot hold complex64"):
        begin(tmp_path / "a.tif", SHAPE, np.complex64)
    assert list(tmp_path.iterdir()) == []


@given(
    shape=st.one_of(
        st.tuples(*[st.integers(1, 5)] * 3),
        st.tuples(*[st.integers(1, 5)] * 2),
    ),
    dtype=st.sampled_from(["u1", "u2", "f4", "i2", "u4"]),
    size=st.floats(0.01, 1e7),
    ending=st.sampled_from([".tif", ".ome.tif", ".tf8"]),
)
@settings(max_examples=80, deadline=None)
def test_any_shape_and_voxel_size_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    shape: Shape,
    dtype: str,
    size: float,
    ending: str,
) -> None:
    path = tmp_path_factory.mktemp("tiff") / f"a{ending}"
    voxels = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    voxel_size = (size, size * 1.3, size * 0.7)[-len(shape) :]
    header = write(path, voxels, voxel_size=voxel_size)
    is_flat = len(shape) == 3 and shape[0] == 1
    expected = voxels[0] if is_flat else voxels
    np.testing.assert_array_equal(header.source.read(whole(header.source.shape)), expected)
    assert header.voxel_size == pytest.approx(voxel_size[is_flat:], rel=1e-4)


def test_a_large_volume_becomes_bigtiff_without_writing_it_all(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    shape = (5, 2**15, 2**15)
    sink = begin(path, shape, np.uint8)
    region = (slice(4, 5), slice(2**15 - 1, 2**15), slice(2**15 - 3, 2**15))
    sink.write(region, np.array([[[1, 2, 3]]], np.uint8))
    sink.finish()
    header = Tiff().read_header(str(path), Selection())
    assert header.details["is_bigtiff"]
    assert header.source.shape == shape
    assert header.source.read(region).tolist() == [[[1, 2, 3]]]
    assert header.voxel_size == pytest.approx((7.84, 3.0, 13.48), rel=1e-6)


def test_an_unfinished_file_of_other_settings_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    begin(path, SHAPE)
    begin(path, SHAPE, resume=True)
    for shape, other in (
        ((5, 7, 12), {}),
        (SHAPE, {"voxel_size": (1.0, 1.0, 1.0)}),
        (SHAPE, {"dtype": np.uint8}),
    ):
        with pytest.raises(ResumeError, match="another shape"):
            begin(path, shape, resume=True, **other)


def test_the_target_decides_the_type_alone() -> None:
    target = Target(
        "a.tif", SHAPE, np.dtype(">f4"), (1.0,) * 3, (0.0,) * 3, "labels", None, True, False
    )
    assert stored_dtype(target) == np.dtype("<f4")
