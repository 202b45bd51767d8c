"""The missing wedge: what is measured stays, what is missing goes."""

from __future__ import annotations

import numpy as np
import pytest

from volproc.phantoms.wedge import RADIUS, take_out_wedge, wedge_kernel


def wave(kz: float, kx: float, size: int = 160) -> np.ndarray:
    z, x = np.mgrid[:size, :size]
    plane = np.cos(2 * np.pi * (kz * z + kx * x)).astype(np.float32)
    return np.repeat(plane[:, None], 3, axis=1)


@pytest.mark.parametrize(
    ("kz", "kx", "kept"),
    [(0.0, 0.2, 1.0), (0.1, 0.2, 1.0), (0.25, 0.2, 1.0), (0.2, 0.0, 0.0), (0.3, 0.08, 0.0)],
)
def test_a_wave_is_kept_or_lost_as_its_tilt_says(kz: float, kx: float, kept: float) -> None:
    block = wave(kz, kx)
    inner = block[RADIUS:-RADIUS, :, RADIUS:-RADIUS]
    ratio = take_out_wedge(block, 60.0).std() / inner.std()
    assert ratio == pytest.approx(kept, abs=0.03)


def test_the_full_tilt_range_keeps_every_wave() -> None:
    block = np.random.default_rng(0).standard_normal((60, 2, 60)).astype(np.float32)
    inner = block[RADIUS:-RADIUS, :, RADIUS:-RADIUS]
    assert abs(take_out_wedge(block, 90.0) - inner).max() < 0.02 * abs(inner).max()


def test_the_transform_equals_the_plain_convolution() -> None:
    block = np.random.default_rng(1).standard_normal((53, 2, 55)).astype(np.float32)
    kernel = wedge_kernel(60.0)
    expected = np.empty((53 - 2 * RADIUS, 2, 55 - 2 * RADIUS))
    for z, y, x in np.ndindex(expected.shape):
        window = block[z : z + 2 * RADIUS + 1, y, x : x + 2 * RADIUS + 1]
        expected[z, y, x] = (window * kernel[::-1, ::-1]).sum()
    np.testing.assert_allclose(take_out_wedge(block, 60.0), expected, atol=1e-4)


def test_seven_tenths_of_white_noise_are_measured_at_sixty_degrees() -> None:
    # The fan |kz| <= |kx| tan 60° fills 0.711 of the square of frequencies; its blurred edge
    # costs a little.
    block = np.random.default_rng(2).standard_normal((200, 3, 200)).astype(np.float32)
    assert take_out_wedge(block, 60.0).var() == pytest.approx(0.70, abs=0.02)
