"""Exact percentiles of volumes, for every cut."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.core.errors import ConfigError, NonFiniteError, ShapeError
from volproc.plan.blocks import ChunkGrid
from volproc.reduce.percentiles import (
    bins_of_percentiles,
    histogram_block,
    merge_counts,
    percentiles,
    refine_block,
)

Q = (0, 0.1, 1, 25, 50, 66.6, 99, 99.9, 100)


def percentiles_of_cut(
    volume: npt.NDArray[Any], chunks: tuple[int, ...], q: tuple[float, ...] = Q
) -> tuple[float, ...]:
    regions = [block.write for block in ChunkGrid(volume.shape, chunks)]
    histogram = merge_counts([histogram_block(volume[r]) for r in regions][::-1])
    bins = bins_of_percentiles(histogram, q)
    refined = merge_counts(refine_block(volume[r], bins) for r in regions) if len(bins) else None
    return percentiles(histogram, refined, q)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["f4", ">f4", "f8", "f2", "u1", "i1", "u2", "i2", "i4", "?"]),
    st.tuples(*[st.integers(1, 7)] * 3),
    st.integers(0, 10_000),
)
def test_percentiles_equal_numpys_for_every_cut(
    dtype: str, chunks: tuple[int, ...], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    spread = 10.0 ** rng.integers(0, 3, (3, 5, 7))
    volume = (rng.standard_normal((3, 5, 7)) * spread).clip(0 if dtype == "u2" else -99, 99)
    volume = (
        (volume > 0)
        if dtype == "?"
        else np.abs(volume).astype(dtype)
        if dtype[0] == "u"
        else volume.astype(dtype)
    )
    real = volume.astype(np.float32).astype(np.float64)
    np.testing.assert_array_equal(percentiles_of_cut(volume, chunks), np.percentile(real, Q))


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40),
    st.lists(st.floats(0, 100), min_size=1, max_size=5),
)
def test_any_floats_and_any_percentiles_equal_numpys(values: list[float], q: list[float]) -> None:
    volume = np.array([values], np.float32)
    found = percentiles_of_cut(volume, (1, 7), tuple(q))
    np.testing.assert_array_equal(found, np.percentile(volume.astype(np.float64), q))


def test_values_that_share_their_upper_bits_are_told_apart() -> None:
    volume = (1 + np.arange(1000, dtype=np.float32) / 2**20).reshape(10, 100)
    assert len(histogram_block(volume).keys) == 1
    expected = np.percentile(volume.astype(np.float64), Q)
    np.testing.assert_array_equal(percentiles_of_cut(volume, (3, 7)), expected)


def test_nan_and_infinite_voxels_are_left_out() -> None:
    for dtype in ("f4", "f2"):
        volume = np.array([[np.nan, 1, np.inf, 2, -np.inf, 3, np.nan]], dtype)
        assert percentiles_of_cut(volume, (1, 2), (0, 50, 100)) == (1, 2, 3)


def test_types_of_sixteen_bits_need_one_pass() -> None:
    histogram = histogram_block(np.array([[3, 1, 2]], np.int16))
    assert histogram.is_exact
    assert len(bins_of_percentiles(histogram, Q)) == 0
    assert percentiles(histogram, None, (0, 50, 100)) == (1, 2, 3)


def test_counts_hold_only_what_occurs() -> None:
    histogram = histogram_block(np.zeros((64, 64), np.float32))
    assert histogram.keys.tolist() == [0x8000]
    assert histogram.total == 64 * 64


def test_bad_input_is_named_with_its_cure() -> None:
    volume = np.arange(100, dtype=np.float32)
    histogram = histogram_block(volume)
    with pytest.raises(ConfigError, match=r"\[0, 100\], got 101.*not a fraction"):
        bins_of_percentiles(histogram, [101])
    with pytest.raises(ConfigError, match="got nan"):
        bins_of_percentiles(histogram, [float("nan")])
    with pytest.raises(NonFiniteError, match="no finite voxel"):
        bins_of_percentiles(histogram_block(np.full(3, np.nan, np.float32)), [50])
    with pytest.raises(ShapeError, match="was not refined"):
        percentiles(histogram, None, [50])
    partly = refine_block(volume[:50], bins_of_percentiles(histogram, [50]))
    with pytest.raises(ShapeError, match="not in all blocks"):
        percentiles(histogram, partly, [50])
    with pytest.raises(ShapeError, match="got 2 parts of which 1 are exact"):
        merge_counts([histogram, histogram_block(np.ones(3, np.uint8))])
