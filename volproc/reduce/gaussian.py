"""Gaussian smoothing of a block, the very bits of the whole volume."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from volproc.core.types import Region, Shape

TRUNCATE = 4.0
"""Where the Gaussian ends, in standard deviations."""

Edge = Literal["constant", "reflect"]
"""What is beyond the volume: zeros, or the volume mirrored at its faces, as SciPy has them."""


def gaussian_radius(sigma: tuple[float, ...]) -> Shape:
    """Voxels per side along each axis that the Gaussian takes.

    >>> gaussian_radius((10.0, 5.0, 0.0))
    (40, 20, 0)
    """
    return tuple(int(TRUNCATE * s + 0.5) for s in sigma)


def smooth_region(
    voxels: npt.NDArray[np.float32],
    read: Region,
    core: Region,
    *,
    sigma: tuple[float, ...],
    edge: Edge,
) -> npt.NDArray[np.float32]:
    """Smooth one region of a volume.

    Parameters
    ----------
    voxels : ndarray of float32, (z, y, x)
        The region with a halo of `gaussian_radius`, as far as the volume goes.
    read, core : tuple of slice
        What ``voxels`` are, and the region itself, in the volume.
    sigma : tuple of float
        Standard deviation along each axis, voxels; 0 leaves an axis as it is.
    edge : {"constant", "reflect"}
        What is beyond the volume.

    Returns
    -------
    smooth : ndarray of float32, shape of the region
        ``scipy.ndimage.gaussian_filter(volume, sigma, mode=edge)[core]``, bit by bit.

    Notes
    -----
    Axis by axis, and what the next axis does not need is cut off at once: about three arrays of
    the block with its halo are in memory.
    """
    radius = gaussian_radius(sigma)
    missing = [
        (r - (c.start - s.start), r - (s.stop - c.stop))
        for r, s, c in zip(radius, read, core, strict=True)
    ]
    mode: Any = {"mode": "constant"} if edge == "constant" else {"mode": "symmetric"}
    smooth = np.pad(voxels, missing, **mode)
    for axis, (one, r) in enumerate(zip(sigma, radius, strict=True)):
        if r == 0 and one == 0:
            continue
        smooth = gaussian_filter1d(smooth, one, axis=axis, mode="constant", truncate=TRUNCATE)
        size = smooth.shape[axis]
        smooth = smooth[(slice(None),) * axis + (slice(r, size - r),)]
    return np.ascontiguousarray(smooth)
