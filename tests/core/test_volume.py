"""A volume's frame is checked where it enters."""

import dask.array as da
import numpy as np
import pytest

from volproc.core.errors import ShapeError, VoxelSizeError
from volproc.core.volume import Volume


def test_a_volume_without_origin_starts_at_zero() -> None:
    volume = Volume(da.zeros((3, 4, 5)), voxel_size=(1, 2, 3))
    assert volume.origin == (0.0, 0.0, 0.0)
    assert volume.voxel_size == (1.0, 2.0, 3.0)
    assert (volume.shape, volume.ndim, volume.dtype) == ((3, 4, 5), 3, np.float64)


def test_channels_are_no_part_of_the_shape() -> None:
    volume = Volume(da.zeros((2, 4, 5)), voxel_size=(1.0, 1.0), channels=("a", "b"))
    assert (volume.shape, volume.ndim) == ((4, 5), 2)


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_voxel_size_names_the_axis_and_the_cure(size: float) -> None:
    with pytest.raises(VoxelSizeError, match=r"along y is .*--voxel-size"):
        Volume(da.zeros((3, 4, 5)), voxel_size=(1.0, size, 1.0))


def test_a_voxel_size_of_two_axes_is_none_of_a_volume() -> None:
    with pytest.raises(VoxelSizeError, match="z, y, x"):
        Volume(da.zeros((3, 4, 5)), voxel_size=(1.0, 1.0))


@pytest.mark.parametrize("shape", [(7,), (2, 3, 4, 5)])
def test_other_numbers_of_axes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="Select one channel"):
        Volume(da.zeros(shape), voxel_size=(1.0,) * len(shape))


def test_channel_names_match_the_first_axis() -> None:
    with pytest.raises(ShapeError, match="3 channel names"):
        Volume(da.zeros((2, 3, 4, 5)), voxel_size=(1.0,) * 3, channels=("a", "b", "c"))


def test_a_computed_volume_keeps_the_frame_but_not_the_source() -> None:
    volume = Volume(da.zeros((3, 4, 5)), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0), "x", "x.npy")
    other = volume.with_data(da.ones((3, 4, 5), dtype=np.uint8), name="y")
    assert (other.voxel_size, other.origin) == (volume.voxel_size, volume.origin)
    assert (other.name, other.address, other.source) == ("y", "", None)
