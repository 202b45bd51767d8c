"""Planes through the faces of slabs."""

from __future__ import annotations

import numpy as np
import pytest

from volproc.core.errors import ShapeError
from volproc.reduce.lamella_planes import empty_ends, ends_of, fit_planes, lattice, merge_ends

SHAPE = (40, 37, 300)


def slab(slope_y: float, slope_x: float) -> np.ndarray:
    z, y, x = np.ogrid[tuple(map(slice, SHAPE))]
    middle = 18 + slope_y * y + slope_x * x
    found: np.ndarray = np.abs(z - middle) < 6
    return found


def ends(mask: np.ndarray, sides: tuple[int, ...]) -> np.ndarray:
    """Ends of a whole volume, from blocks."""
    found = empty_ends(mask.shape)
    for corner in np.ndindex(*[-(-n // s) for n, s in zip(mask.shape, sides, strict=True)]):
        region = tuple(
            slice(i * s, min(n, (i + 1) * s))
            for i, s, n in zip(corner, sides, mask.shape, strict=True)
        )
        merge_ends(found, ends_of(mask[region], region, mask.shape), region, mask.shape)
    return found


def test_a_tilted_slab_is_found_again_though_it_has_holes_and_specks() -> None:
    mask = slab(0.2, -0.03)
    rng = np.random.default_rng(0)
    damaged = mask.copy()
    damaged[:, 3:9, 40:90] = False  # a hole
    damaged[:4, 20:, 200:] = True  # ice on one side, and specks
    damaged[1, rng.integers(0, 37, 200), rng.integers(0, 300, 200)] = True
    whole = tuple(slice(0, n) for n in SHAPE)
    found = fit_planes(ends(damaged, SHAPE), SHAPE).paint(whole)
    wrong = np.count_nonzero(found != mask)
    assert wrong < 0.002 * mask.sum()


def test_planes_do_not_depend_on_the_blocks() -> None:
    mask = slab(-0.1, 0.05)
    due = ends(mask, SHAPE)
    for sides in ((7, 9, 64), (40, 37, 1), (3, 37, 300)):
        np.testing.assert_array_equal(ends(mask, sides), due)
    rows, columns = lattice(SHAPE)
    assert due.shape == (len(rows), len(columns), 2) == (37, 150, 2)


def test_columns_in_one_line_have_no_plane() -> None:
    mask = np.zeros((9, 8, 7), bool)
    mask[3:5, 2] = True
    with pytest.raises(ShapeError, match="no plane fits 7 columns"):
        fit_planes(ends(mask, mask.shape), mask.shape)
