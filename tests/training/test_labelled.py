"""Patches of labelled volumes: inside, scaled, on the class that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import NonFiniteError, ShapeError
from volproc.plan.patches import PatchGrid
from volproc.training.labelled import ArraySource, LabelledVolume, MappedClasses, choose_volume
from volproc.training.layers import Balls, LayeredClasses, NonZero
from volproc.training.measure import find_positions, measure_scaling
from volproc.training.validation import score_confusion

SHAPE = (9, 13, 21)
RNG = np.random.default_rng(0)
IMAGE = RNG.normal(100, 20, SHAPE).astype(np.float32)
CLASSES = np.zeros(SHAPE, np.uint8)
CLASSES[2, 3, 4] = 1
CLASSES[8, 12, 20] = 2


def volume(**changes: object) -> LabelledVolume:
    classes = ArraySource(CLASSES)
    values: dict[str, object] = {
        "name": "test",
        "image": ArraySource(IMAGE),
        "classes": classes,
        "shift": 100.0,
        "scale": 20.0,
        "positions": find_positions(classes, 3, seed=0),
    }
    return LabelledVolume(**{**values, **changes})


@given(seed=st.integers(0, 2**32), around=st.sampled_from([None, 1, 2]))
def test_a_patch_lies_inside_and_on_its_class(seed: int, around: int | None) -> None:
    rng = np.random.default_rng(seed)
    patch = (4, 6, 8)
    start = volume().draw_start(rng, patch, around=around)
    assert all(0 <= a <= n - p for a, n, p in zip(start, SHAPE, patch, strict=True))
    image, classes = volume().patch(start, patch, rng)
    region = tuple(slice(a, a + p) for a, p in zip(start, patch, strict=True))
    np.testing.assert_allclose(image, (IMAGE[region] - 100) / 20, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(classes, CLASSES[region])
    assert around is None or (classes == around).any()


def test_patches_reach_every_corner() -> None:
    rng = np.random.default_rng(0)
    starts = [volume().draw_start(rng, (8, 12, 20)) for _ in range(100)]
    assert {*starts} == {(z, y, x) for z in (0, 1) for y in (0, 1) for x in (0, 1)}


def test_a_volume_smaller_than_a_patch_is_padded_as_inference_does() -> None:
    patch = (12, 16, 24)
    rng = np.random.default_rng(0)
    start = volume().draw_start(rng, patch, around=1)
    assert (start,) == tuple(PatchGrid(SHAPE, patch, 0.5)) == ((-1, -1, -1),)
    image, classes = volume().patch(start, patch)
    assert image.shape == classes.shape == patch
    inside = tuple(slice(1, 1 + n) for n in SHAPE)
    np.testing.assert_allclose(image[inside], (IMAGE - 100) / 20, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(classes[inside], CLASSES)
    image[inside] = 0
    assert not image.any()
    assert (classes > 0).sum() == 2


def test_added_noise_keeps_the_patch_scaled() -> None:
    rng = np.random.default_rng(1)
    shape = (40, 41, 42)
    signal = ArraySource(rng.normal(0, 3, shape).astype(np.float32))
    noise = ArraySource(rng.normal(0, 2, shape).astype(np.float32))
    noisy = volume(
        image=signal,
        classes=ArraySource(np.zeros(shape, np.uint8)),
        shift=0.0,
        scale=3.0,
        noise=noise,
        noise_levels=(4.0, 4.0),
        noise_std=2.0,
    )
    image, _ = noisy.patch((0, 0, 0), shape, rng)
    assert image.std() == pytest.approx(1.0, rel=0.02)
    plain, _ = noisy.patch((0, 0, 0), shape)
    expected = (signal.array + 4 * noise.array) / np.hypot(3, 8)
    np.testing.assert_allclose(plain, expected, rtol=1e-4, atol=1e-5)


def test_image_and_truth_of_two_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"class map of test has shape \(5, 7, 11\)"):
        volume(classes=ArraySource(np.zeros((5, 7, 11), np.uint8)))


def test_classes_take_turns_and_volumes_without_them_are_passed_over() -> None:
    first, second = volume(positions={1: np.zeros((1, 3), int)}), volume(positions={})
    rng = np.random.default_rng(0)
    chosen = [choose_volume([second, first], rng, 1.0, turn) for turn in range(4)]
    assert all(v is first and around == 1 for v, around in chosen)
    anywhere = [choose_volume([first, second], rng, 0.0, 0) for _ in range(50)]
    assert {id(v) for v, _ in anywhere} == {id(first), id(second)}
    assert all(around is None for _, around in anywhere)


def test_positions_are_voxels_of_their_class_and_bounded() -> None:
    classes = np.random.default_rng(0).integers(0, 3, (140, 130, 20)).astype(np.uint8)
    found = find_positions(ArraySource(classes), 4, seed=0)
    assert sorted(found) == [1, 2]
    for value, voxels in found.items():
        assert (classes[tuple(voxels.T)] == value).all()
        assert 1000 < len(voxels) <= 20_000


def test_scaling_is_that_of_the_whole_volume() -> None:
    image = np.random.default_rng(0).normal(50, 7, (130, 5, 11))
    shift, scale = measure_scaling(ArraySource(image), "zscore")
    assert (shift, scale) == pytest.approx((image.mean(), image.std()))
    shift, scale = measure_scaling(ArraySource(image), "percentile", (5.0, 95.0))
    low, high = np.percentile(image, (5, 95))
    assert (shift, scale) == pytest.approx((low, high - low))
    assert measure_scaling(ArraySource(image), "none") == (0.0, 1.0)


def test_a_constant_volume_has_a_scaling() -> None:
    shift, scale = measure_scaling(ArraySource(np.full((3, 4, 5), 7.0)), "zscore")
    assert shift == 7.0
    assert scale > 0


def test_infinite_voxels_are_counted() -> None:
    image = np.zeros((3, 4, 5))
    image[0, 0, :2] = np.inf
    with pytest.raises(NonFiniteError, match="2 NaN or infinite voxels"):
        measure_scaling(ArraySource(image), "zscore")


def test_values_of_a_map_become_positions_and_the_rest_background() -> None:
    raw = ArraySource(np.array([[[0, 3, 255, 9]]], np.uint8))
    mapped = MappedClasses(raw, {255: 1, 9: 2})
    region = (slice(0, 1), slice(0, 1), slice(0, 4))
    np.testing.assert_array_equal(mapped.read(region), [[[0, 0, 1, 2]]])


@given(
    start=st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 10)),
    radius=st.floats(0.3, 5),
)
def test_balls_of_a_region_are_those_of_the_whole(start, radius: float) -> None:
    zyx = np.array([[0.2, 3.7, 5.5], [4.0, 6.0, 10.0], [-2.0, 3.0, 3.0]])
    z, y, x = np.ogrid[:5, :7, :11]
    expected = np.zeros((5, 7, 11), bool)
    for c in zyx:
        expected |= (z - c[0]) ** 2 + (y - c[1]) ** 2 + (x - c[2]) ** 2 <= radius**2
    region = tuple(slice(a, n) for a, n in zip(start, (5, 7, 11), strict=True))
    np.testing.assert_array_equal(Balls(zyx, radius).mask(region), expected[region])


def test_later_layers_hide_earlier_ones() -> None:
    ball = Balls(np.array([[1.0, 1.0, 1.0]]), 0.5)
    everywhere = NonZero(ArraySource(np.ones((3, 3, 3), np.uint8)))
    layered = LayeredClasses((3, 3, 3), (3, 3, 3), [(2, everywhere), (1, ball)])
    classes = layered.read((slice(0, 3),) * 3)
    assert classes[1, 1, 1] == 1
    assert (classes == 2).sum() == 26


def test_classes_that_are_nowhere_do_not_count() -> None:
    confusion = np.array([[90, 0, 0], [2, 6, 0], [0, 0, 0]])
    scores = score_confusion(confusion, ("background", "a", "b"), 1.0)
    assert list(scores.by_class) == ["a"]
    assert scores.overall == pytest.approx(2 * 6 / (2 * 6 + 2))
    strict = score_confusion(confusion, ("background", "a", "b"), 4.0)
    assert strict.overall < scores.overall  # recall is what is missing
