"""CryoSiam's hull in three dimensions, against scikit-image on the whole volume."""

from __future__ import annotations

import numpy as np
from skimage.morphology import convex_hull_image
from skimage.transform import pyramid_expand, pyramid_reduce

from volproc.reduce.lamella_lines import lines_of
from volproc.reduce.lamella_solid import solid_hull


def expected(mask: np.ndarray) -> np.ndarray:
    """Reduced by four, the hull, expanded by four, cut, whole numbers."""
    hull = convex_hull_image(pyramid_reduce(mask, 4, preserve_range=True))
    whole = pyramid_expand(hull, 4, preserve_range=True)
    return whole[tuple(map(slice, mask.shape))].astype(int)


def test_solid_hulls_are_those_of_scikit_image_by_region() -> None:
    rng = np.random.default_rng(3)
    num_full = 0
    for _ in range(20):
        shape = tuple(rng.integers(9, 45, 3).tolist())
        low = [int(rng.integers(0, n)) for n in shape]
        high = [int(rng.integers(a, n)) + 1 for a, n in zip(low, shape, strict=True)]
        box = tuple(map(slice, low, high))
        mask = np.zeros(shape, bool)
        mask[box] = rng.random(mask[box].shape) < rng.choice([0.02, 0.3, 1.0])
        mask[tuple(low)] = True
        due = expected(mask)
        hull = solid_hull(lines_of(mask, 0), shape)
        assert hull is not None
        cut = shape[1] // 2
        parts = [
            hull.paint((slice(0, shape[0]), rows, slice(0, shape[2])))
            for rows in (slice(0, cut), slice(cut, shape[1]))
        ]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), due)
        num_full += bool(due.any())
    assert num_full > 5


def test_what_is_flat_on_the_coarse_grid_has_no_hull() -> None:
    mask = np.ones((4, 20, 20), bool)
    assert solid_hull(lines_of(mask, 0), mask.shape) is None
