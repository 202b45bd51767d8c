"""A Gaussian on blocks, against SciPy on the whole volume."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from volproc.reduce.gaussian import gaussian_radius, smooth_region


@pytest.mark.parametrize("edge", ["constant", "reflect"])
def test_regions_have_the_bits_of_the_whole_volume(edge: Any) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        shape = tuple(rng.integers(1, 20, 3).tolist())
        sigma = tuple(rng.choice([0.0, 0.4, 1.3, 4.0], 3).tolist())
        voxels = rng.random(shape).astype(np.float32)
        due = gaussian_filter(voxels, sigma, mode=edge)
        core, read = [], []
        for size, radius in zip(shape, gaussian_radius(sigma), strict=True):
            start = int(rng.integers(0, size))
            stop = int(rng.integers(start, size)) + 1
            core.append(slice(start, stop))
            read.append(slice(max(0, start - radius), min(size, stop + radius)))
        found = smooth_region(voxels[tuple(read)], tuple(read), tuple(core), sigma=sigma, edge=edge)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, due[tuple(core)])
