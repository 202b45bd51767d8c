"""Exact statistics of volumes, for every cut."""

from fractions import Fraction
from math import fsum
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.core.errors import DtypeError, NonFiniteError, PlanError, ShapeError
from volproc.plan.blocks import ChunkGrid
from volproc.reduce.statistics import MAX_VOXELS, Moments, merge_moments, moments_block

TYPES = ("f4", ">f4", "f8", "f2", "u1", "i1", "u2", ">i2", "i4", "u8", "?")


def volume_of(dtype: str, shape: tuple[int, ...], seed: int) -> npt.NDArray[Any]:
    rng = np.random.default_rng(seed)
    if dtype == "?":
        return rng.random(shape) < 0.3
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        low, high = max(limits.min, -(10**6)), min(limits.max, 10**6)
        return rng.integers(low, high, shape, endpoint=True).astype(dtype)
    return (rng.standard_normal(shape) * 10.0 ** rng.integers(-4, 5, shape)).astype(dtype)


def moments_of_cut(volume: npt.NDArray[Any], chunks: tuple[int, ...]) -> list[Moments]:
    return [moments_block(volume[b.write]) for b in ChunkGrid(volume.shape, chunks)]


def bits(moments: Moments) -> tuple[Any, ...]:
    numbers = np.array([moments.mean, moments.std, moments.least, moments.greatest])
    return (
        moments.count,
        moments.num_nan,
        moments.num_inf,
        numbers.tobytes(),
        moments.sums.tobytes(),
        moments.squares.tobytes(),
    )


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(TYPES),
    st.tuples(*[st.integers(1, 6)] * 3),
    st.integers(0, 10_000),
    st.randoms(use_true_random=False),
)
def test_any_cut_and_any_order_gives_the_same_bits(
    dtype: str, chunks: tuple[int, ...], seed: int, random: Any
) -> None:
    volume = volume_of(dtype, (5, 7, 11), seed)
    whole = moments_block(volume)
    parts = moments_of_cut(volume, chunks)
    random.shuffle(parts)
    half = len(parts) // 2 or 1
    tree = [merge_moments(parts[:half]), merge_moments(parts[half:] or [moments_block(volume[:0])])]
    assert bits(merge_moments(parts)) == bits(merge_moments(tree)) == bits(whole)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(TYPES), st.integers(0, 10_000))
def test_mean_and_deviation_equal_numpys(dtype: str, seed: int) -> None:
    volume = volume_of(dtype, (5, 7, 11), seed)
    moments = merge_moments(moments_of_cut(volume, (2, 3, 4)))
    real = volume.astype(np.float32).astype(np.float64)
    assert moments.mean == pytest.approx(fsum(real.ravel()) / real.size, rel=1e-15)
    assert moments.std == pytest.approx(real.std(), rel=1e-12)
    assert moments.least == real.min()
    assert moments.greatest == real.max()
    assert (moments.count, moments.num_nan, moments.num_inf) == (real.size, 0, 0)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=30)
)
def test_mean_and_deviation_are_correctly_rounded(values: list[float]) -> None:
    moments = moments_block(np.array(values, np.float32))
    exact = [Fraction(v) for v in values]
    mean = sum(exact, Fraction(0)) / len(exact)
    variance = sum(((v - mean) ** 2 for v in exact), Fraction(0)) / len(exact)
    assert moments.mean == float(mean)
    below = np.nextafter(moments.std, -np.inf)
    above = np.nextafter(moments.std, np.inf)
    low = (Fraction(float(below)) + Fraction(moments.std)) / 2
    high = (Fraction(float(above)) + Fraction(moments.std)) / 2
    assert max(low, Fraction(0)) ** 2 <= variance <= high**2


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
def test_nan_and_infinite_voxels_are_counted_and_left_out(dtype: str) -> None:
    volume = np.array([[1, np.nan, 3], [np.inf, -np.inf, np.nan]], dtype)
    moments = moments_block(volume)
    assert (moments.count, moments.num_nan, moments.num_inf) == (2, 2, 2)
    assert (moments.mean, moments.std, moments.least, moments.greatest) == (2, 1, 1, 3)


def test_a_float64_beyond_float32_counts_as_infinite() -> None:
    moments = moments_block(np.array([1e300, 2.0]))
    assert (moments.count, moments.num_inf, moments.mean) == (1, 1, 2)


def test_the_smallest_and_greatest_floats_are_exact() -> None:
    limits = np.finfo(np.float32)
    values = np.array([limits.smallest_subnormal, limits.max, -limits.max], np.float32)
    assert moments_block(values).mean == float(Fraction(float(limits.smallest_subnormal)) / 3)
    assert moments_block(values[1:]).std == float(limits.max)


def test_a_constant_volume_has_no_deviation() -> None:
    assert moments_block(np.full((5, 7, 11), 0.1, np.float32)).std == 0


def test_zeros_of_both_signs_have_no_sign() -> None:
    moments = moments_block(np.array([0.0, -0.0], np.float32))
    assert str(moments.least) == str(moments.greatest) == str(moments.mean) == "0.0"


def test_a_long_sum_does_not_drift() -> None:
    volume = np.full(3_000_000, 0.1, np.float32)
    assert moments_block(volume).mean == float(np.float32(0.1))
    assert moments_block(volume).std == 0


def test_the_input_is_left_alone() -> None:
    volume = volume_of("f4", (3, 4, 5), 0)
    volume.flags.writeable = False
    before = volume.copy()
    moments_block(volume[:, ::2])
    np.testing.assert_array_equal(volume, before)


def test_bad_input_is_named_with_its_cure() -> None:
    with pytest.raises(DtypeError, match=r"real numbers, got complex64"):
        moments_block(np.ones(3, np.complex64))
    with pytest.raises(NonFiniteError, match=r"no finite voxel.*got 3 NaN and 0 infinite"):
        _ = moments_block(np.full(3, np.nan, np.float32)).mean
    with pytest.raises(ShapeError, match=r"got an empty sequence"):
        merge_moments([])
    none = moments_block(np.zeros(0, np.float32))
    many = Moments(MAX_VOXELS, 0, 0, 0.0, 0.0, none.sums, none.squares)
    one = moments_block(np.ones(1, np.float32))
    with pytest.raises(PlanError, match=rf"hold {MAX_VOXELS} voxels, got {MAX_VOXELS + 1}"):
        merge_moments([many, one])
