"""Masks of another voxel size, laid over a volume."""

from __future__ import annotations

import numpy as np
import pytest

from volproc.core.errors import DtypeError, ShapeError
from volproc.graph.physical_mask import PhysicalMask
from volproc.training.labelled import ArraySource


def mask_of(voxels: np.ndarray, shape: tuple[int, ...], **sizes: tuple[float, ...]) -> PhysicalMask:
    return PhysicalMask(ArraySource(voxels), shape, "m.h5", **sizes)


def test_a_coarse_mask_gives_each_voxel_the_value_where_its_centre_lies() -> None:
    voxels = np.random.default_rng(0).integers(0, 2, (3, 4, 5), np.uint8)
    mask = mask_of(voxels, (6, 8, 10))
    due = voxels.repeat(2, 0).repeat(2, 1).repeat(2, 2) > 0
    region = (slice(1, 5), slice(0, 3), slice(5, 10))
    np.testing.assert_array_equal(mask.read(region), due[region])


def test_a_mask_of_another_box_is_refused() -> None:
    voxels = np.ones((4, 4, 4), np.uint8)
    with pytest.raises(ShapeError, match="not of one box"):
        mask_of(voxels, (8, 8, 16))
    with pytest.raises(ShapeError, match="not of one box"):
        mask_of(voxels, (8, 8, 8), voxel_size=(10.0,) * 3, mask_voxel_size=(40.0,) * 3)
    mask_of(voxels, (8, 8, 8), voxel_size=(10.0,) * 3, mask_voxel_size=(20.0,) * 3)
    with pytest.raises(ShapeError, match=r"z 40, .* of 10 × 10 × 10 Å.*z 40, .* of 5 × 5 × 5 Å"):
        mask_of(
            np.ones((40, 4, 4), np.uint8),
            (40, 4, 4),
            voxel_size=(5.0,) * 3,
            mask_voxel_size=(10.0,) * 3,
        )


@pytest.mark.parametrize("is_rounded_up", [True, False])
def test_a_binned_mask_keeps_its_place_and_its_last_layer(is_rounded_up: bool) -> None:
    shape = (41, 30, 27)
    own = tuple(-(-n // 2) if is_rounded_up else n // 2 for n in shape)
    voxels = np.random.default_rng(0).integers(0, 2, own, np.uint8)
    sizes = {"voxel_size": (6.8,) * 3, "mask_voxel_size": (13.6,) * 3}
    found = mask_of(voxels, shape, **sizes).read(tuple(slice(0, n) for n in shape))
    places = [np.minimum(np.arange(n) // 2, m - 1) for n, m in zip(shape, own, strict=True)]
    np.testing.assert_array_equal(found, voxels[np.ix_(*places)] > 0)


@pytest.mark.parametrize("value", [2, 0.5, -1])
def test_values_other_than_0_and_1_are_refused(value: float) -> None:
    voxels = np.zeros((4, 4, 4), np.float32)
    voxels[2, 2, 2] = value
    mask = mask_of(voxels, (4, 4, 4))
    with pytest.raises(DtypeError, match="beside 0 and 1"):
        mask.read((slice(0, 4),) * 3)
