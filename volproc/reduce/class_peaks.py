"""Particles as local maxima of a class's probability: what one block gives, and what remains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, fsum

import numpy as np
import numpy.typing as npt

from volproc.core.types import Region, Shape
from volproc.reduce.peaks import PeakRule, find_peaks
from volproc.reduce.suppression import suppress_points

Floats = npt.NDArray[np.float64]

NEIGHBOURS = 1.8
"""Radius of the ball in which a candidate is the greatest, voxels: the 26 around it."""

TRUNCATE = 4.0
"""Where the Gaussian ends, in standard deviations."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassPeaks:
    """Candidates of one class in some blocks; one row a candidate."""

    places: npt.NDArray[np.int64]
    """Voxels, (n, 3), of the whole volume."""

    heights: Floats
    """Smoothed probability, (n,): the higher of two near candidates stays."""

    scores: Floats
    """Probability of the voxel itself, (n,)."""

    shifts: Floats
    """Distance from the voxel to the refined peak, (n, 3), at most half a voxel an axis."""

    def __len__(self) -> int:
        return len(self.heights)


def peak_halo(sigma: tuple[float, ...]) -> Shape:
    """Voxels that a block reads beside its own along each axis.

    >>> peak_halo((0.0, 1.0, 1.5))
    (1, 5, 7)
    """
    return tuple(ceil(TRUNCATE * one) + 1 for one in sigma)


def find_class_peaks(
    probabilities: Floats,
    *,
    read: Region,
    write: Region,
    shape: Shape,
    sigma: tuple[float, ...],
    threshold: float,
    refine: bool,
) -> ClassPeaks:
    """Find the candidates of one class in one block.

    Parameters
    ----------
    probabilities : ndarray of float64, (z, y, x)
        The block with a halo of `peak_halo`, as far as the volume goes; finite.
    read, write : tuple of slice
        Where the block with its halo, and the block itself, lie in the volume.
    shape : tuple of int
        Size of the volume.
    sigma : tuple of float
        Standard deviation of the Gaussian along each axis, voxels; 0 does not smooth.
    threshold : float
        Least probability of a candidate's own voxel, inclusive.
    refine : bool
        Move each to the top of the parabola through it and its neighbours along each axis.

    Notes
    -----
    The Gaussian makes one peak, in its middle, of the plateau that a network leaves where it is
    certain. Each voxel is smoothed by the same sums in the same order wherever the block is cut.
    24 bytes a voxel.

    Examples
    --------
    >>> line = np.array([[[0.0, 1, 1, 1, 0, 0, 0.4, 0]]])
    >>> box = (slice(0, 1), slice(0, 1), slice(0, 8))
    >>> how = {"read": box, "write": box, "shape": (1, 1, 8), "threshold": 0.3, "refine": False}
    >>> find_class_peaks(line, sigma=(0.0, 0.0, 1.0), **how).places.tolist()
    [[0, 0, 2], [0, 0, 6]]
    """
    from scipy.ndimage import correlate1d  # a tenth of what a localization imports otherwise

    smooth = probabilities
    for axis, one in enumerate(sigma):
        if one > 0:
            smooth = correlate1d(smooth, _gaussian(one), axis, mode="constant")
    rule = PeakRule(NEIGHBOURS, refine=refine)
    found = find_peaks(smooth, read=read, write=write, shape=shape, rule=rule)
    local = found.places - np.array([side.start for side in read])
    own = probabilities[tuple(local.T)]
    kept = own >= threshold
    return ClassPeaks(found.places[kept], found.scores[kept], own[kept], found.shifts[kept])


def merge_class_peaks(parts: Sequence[ClassPeaks]) -> ClassPeaks:
    """Put candidates of one class together, in the order given."""
    return ClassPeaks(
        np.concatenate([np.zeros((0, 3), np.int64), *(p.places for p in parts)]),
        np.concatenate([np.zeros(0), *(p.heights for p in parts)]),
        np.concatenate([np.zeros(0), *(p.scores for p in parts)]),
        np.concatenate([np.zeros((0, 3)), *(p.shifts for p in parts)]),
    )


def keep_class_peaks(
    found: ClassPeaks, distance_angstrom: float, voxel_size: tuple[float, ...]
) -> tuple[Floats, Floats]:
    """Suppress candidates that are near to a higher one.

    Parameters
    ----------
    found : ClassPeaks
        Candidates of one class in the whole volume, in any order.
    distance_angstrom : float
        Kept peaks are farther apart than this.
    voxel_size : tuple of float
        Å per voxel, (z, y, x); it may differ between the axes.

    Returns
    -------
    centres : ndarray of float64, (n, 3)
        Voxels, the highest first.
    scores : ndarray of float64, (n,)
        Probability of each.
    """
    centres = found.places + found.shifts
    places = centres * np.array(voxel_size)
    kept = suppress_points(places, found.heights, distance_angstrom)
    return centres[kept], found.scores[kept]


def _gaussian(sigma: float) -> Floats:
    radius = ceil(TRUNCATE * sigma)
    heights = [exp(-0.5 * (i / sigma) ** 2) for i in range(-radius, radius + 1)]
    total = fsum(heights)
    return np.array([height / total for height in heights])
