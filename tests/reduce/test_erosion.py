"""Erosion of class maps, against scipy class by class."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from volproc.core.errors import ConfigError, DtypeError
from volproc.graph.chunks import widen
from volproc.reduce.erosion import byte_classes, erode_classes


@pytest.mark.parametrize("shape", [(5, 7, 11), (1, 6, 9), (4, 1, 1), (3, 2, 40)])
def test_every_cut_gives_the_erosion_of_the_whole(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        coarse = rng.integers(0, 3, [-(-n // 3) for n in shape])
        fine = coarse.repeat(3, 0).repeat(3, 1).repeat(3, 2)[tuple(map(slice, shape))]
        classes = fine.astype(np.uint8)
        whole = np.zeros_like(classes)
        for value in (1, 2):
            whole[ndimage.binary_erosion(classes == value, border_value=1)] = value
        start = [int(rng.integers(0, n)) for n in shape]
        stop = [int(rng.integers(a, n)) + 1 for a, n in zip(start, shape, strict=True)]
        region = tuple(map(slice, start, stop))
        wide = widen(region, 1, shape)
        np.testing.assert_array_equal(erode_classes(classes[wide], wide, region), whole[region])


def test_only_the_classes_that_are_asked_for_become_bytes() -> None:
    wide = np.array([-1, 0, 1, 2, 3, 300])
    assert byte_classes(wide, 2).tolist() == [0, 0, 1, 2, 0, 0]
    assert byte_classes(np.array([0, 1, 2, 3], np.uint8), 2).tolist() == [0, 1, 2, 0]
    assert byte_classes(np.array([True, False]), 1).tolist() == [1, 0]
    with pytest.raises(DtypeError):
        byte_classes(np.zeros(3, np.float32), 2)
    with pytest.raises(ConfigError, match="at most 255"):
        byte_classes(np.zeros(3, np.uint16), 256)
