"""Hulls of slices from lines, against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.morphology import convex_hull_image

from volproc.reduce.lamella_lines import (
    convex_lines,
    empty_lines,
    footprint,
    lines_of,
    merge_lines,
    paint_lines,
)


def points(shape: tuple[int, ...], num_points: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, bool)
    mask[tuple(rng.integers(0, n, num_points) for n in shape)] = True
    return mask


def test_hulls_are_those_of_scikit_image() -> None:
    rng = np.random.default_rng(0)
    cases = [points(tuple(rng.integers(1, 40, 2)), int(rng.integers(1, 8)), i) for i in range(120)]
    cases += [points(tuple(rng.integers(300, 500, 2)), 30, i) for i in range(2)]
    cases += [np.ones((3, 5), bool), np.eye(7, dtype=bool), np.eye(9, 4, dtype=bool)]
    for mask in cases:
        found = paint_lines(convex_lines(lines_of(mask[None], 0)), slice(0, mask.shape[1]))
        np.testing.assert_array_equal(found[0], convex_hull_image(mask), str(np.argwhere(mask)))


def test_lines_of_blocks_merge_in_any_order() -> None:
    mask = points((3, 11, 17), 20, 5)
    due = lines_of(mask, 0)
    lines = empty_lines(3, 11)
    for x in (12, 0, 6):
        for y in (5, 0):
            rows = slice(y, 5 if y == 0 else 11)
            part = lines_of(mask[:, rows, x : x + 6], x)
            merge_lines(lines[:, rows], part)
    np.testing.assert_array_equal(lines, due)
    np.testing.assert_array_equal(footprint(due), lines_of(mask.any(axis=0)[None], 0))


def test_a_slice_without_voxels_has_no_hull() -> None:
    mask = np.zeros((2, 3, 4), bool)
    mask[1, 1, 2] = True
    found = paint_lines(convex_lines(lines_of(mask, 0)), slice(0, 4))
    np.testing.assert_array_equal(found, mask)
    with pytest.warns(UserWarning, match="entirely zero"):
        assert not convex_hull_image(mask[0]).any()
