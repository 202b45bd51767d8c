"""Which way a surface faces, near given points of it."""

from __future__ import annotations

from math import ceil

import numpy as np
import numpy.typing as npt

from volproc.core.types import Index
from volproc.reduce.nearest_mask import as_labels

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

ALIKE = 1e-6
"""Relative difference of variances below which a cloud has no flat side."""

NUM_FITS = 4
"""Planes that are fitted, each around the foot of the point on the one before. Of balls of 12 to
25 voxels and their shells, one plane faces 2 to 3° off, four 0.4°: a voxel's centre lies beside
the line from the point to the surface."""

DRIFT = 0.5
"""Longest way of the foot from the nearest voxel, in radii."""


def reach_of_fit(radius: float, unit: tuple[float, ...]) -> tuple[int, ...]:
    """Voxels around the nearest one that a fit looks at, along each axis.

    >>> reach_of_fit(8.0, (1.0, 1.0, 2.0))
    (12, 12, 6)
    """
    return tuple(ceil(radius * (1 + DRIFT) / length) for length in unit)


def surface_normals(
    block: npt.NDArray[np.generic],
    offset: Index,
    voxels: Integers,
    labels: Integers,
    points: Floats,
    *,
    unit: tuple[float, ...],
    radius: float,
) -> Floats:
    """Fit a plane to the mask around each of some voxels, facing a point.

    Parameters
    ----------
    block : ndarray, (z, y, x)
        Mask, as `volproc.reduce.nearest_mask.nearest_in_block` takes it. It reaches
        `reach_of_fit` beyond every voxel, but for the ends of the volume.
    offset : tuple of int
        Where the block begins in the volume, voxels.
    voxels : ndarray of int, (k, 3)
        Voxels of the mask, in the volume.
    labels : ndarray of int, (k,)
        Their values; voxels of other values are not looked at.
    points : ndarray, (k, 3)
        The point that each normal is to face, (z, y, x), voxels.
    unit : tuple of float
        Length of a voxel along each axis.
    radius : float
        Voxels up to this distance belong to the plane, in units.

    Returns
    -------
    normals : ndarray, (k, 3)
        Unit vectors (z, y, x), in units of length, not in voxels.

    Notes
    -----
    The normal is the direction in which the voxels within the radius of the point's foot spread
    least. That holds for a sheet, and for a solid body too: half a ball spreads 0.059 r² along its
    axis of symmetry, 0.2 r² across. Where they have no flat side, as a single voxel, the direction
    from voxel to point is taken.
    """
    scale = np.asarray(unit, np.float64)
    reach = np.array(reach_of_fit(radius, unit))
    values = as_labels(block)
    normals = np.zeros((len(voxels), 3))
    for row, (voxel, label, point) in enumerate(zip(voxels, labels, points, strict=True)):
        low = np.maximum(voxel - offset - reach, 0)
        high = np.minimum(voxel - offset + reach + 1, values.shape)
        window = values[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] == label
        cloud = (np.argwhere(window) + low + offset - voxel) * scale
        towards = (point - voxel) * scale
        foot = np.zeros(3)
        for _ in range(NUM_FITS):
            near = cloud[((cloud - foot) ** 2).sum(axis=1) <= radius**2]
            normals[row] = _facing(near - foot, towards - foot)
            foot = _foot(towards, foot, normals[row], DRIFT * radius)
    return normals


def _foot(towards: Floats, foot: Floats, normal: Floats, farthest: float) -> Floats:
    """Where the way from a point along a normal meets the plane through the last foot."""
    moved = towards - ((towards - foot) @ normal) * normal
    length = float(np.linalg.norm(moved))
    return moved if length <= farthest else moved * (farthest / length)


def _facing(cloud: Floats, towards: Floats) -> Floats:
    """Direction in which a cloud around the origin spreads least, on the side of a point."""
    middle = cloud.mean(axis=0)
    spread = (cloud - middle).T @ (cloud - middle)
    variances, directions = np.linalg.eigh(spread)
    direction = directions[:, 0]
    if variances[1] - variances[0] <= ALIKE * max(variances[2], 1e-300):
        direction = towards
    length = float(np.linalg.norm(direction))
    if length == 0:  # one voxel, and the point in its centre
        return np.array([1.0, 0.0, 0.0])
    direction = direction / length
    side = float(direction @ towards)
    if abs(side) <= ALIKE * float(np.linalg.norm(towards)):
        side = -float(direction @ middle)  # beside an edge: away from what there is of the mask
    return -direction if side < 0 else direction
