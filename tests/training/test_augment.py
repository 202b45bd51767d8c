"""Augmentation moves the truth with the image and leaves its input alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from volproc.training.augment import Augmentation, _blur, warp

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


def test_warping_never_mixes_two_classes_and_turns_image_and_truth_alike() -> None:
    """A stretched and turned map of 0 and 3 holds nothing in between, and lies on its image."""
    z, y, x = np.ogrid[:20, :24, :28]
    inside = (z - 9) ** 2 + (y - 13) ** 2 + (x - 12) ** 2 <= 49
    classes = np.where(inside, 3, 0).astype(np.uint8)
    rng = np.random.default_rng(0)
    change = Augmentation(False, False, scale=0.0, shift=0.0, noise=0.0, affine=1.0)
    image, moved = change(inside.astype(np.float32), classes, rng)
    assert set(np.unique(moved)) == {0, 3}
    assert (moved != classes).sum() > 50
    assert ((image > 0.5) != (moved == 3)).mean() < 0.02
    assert not np.isin(image, (0, 1)).all()


def test_warping_by_a_quarter_turn_moves_each_voxel_to_its_place() -> None:
    image = np.random.default_rng(1).normal(size=(5, 8, 8)).astype(np.float32)
    classes = (image > 0).astype(np.uint8)
    turn = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    moved, truth = warp(image, classes, turn)
    np.testing.assert_allclose(moved, np.rot90(image, 1, (1, 2)), atol=1e-4)
    np.testing.assert_array_equal(truth, np.rot90(classes, 1, (1, 2)))


def test_contrast_keeps_the_range_and_chance_leaves_patches_alone() -> None:
    image = np.random.default_rng(2).normal(size=(6, 6, 6)).astype(np.float32)
    classes = np.zeros((6, 6, 6), np.uint8)
    plain = Augmentation(False, False, scale=0.0, shift=0.0, noise=0.0, contrast=0.5)
    changed, _ = plain(image, classes, np.random.default_rng(0))
    assert (changed.min(), changed.max()) == pytest.approx((image.min(), image.max()))
    assert np.array_equal(np.argsort(changed, None), np.argsort(image, None))
    assert not np.allclose(changed, image, atol=0.01)
    seldom = Augmentation(False, False, chance=0.0)
    same, _ = seldom(image, classes, np.random.default_rng(0))
    np.testing.assert_array_equal(same, image)
