"""Stacks of nuclei: reproducible, crowded, labelled without gaps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, label

from volproc.core.errors import ConfigError, ShapeError
from volproc.phantoms.cells import CellSpec, make_cells

SPEC = CellSpec((24, 96, 110), seed=4, radius=(6.0, 9.0), z_step=2.0)


def test_the_same_seed_gives_the_same_voxels_and_another_seed_others() -> None:
    image, labels = make_cells(SPEC)
    again, same = make_cells(SPEC)
    assert (image == again).all()
    assert (labels == same).all()
    other, _ = make_cells(replace(SPEC, seed=5))
    assert not (image == other).all()


def test_instances_are_numbered_without_gaps_and_brighter_than_the_ground() -> None:
    image, labels = make_cells(SPEC)
    assert image.dtype == np.float32
    assert labels.dtype == np.uint32
    assert np.unique(labels).tolist() == list(range(int(labels.max()) + 1))
    assert labels.max() > 15
    assert image[labels > 0].mean() > image[labels == 0].mean() + 0.4


def test_nuclei_touch_yet_each_is_in_one_piece() -> None:
    _, labels = make_cells(SPEC)
    num_touching = 0
    for number in range(1, int(labels.max()) + 1):
        own = labels == number
        assert label(own, np.ones((3, 3, 3)))[1] == 1
        around = labels[binary_dilation(own) & ~own]
        num_touching += bool(np.any(around))
    assert num_touching > labels.max() // 4
    assert label(labels > 0)[1] < labels.max()


def test_slices_far_apart_make_nuclei_flat_in_voxels() -> None:
    _, labels = make_cells(replace(SPEC, z_step=4.0))
    inner = [n for n in range(1, int(labels.max()) + 1) if not touches_edge(labels == n)]
    extents = np.array([np.ptp(np.nonzero(labels == n), axis=1) + 1 for n in inner])
    ratio = extents[:, 1:].mean() / extents[:, 0].mean()
    assert 2.5 < ratio < 5
    assert replace(SPEC, z_step=4.0).voxel_size == (20000.0, 5000.0, 5000.0)


def touches_edge(mask: np.ndarray) -> bool:
    return any(mask.take(side, axis).any() for axis in range(3) for side in (0, -1))


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ShapeError, match="three axes"):
        CellSpec((4, 4))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="ascending"):
        CellSpec((4, 4, 4), radius=(9.0, 3.0))
    with pytest.raises(ConfigError, match="fill is below 1"):
        CellSpec((4, 4, 4), fill=1.0)
