"""Fourier cropping: the whole-volume transform, axis by axis, with the right amplitude."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.core.errors import ShapeError
from volproc.reduce import fourier_crop
from volproc.reduce.fourier_crop import crop_axis, cropped_length


def crop_whole(volume: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The three-dimensional transform, cropped at once; real at the highest frequencies."""
    waves = np.fft.fftn(volume)
    for axis, (before, after) in enumerate(zip(volume.shape, shape, strict=True)):
        half = after // 2
        low = np.take(waves, range(half), axis)
        high = np.take(waves, range(before - half + 1, before), axis)
        top = (np.take(waves, [half], axis) + np.take(waves, [before - half], axis)) / 2
        waves = np.concatenate([low, top, high], axis)
    return np.fft.ifftn(waves).real * np.prod(shape) / volume.size


@settings(deadline=None, max_examples=30)
@given(
    st.tuples(*(st.integers(4, 13) for _ in range(3))),
    st.tuples(*(st.sampled_from([2, 4]) for _ in range(3))),
    st.integers(0, 10**6),
)
def test_axis_by_axis_it_is_the_crop_of_the_whole_transform(before, after, seed) -> None:
    volume = np.random.default_rng(seed).normal(3, 1, before)
    found = volume
    for axis in (2, 1, 0):
        found = crop_axis(found, axis, after[axis])
    np.testing.assert_allclose(found, crop_whole(volume, after), atol=1e-12)
    np.testing.assert_allclose(found.mean(), volume.mean())


@pytest.mark.parametrize("length", [96, 95])
def test_a_wave_keeps_its_amplitude_and_its_place(length) -> None:
    def wave(size: int) -> np.ndarray:
        return 5 + 2 * np.cos(2 * np.pi * 3 * np.arange(size) / size + 0.4)

    np.testing.assert_allclose(crop_axis(wave(length), 0, 20), wave(20))


def test_as_many_voxels_are_the_voxels_themselves() -> None:
    volume = np.random.default_rng(0).normal(size=(6, 5))
    np.testing.assert_allclose(crop_axis(volume, 0, 6), volume)


def test_lines_some_at_a_time_give_the_same(monkeypatch) -> None:
    volume = np.random.default_rng(0).normal(size=(5, 9, 7)).astype(np.float32)
    whole = crop_axis(volume, 1, 4)
    monkeypatch.setattr(fourier_crop, "LINE_VOXELS", 20)
    np.testing.assert_array_equal(crop_axis(volume, 1, 4), whole)


@pytest.mark.parametrize(
    ("length", "sizes", "expected"), [(100, (10, 20), 50), (630, (10, 13.48), 466), (7, (5, 9), 4)]
)
def test_lengths_are_rounded_and_even(length, sizes, expected) -> None:
    assert cropped_length(length, *sizes) == expected


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(ShapeError, match="5 voxels of 10 Å would leave 0 of 40 Å"):
        cropped_length(5, 10.0, 40.0)
