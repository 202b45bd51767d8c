"""Principal axes of bodies that have known ones."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.core.errors import ShapeError
from volproc.reduce.measuring import Wanted
from volproc.reduce.objects import measure_block
from volproc.reduce.principal_axes import covariances, plane_orientation, principal_axes
from volproc.reduce.tables import PAIRS, ObjectTable, merge_tables

PRODUCTS = Wanted(products=True)


def table_of(labels: np.ndarray, offset: tuple[int, ...] = ()) -> ObjectTable:
    """Measure in a volume that is as large as raster indices of 63 bits allow."""
    shape = (2 ** (62 // labels.ndim),) * labels.ndim
    place = offset or (0,) * labels.ndim
    return measure_block(labels, offset=place, shape=shape, wanted=PRODUCTS)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 9999),
    st.sampled_from([(3, 5, 7), (4, 9)]),
    st.tuples(*[st.integers(0, 2**30)] * 3),
)
def test_products_are_exact_however_far_away(seed, shape, offset) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, shape)
    labels.flat[0] = 1
    place = tuple(o % 2 ** (62 // len(shape) - 1) for o in offset[: len(shape)])
    table = table_of(labels, place)
    assert table.products is not None
    for row, label in enumerate(table.label):
        at = [
            [int(v) + o for v in c] for c, o in zip(np.nonzero(labels == label), place, strict=True)
        ]
        for i, (a, b) in enumerate(PAIRS[len(shape)]):
            expected = sum(p * q for p, q in zip(at[a], at[b], strict=True))
            found = sum(int(d) << 32 * k for k, d in enumerate(table.products[row, i]))
            assert found == expected
    near = covariances(table_of(labels), (1.0,) * len(shape))
    np.testing.assert_array_equal(covariances(table, (1.0,) * len(shape)), near)


def test_covariances_are_correctly_rounded() -> None:
    labels = np.random.default_rng(0).integers(0, 2, (6, 5, 7))
    at = np.stack(np.nonzero(labels)).astype(object)
    n = at.shape[1]
    covariance = covariances(table_of(labels, (7, 10**6 - 9, 10**5)), (1.0, 1.0, 1.0))[0]
    for a in range(3):
        for b in range(3):
            exact = Fraction(n * int((at[a] * at[b]).sum()) - int(at[a].sum()) * int(at[b].sum()))
            assert covariance[a, b] == pytest.approx(float(exact / n**2), rel=1e-15)


def test_an_ellipsoid_has_its_own_axes() -> None:
    grid = np.indices((41, 61, 81)) - np.array([20, 30, 40])[:, None, None, None]
    labels = ((grid / np.array([10, 20, 35.0])[:, None, None, None]) ** 2).sum(0) <= 1
    table = table_of(labels.astype(int))
    axes = principal_axes(covariances(table, (1.0, 1.0, 1.0)))
    assert axes.major[0] == pytest.approx(70, rel=0.01)
    assert axes.minor[0] == pytest.approx(20, rel=0.01)
    np.testing.assert_allclose(axes.major_direction[0], [0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(axes.minor_direction[0], [1, 0, 0], atol=1e-9)
    # voxels four times as high make the shortest axis the longest but one
    stretched = principal_axes(covariances(table, (4.0, 1.0, 1.0)))
    assert stretched.minor[0] == pytest.approx(40, rel=0.01)
    np.testing.assert_allclose(stretched.minor_direction[0], [0, 1, 0], atol=1e-9)


def test_a_diagonal_line_points_along_itself() -> None:
    axes = principal_axes(covariances(table_of(np.eye(9, dtype=int)), (1.0, 1.0)))
    np.testing.assert_allclose(axes.major_direction[0], [0.5**0.5] * 2)
    assert axes.minor[0] == pytest.approx(0, abs=1e-6)
    down = covariances(table_of(np.eye(9, dtype=int)[:, ::-1]), (1.0, 1.0))
    assert plane_orientation(down)[0] == -np.pi / 4
    np.testing.assert_allclose(principal_axes(down).major_direction[0], [0.5**0.5, -(0.5**0.5)])


def test_blocks_too_long_for_64_bits_are_measured_in_stretches(monkeypatch) -> None:
    labels = np.random.default_rng(1).integers(0, 4, (5, 7, 11))
    whole = table_of(labels)
    monkeypatch.setattr("volproc.reduce.measuring.MAX_SUM", 11**3 * 2)
    cut = table_of(labels)
    for name in ("label", "count", "first", "sums", "lower", "upper", "products"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name), err_msg=name)


def test_without_products_there_are_no_axes() -> None:
    bare = measure_block(np.ones((2, 2), int), offset=(0, 0), shape=(2, 2))
    with pytest.raises(ShapeError, match="no products"):
        covariances(bare, (1.0, 1.0))
    with pytest.raises(ShapeError, match=r"differ in their axes or columns.*Measure all blocks"):
        merge_tables([bare, table_of(np.ones((2, 2), int))])
