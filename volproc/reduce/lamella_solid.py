"""CryoSiam's three-dimensional hull of a lamella, made four times coarser and finer again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import zoom
from scipy.spatial import ConvexHull, QhullError

from volproc.core.types import Region, Shape
from volproc.reduce.lamella_lines import Lines

FACTOR = 4
"""Voxels that become one, along each axis."""

RADIUS = 5
"""Voxels per side that the Gaussian takes which CryoSiam smooths with before and after, of a
standard deviation of a third of twice the factor."""

TOLERANCE = 1e-10
"""Distance beyond a face at which a voxel still counts as inside."""


@dataclass(frozen=True, slots=True, eq=False)
class SolidHull:
    """The convex hull of a body, on a grid that is four times coarser, laid over the volume."""

    equations: npt.NDArray[np.float64]
    """Normal and offset of each face, (n, 4), in voxels of the coarse grid."""

    shape: Shape
    """Size of the volume, voxels."""

    def paint(self, region: Region) -> npt.NDArray[np.bool_]:
        """Voxels of a region whose whole neighbourhood is inside of the hull.

        Interpolated and smoothed, and cut to whole numbers, a voxel is 1 only where everything
        that it was made from is 1. The hull is convex: the corners of that box decide.
        """
        spans = [_needed(s, n) for s, n in zip(region, self.shape, strict=True)]
        box = [(int(low[0]), int(high[-1]) + 1) for low, high in spans]
        grid = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in box], indexing="ij"))
        points = grid.reshape(3, -1).astype(np.float64)
        is_in = np.ones(points.shape[1], bool)
        for face in self.equations:
            is_in &= np.dot(face[:3], points) + face[3] < TOLERANCE
        found: npt.NDArray[np.bool_] = is_in.reshape(grid.shape[1:])
        for axis, ((low, high), (start, _)) in enumerate(zip(spans, box, strict=True)):
            found = found.take(low - start, axis) & found.take(high - start, axis)
        return found


def solid_hull(lines: Lines, shape: Shape) -> SolidHull | None:
    """Hull of a body from its lines.

    Parameters
    ----------
    lines : Lines
        Of the whole volume.
    shape : tuple of int
        Size of the volume, (z, y, x).

    Returns
    -------
    hull : SolidHull or None
        None where it is flat on the coarse grid: CryoSiam finds nothing there either.

    Notes
    -----
    Where the lines end is all that the hull depends on, so that time and memory follow their
    number.
    """
    windows = [_windows(n) for n in shape]
    coarse = lines
    for axis in (0, 1):
        begin, end = windows[axis]
        parts = [coarse.take(np.arange(a, b + 1), axis) for a, b in zip(begin, end, strict=True)]
        ends = [
            np.stack([p[..., 0].min(axis=axis), p[..., 1].max(axis=axis)], axis=-1) for p in parts
        ]
        coarse = np.stack(ends, axis=axis)
    z, y = np.nonzero(coarse[..., 0] <= coarse[..., 1])
    first, last = coarse[z, y].T
    begin, end = windows[2]
    left = np.searchsorted(end, first)
    right = np.searchsorted(begin, last, side="right") - 1
    corners = np.concatenate([np.stack([z, y, x], axis=1) for x in (left, right)])
    try:
        plain = ConvexHull(np.unique(corners, axis=0))
        steps = np.concatenate([np.eye(3), -np.eye(3)]) / 2
        outer = (plain.points[plain.vertices][:, None] + steps).reshape(-1, 3)
        return SolidHull(ConvexHull(np.unique(outer, axis=0)).equations, shape)
    except (QhullError, ValueError):
        return None


def _windows(size: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First and last voxel of an axis that each coarse voxel is made from."""
    coarse = -(-size // FACTOR)
    near = np.rint((np.arange(coarse) + 0.5) * (size / coarse) - 0.5).astype(np.int64)
    has_part = np.zeros((3, coarse), bool)
    for rest in range(3):
        # What share a voxel has is for the interpolation to say: a rounding error is one.
        chosen = (np.arange(size) % 3 == rest).astype(np.float64)
        shares = zoom(chosen, coarse / size, order=1, mode="mirror", grid_mode=True)
        has_part[rest] = shares != 0
    near = np.clip(near, 0, size - 1)
    before, after = (has_part[(near + step) % 3, np.arange(coarse)] for step in (-1, 1))
    begin = np.maximum(near - (before & (near > 0)) - RADIUS, 0)
    end = np.minimum(near + (after & (near + 1 < size)) + RADIUS, size - 1)
    return begin, end


def _needed(side: slice, size: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First and last coarse voxel that each voxel of a side is made from."""
    coarse = -(-size // FACTOR)
    place = np.arange(side.start, side.stop)
    low, high = (np.clip(place + step, 0, FACTOR * coarse - 1) for step in (-RADIUS, RADIUS))
    begin = np.floor((low + 0.5) / FACTOR - 0.5).astype(np.int64)
    end = np.floor((high + 0.5) / FACTOR - 0.5).astype(np.int64) + 1
    return np.clip(begin, 0, coarse - 1), np.clip(end, 0, coarse - 1)
