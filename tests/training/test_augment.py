"""Augmentation moves the truth with the image and leaves its input alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from volproc.training.augment import Augmentation, _blur

SHAPE = (5, 7, 11)
GEOMETRY = {"scale": 0.0, "shift": 0.0, "noise": 0.0}


@given(
    seed=st.integers(0, 2**32),
    shape=st.sampled_from([SHAPE, (5, 7, 7), (6, 6, 6)]),
    transpose=st.booleans(),
)
def test_truth_and_image_move_together(seed: int, shape: tuple[int, ...], transpose: bool) -> None:
    classes = np.random.default_rng(0).integers(0, 200, shape).astype(np.uint8)
    change = Augmentation(transpose=transpose, **GEOMETRY)
    image, moved = change(classes.astype(np.float32), classes, np.random.default_rng(seed))
    np.testing.assert_array_equal(image, moved)
    assert image.shape == shape
    assert sorted(moved.ravel()) == sorted(classes.ravel())


@given(seed=st.integers(0, 2**32))
def test_the_same_chance_gives_the_same_patch_and_the_input_stays(seed: int) -> None:
    image = np.random.default_rng(1).standard_normal(SHAPE, np.float32)
    classes = np.zeros(SHAPE, np.uint8)
    before = image.copy()
    change = Augmentation(blur=1.0)
    first = change(image, classes, np.random.default_rng(seed))
    again = change(image, classes, np.random.default_rng(seed))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(image, before)
    assert first[0].dtype == np.float32
    assert first[0].flags.c_contiguous


def test_all_mirror_images_and_quarter_turns_occur() -> None:
    image = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    rng = np.random.default_rng(0)
    seen = {Augmentation(**GEOMETRY)(image, image, rng)[0].tobytes() for _ in range(400)}
    assert len(seen) == 16  # the symmetries of a box with a square face
    every = Augmentation(transpose=True, **GEOMETRY)
    assert len({every(image, image, rng)[0].tobytes() for _ in range(1500)}) == 48


def test_nothing_switched_on_changes_nothing() -> None:
    image = np.random.default_rng(2).standard_normal(SHAPE, np.float32)
    off = Augmentation(flip=False, rotate90=False, **GEOMETRY)
    np.testing.assert_array_equal(off(image, image, np.random.default_rng(0))[0], image)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 1.7])
def test_the_blur_is_a_gaussian_of_scipy(sigma: float) -> None:
    image = np.random.default_rng(3).standard_normal((9, 14, 11), np.float32)
    radius = max(1, int(np.ceil(3 * sigma)))
    expected = gaussian_filter(image, sigma, mode="reflect", radius=radius)
    np.testing.assert_allclose(_blur(image, sigma), expected, atol=1e-5)
