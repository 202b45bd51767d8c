"""Smooth objects: the whole-volume answer for every cut, lazily."""

from __future__ import annotations

from math import pi
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi

import volproc
from volproc.core.errors import ConfigError, DtypeError, ShapeError
from volproc.core.volume import Volume
from volproc.graph.smooth import smooth

SHAPE = (5, 7, 11)


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, one voxel thick too."""
    return tuple(
        tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=2))), n]).tolist())
        for n in shape
    )


def blobs(seed: int, shape: tuple[int, ...] = SHAPE, sigma: float = 1.0) -> np.ndarray:
    """Smooth random objects that touch, with labels out of order."""
    rng = np.random.default_rng(seed)
    field = ndi.gaussian_filter(rng.normal(0, 1, shape), sigma)
    labels, number = ndi.label(np.abs(field) > 0.4 * field.std())
    labels = labels * 2 + (field > 0)
    labels[np.abs(field) <= 0.4 * field.std()] = 0
    return np.concatenate([[0], rng.permutation(2 * number + 1) + 1])[labels]


def smoothed_one_by_one(
    labels: np.ndarray, fraction: float, voxel_size: tuple[float, ...] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Oracle: scipy per object on the whole volume; and where rounding could decide."""
    size = np.array(voxel_size or (1.0,) * labels.ndim)
    first, second = np.full(labels.shape, 0.5), np.zeros(labels.shape)
    out = np.zeros_like(labels)
    unsure = np.zeros(labels.shape, bool)
    for label in np.unique(labels[labels > 0]):
        volume = (labels == label).sum() * size.prod()
        diameter = (6 * volume / pi) ** (1 / 3) if labels.ndim == 3 else (4 * volume / pi) ** 0.5
        mask = (labels == label).astype(float)
        value = ndi.gaussian_filter(mask, fraction * diameter / size)
        unsure |= np.abs(value - 0.5) < 1e-6
        second = np.maximum(second, np.minimum(first, value))
        wins = value > first
        first, out = np.where(wins, value, first), np.where(wins, label, out)
    return out, unsure | ((second > 0.5) & (first - second < 1e-6))


def run(item: Any) -> Any:
    return dask.compute(item, scheduler="sync")[0]


@settings(max_examples=20)
@given(st.integers(0, 99), cuts(), st.sampled_from([0.05, 0.15, 0.5]))
def test_objects_are_those_of_scipy_for_every_cut(seed, chunks, fraction) -> None:
    labels = blobs(seed)
    lazy = smooth(da.from_array(labels, chunks=chunks), fraction=fraction)
    assert (lazy.chunks, lazy.dtype) == (chunks, labels.dtype)
    result = run(lazy)
    expected, unsure = smoothed_one_by_one(labels, fraction)
    np.testing.assert_array_equal(result[~unsure], expected[~unsure])
    whole = smooth(da.from_array(labels, chunks=-1), fraction=fraction)
    np.testing.assert_array_equal(result, run(whole))


@settings(max_examples=15)
@given(st.integers(0, 99), cuts((19, 23)), st.sampled_from([0.05, 0.2]))
def test_a_micrograph_is_smoothed_by_the_diameter_of_disks(seed, chunks, fraction) -> None:
    labels = blobs(seed, (19, 23), 2.0)
    result = run(smooth(da.from_array(labels, chunks=chunks), fraction=fraction))
    expected, unsure = smoothed_one_by_one(labels, fraction)
    np.testing.assert_array_equal(result[~unsure], expected[~unsure])
    whole = smooth(da.from_array(labels, chunks=-1), fraction=fraction)
    np.testing.assert_array_equal(result, run(whole))


def test_objects_larger_than_blocks_and_halos() -> None:
    labels = blobs(5, (21, 26, 31), 3.0)
    expected, unsure = smoothed_one_by_one(labels, 0.12)
    assert (expected != labels).any()
    for chunks in (-1, (6, 7, 8), (21, 2, 31)):
        result = run(smooth(da.from_array(labels, chunks=chunks), fraction=0.12))
        np.testing.assert_array_equal(result[~unsure], expected[~unsure])


def test_a_blur_wider_than_the_volume_turns_back_at_both_edges() -> None:
    labels = np.zeros((3, 40, 41), int)
    labels[:2, 5:35, 5:36] = 4
    expected, unsure = smoothed_one_by_one(labels, 0.3)
    assert expected.any()
    result = run(smooth(da.from_array(labels, chunks=(1, 20, 15)), fraction=0.3))
    np.testing.assert_array_equal(result[~unsure], expected[~unsure])


def test_unequal_voxels_are_smoothed_alike_in_space() -> None:
    labels = blobs(7, (9, 19, 23), 2.0)
    volume = Volume(da.from_array(labels, chunks=8), (30.0, 10.0, 12.0), name="cells")
    result = volproc.smooth(volume, fraction=0.15)
    assert isinstance(result, Volume)
    assert (result.voxel_size, result.name) == (volume.voxel_size, "cells")
    expected, unsure = smoothed_one_by_one(labels, 0.15, volume.voxel_size)
    np.testing.assert_array_equal(run(result.data)[~unsure], expected[~unsure])
    assert (run(smooth(volume.data, fraction=0.15)) != expected).any()


def test_a_spur_goes_and_single_voxels_and_cut_ends_stay() -> None:
    labels = np.zeros((14, 15, 16), np.uint16)
    labels[:, 3:11, 3:11] = 700  # goes through the whole volume
    labels[6, 6, 11:14] = 700
    labels[2, 13, 13] = 9
    result = run(smooth(da.from_array(labels, chunks=5), fraction=0.1))
    assert result.dtype == np.uint16
    assert not result[6, 6, 12:].any()
    assert result[2, 13, 13] == 9
    assert (result[0] == result[7]).all() or (result[0, 4:10, 4:10] == 700).all()
    assert (result[0, 6, 3:11] == 700).all()


def test_the_blur_is_bounded_on_request() -> None:
    labels = blobs(3, (19, 23), 3.0)
    bounded = run(smooth(da.from_array(labels, chunks=9), fraction=0.5, max_sigma=0.1))
    np.testing.assert_array_equal(bounded, labels)  # 0.4 voxels do not reach a neighbour
    assert (run(smooth(da.from_array(labels, chunks=9), fraction=0.5)) != labels).any()
    short = run(smooth(da.from_array(labels, chunks=9), fraction=0.5, truncate=0.01))
    np.testing.assert_array_equal(short, labels)


@pytest.mark.parametrize("dtype", ["?", "u1", ">i4", "u8"])
def test_types_are_kept(dtype) -> None:
    labels = (blobs(2, (9, 13)) > 0).astype(dtype)
    result = run(smooth(da.from_array(labels, chunks=4)))
    assert result.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(result > 0, run(smooth(da.from_array(labels > 0))))


@pytest.mark.parametrize("fill", [0, 1])
def test_an_empty_and_a_full_volume_stay(fill) -> None:
    labels = da.full(SHAPE, fill, dtype="u4", chunks=(2, 3, 11))
    assert (run(smooth(labels, fraction=0.3)) == fill).all()


@pytest.mark.parametrize("option", ["fraction", "truncate", "max_sigma"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_impossible_numbers_are_refused(option, value) -> None:
    with pytest.raises(ConfigError, match=f"{option} is a positive number, got"):
        smooth(da.zeros(SHAPE, dtype=int), **{option: value})


def test_other_input_is_refused() -> None:
    with pytest.raises(DtypeError, match="got float64"):
        smooth(da.zeros(SHAPE))
    with pytest.raises(ShapeError, match="empty volume"):
        smooth(da.zeros((0, 3), dtype=int))
    with pytest.raises(DtypeError, match="got -1"):
        run(smooth(da.full((2, 3), -1)))


def test_each_chunk_is_computed_once_and_nothing_before_it_is_asked_for() -> None:
    calls = []

    def load(block: np.ndarray) -> np.ndarray:
        calls.append(block.shape)
        return block

    source = da.from_array(blobs(1), chunks=(2, 3, 5))
    lazy = smooth(source.map_blocks(load, dtype=int, meta=np.empty((0, 0, 0), int)))
    assert calls == []
    run(lazy)
    assert len(calls) == source.npartitions
