"""What a network says of a tile becomes labels by CryoSiam's rule."""

from __future__ import annotations

import numpy as np
import pytest

from volproc.models.tile_network import choose_labels


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9])
def test_the_threshold_goes_before_the_largest(threshold: float) -> None:
    # Few different values: there are equal ones, and some that are the threshold.
    drawn = np.random.default_rng(0).integers(0, 11, (4, 5, 6, 7))
    probabilities = drawn.astype(np.float32) / np.float32(10)
    kept = np.where(probabilities < threshold, 0, probabilities)
    labels = choose_labels(probabilities, threshold)
    np.testing.assert_array_equal(labels, kept.argmax(0))
    assert labels.dtype == np.uint8


def test_one_channel_has_to_be_above_the_threshold() -> None:
    probabilities = np.array([0.2, 0.5, 0.7], np.float32).reshape(1, 1, 1, 3)
    assert choose_labels(probabilities, 0.5).ravel().tolist() == [0, 0, 1]
