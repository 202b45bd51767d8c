"""Smoothing: how much, and the Gaussian itself."""

from __future__ import annotations

from math import pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi

from volproc.reduce.smoothing import SmoothingRule, smooth_block
from volproc.reduce.smoothing_kernels import find_runs, reflected, smooth_object


def test_the_blur_is_a_part_of_the_diameter_in_space() -> None:
    ball = round(4 / 3 * pi * 20**3)
    cubes = SmoothingRule(0.05, 4.0, 16.0, (1.0, 1.0, 1.0))
    assert cubes.sigma(ball) == pytest.approx((2.0,) * 3, rel=1e-4)
    assert cubes.radius(ball) == (8, 8, 8)
    flat = SmoothingRule(0.05, 4.0, 1.5, (20.0, 10.0, 10.0))
    assert flat.sigma(ball) == pytest.approx((2 ** (1 / 3), 1.5, 1.5), rel=1e-4)
    disk = SmoothingRule(0.1, 3.0, 16.0, (1.0, 1.0))
    assert disk.sigma(round(pi * 100)) == pytest.approx((2.0, 2.0), rel=1e-3)
    assert [w.size for w in disk.weights(round(pi * 100))] == [1, 13, 13]


def test_mirrored_places_are_those_of_numpy() -> None:
    expected = np.pad(np.arange(4), 11, mode="symmetric")
    assert [reflected(i, 4) for i in range(-11, 15)] == expected.tolist()


@given(st.integers(0, 99), st.floats(0.3, 2.5))
def test_values_are_those_of_scipy(seed, sigma) -> None:
    shape = (5, 7, 11)
    mask = np.random.default_rng(seed).random(shape) < 0.8
    rule = SmoothingRule(1.0, 4.0, sigma, (1.0,) * 3)
    weights = rule.weights(int(mask.sum()))
    best, out = np.zeros(shape), np.zeros(shape, np.uint32)
    zero, size = np.zeros(3, np.int64), np.array(shape)
    box = np.array([0, 0, 0, *shape])
    _, runs = find_runs(mask.astype(np.uint32), 1)
    planes, spans = np.zeros(shape), np.zeros((5, 7, 2), np.int64)
    spans[..., 0] = 11
    smooth_object(1, runs, box, box, zero, size, *weights, planes, spans, zero, best, out)
    assert not planes.any()
    assert (spans == [11, 0]).all()
    expected = ndi.gaussian_filter(mask.astype(float), rule.sigma(int(mask.sum())))
    taken = best > 0
    np.testing.assert_allclose(best[taken], expected[taken], atol=1e-12)
    np.testing.assert_array_equal(taken, expected > 0.5)


def test_the_greatest_value_wins_whatever_the_labels() -> None:
    for large, rod, dot in ((2, 5, 9), (9, 5, 2)):
        labels = np.zeros((17, 17), int)
        labels[2:15, 2:15] = large
        labels[6, 6:9] = rod  # blurred by a third of a voxel: 0.9
        labels[10, 10] = dot  # too small to be blurred: 1
        rule = SmoothingRule(0.2, 4.0, 16.0, (1.0, 1.0))
        counts = {large: 165, rod: 3, dot: 1}
        result = smooth_block(
            labels,
            start=(0, 0),
            core=(slice(0, 17), slice(0, 17)),
            shape=(17, 17),
            counts=lambda names, counts=counts: np.array([counts[n] for n in names.tolist()]),
            rule=rule,
        )
        blurred = {
            label: ndi.gaussian_filter((labels == label).astype(float), rule.sigma(n))
            for label, n in counts.items()
        }
        assert blurred[large][10, 10] > 0.5
        assert result[10, 10] == dot
        winner = max((large, rod), key=lambda label: blurred[label][6, 6])
        assert min(blurred[large][6, 6], blurred[rod][6, 6]) > 0.5
        assert result[6, 6] == winner


def test_runs_are_sorted_by_object() -> None:
    numbers = np.array([[[2, 2, 0, 1], [0, 1, 1, 2]]], np.uint32)
    starts, runs = find_runs(numbers, 2)
    assert starts.tolist()[:2] == [0, 2]
    assert runs.tolist() == [[0, 0, 3, 4], [0, 1, 1, 3], [0, 0, 0, 2], [0, 1, 3, 4]]
