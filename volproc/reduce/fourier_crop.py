"""Coarser volumes by cropping their Fourier transform, one axis after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ShapeError

LINE_VOXELS = 2**20
"""Voxels whose lines are transformed at once: their transform takes 40 bytes each."""


def cropped_length(length: int, voxel_size: float, coarser: float) -> int:
    """Voxels that are left along an axis: rounded, and one less where that is odd.

    Parameters
    ----------
    length : int
        Voxels along the axis.
    voxel_size, coarser : float
        Å per voxel before and after.

    Raises
    ------
    ShapeError
        If nothing would be left.

    Notes
    -----
    The length of the axis in Å changes by less than 1.5 coarser voxels; its first voxel stays
    where it is.

    Examples
    --------
    >>> cropped_length(630, 10.0, 20.0), cropped_length(184, 10.0, 13.48)
    (314, 136)
    """
    found = round(length * voxel_size / coarser)
    found -= found % 2
    if found < 2:
        msg = (
            f"{length} voxels of {voxel_size:g} Å would leave {found} of {coarser:g} Å. Choose "
            "a smaller output voxel size."
        )
        raise ShapeError(msg)
    return found


def crop_axis(
    voxels: npt.NDArray[Any], axis: int, length: int, dtype: npt.DTypeLike = np.float64
) -> npt.NDArray[Any]:
    """Leave out the high frequencies along one axis.

    Parameters
    ----------
    voxels : ndarray of real numbers
        Any number of axes.
    axis : int
        Along which.
    length : int
        Voxels that are left, even, at most as many as there are.
    dtype : dtype
        Of the result; the sums are made in float64.

    Returns
    -------
    cropped : ndarray
        What the frequencies that both lengths have make up, with their amplitude: the mean of
        each line stays as it is. Of the highest one the real part is left, as of any real signal.

    Notes
    -----
    The lines are transformed some at a time: beside the result this takes 40 bytes for each of
    `LINE_VOXELS`.

    Examples
    --------
    >>> wave = 7 + np.cos(2 * np.pi * np.arange(12) / 12)
    >>> crop_axis(wave, 0, 4).round(9)
    array([8., 7., 6., 7.])
    """
    moved = np.moveaxis(voxels, axis, -1)
    before = moved.shape[-1]
    lines = moved.reshape(-1, before)
    out = np.empty((len(lines), length), dtype)
    step = max(1, LINE_VOXELS // before)
    for first in range(0, len(lines), step):
        waves = np.fft.rfft(lines[first : first + step].astype(np.float64), axis=1)
        kept = np.fft.irfft(waves[:, : length // 2 + 1], length, axis=1)
        out[first : first + step] = kept * (length / before)
    return np.moveaxis(out.reshape(*moved.shape[:-1], length), -1, axis)
