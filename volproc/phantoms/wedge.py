"""The missing wedge as a finite kernel, so that it can act on a region alone."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import fft

RADIUS = 24
"""Voxels that the kernel reaches in z and in x."""

_GRID = 512
"""Grid on which the sharp wedge is drawn, before its kernel is cut to size."""


@cache
def wedge_kernel(max_tilt_deg: float) -> npt.NDArray[np.float64]:
    """Real-space kernel of a missing wedge in the (z, x) plane.

    A tilt series about y up to ±``max_tilt_deg`` measures the frequencies with
    ``|kz| <= |kx| tan(max_tilt)``. The kernel of that sharp fan is cut to ``RADIUS`` voxels
    under a Hann window, which blurs the edge of the fan by about one part in ``RADIUS``.

    Parameters
    ----------
    max_tilt_deg : float
        Largest tilt angle, degrees, in (0, 90].

    Returns
    -------
    kernel : ndarray of float64, (2 RADIUS + 1, 2 RADIUS + 1)
        Axes (z, x), the origin in the middle.
    """
    kz = np.abs(fft.fftfreq(_GRID))[:, None]
    kx = np.abs(fft.fftfreq(_GRID))[None]
    measured = kz <= kx * np.tan(np.deg2rad(max_tilt_deg)) + 1e-12
    kernel = fft.fftshift(fft.ifft2(measured).real)
    middle = slice(_GRID // 2 - RADIUS, _GRID // 2 + RADIUS + 1)
    window = np.hanning(2 * RADIUS + 3)[1:-1]
    return kernel[middle, middle] * np.outer(window, window)


@cache
def _transfer(max_tilt_deg: float, nz: int, nx: int) -> npt.NDArray[np.float32]:
    """Fourier transform of the kernel on a grid; real, because the kernel is even."""
    padded = np.zeros((nz, nx))
    padded[: 2 * RADIUS + 1, : 2 * RADIUS + 1] = wedge_kernel(max_tilt_deg)
    padded = np.roll(padded, (-RADIUS, -RADIUS), axis=(0, 1))
    return fft.rfft2(padded).real.astype(np.float32)[:, None]


def take_out_wedge(block: npt.NDArray[np.float32], max_tilt_deg: float) -> npt.NDArray[np.float32]:
    """Convolve a block with the wedge's kernel and cut off what lacks its neighbours.

    Parameters
    ----------
    block : ndarray of float32, (z, y, x)
        Block with ``RADIUS`` extra voxels per side along z and x.
    max_tilt_deg : float
        Largest tilt angle, degrees.

    Returns
    -------
    filtered : ndarray of float32, (z, y, x)
        ``2 RADIUS`` voxels shorter along z and x.
    """
    spectrum = fft.rfft2(block, axes=(0, 2))
    spectrum *= _transfer(max_tilt_deg, block.shape[0], block.shape[2])
    full = fft.irfft2(spectrum, s=(block.shape[0], block.shape[2]), axes=(0, 2))
    return np.ascontiguousarray(full[RADIUS:-RADIUS, :, RADIUS:-RADIUS], np.float32)
