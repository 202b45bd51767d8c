"""Variation of information and adapted Rand error against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import metrics as skimage_metrics

from volproc.metrics import adapted_rand_error, contingency_table, variation_of_information


@pytest.mark.parametrize("ignored", [(), (0,), (0, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_both_equal_scikit_image(seed: int, ignored: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, 7, (2, 3, 4)), np.ones((2, 5, 3), int))
    predicted = np.where(rng.random(truth.shape) < 0.1, 0, np.roll(truth, 1 + seed, 1))
    table = contingency_table(truth, predicted)
    np.testing.assert_allclose(
        variation_of_information(table, ignored=ignored),
        skimage_metrics.variation_of_information(truth, predicted, ignore_labels=ignored),
        rtol=1e-9,
    )
    np.testing.assert_allclose(
        adapted_rand_error(table, ignored=ignored),
        skimage_metrics.adapted_rand_error(truth, predicted, ignore_labels=ignored),
        rtol=1e-9,
    )


def test_a_cut_object_is_a_split_and_not_a_merge() -> None:
    table = contingency_table([1, 1, 2, 2], [3, 4, 5, 5])
    assert variation_of_information(table) == (0.5, 0.0)
    error, precision, recall = adapted_rand_error(table)
    assert (precision, recall) == (0.5, 1.0)
    assert error == pytest.approx(1 / 3)


def test_nothing_agrees_with_nothing() -> None:
    table = contingency_table([0, 0], [0, 0])
    assert variation_of_information(table, ignored=(0,)) == (0.0, 0.0)
    assert adapted_rand_error(table) == (0.0, 1.0, 1.0)


def test_large_objects_do_not_overflow() -> None:
    table = contingency_table([1, 1, 2], [1, 1, 2])
    table["num_voxels"] *= 10**12
    assert adapted_rand_error(table)[1:] == (1.0, 1.0)
