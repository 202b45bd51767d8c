"""Which voxel of a mask is nearest to each point: exact, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from volproc.core.types import Index

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SLACK = 1e-9
"""Relative: what a tree rounds otherwise is compared again, by squares of the same sum."""


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """Nearest mask voxel of some points; points without one in reach are left out."""

    point: Integers
    """(k,) number of the point, ascending."""

    square: Floats
    """(k,) its squared distance, in units squared."""

    label: Integers
    """(k,) value of the mask there."""

    voxel: Integers
    """(k, 3) where that is, (z, y, x)."""

    @property
    def distance(self) -> Floats:
        """(k,) distance, in units."""
        return np.sqrt(self.square)


def nearest_in_block(
    block: npt.NDArray[np.generic],
    offset: Index,
    points: Floats,
    *,
    unit: tuple[float, ...],
    reach: float,
) -> Nearest:
    """Find the nearest mask voxel of each point within one block.

    Parameters
    ----------
    block : ndarray, (z, y, x)
        Mask: 0 is outside, any positive value inside. Of floating values all are one mask.
    offset : tuple of int
        Where the block begins in the volume, voxels.
    points : ndarray, (n, 3)
        Points in the volume, (z, y, x), voxels.
    unit : tuple of float
        Length of a voxel along each axis.
    reach : float
        Longest distance that matters, included, in units.

    Returns
    -------
    nearest : Nearest
        Of equally near voxels that of the lowest label, then the first in raster order.

    Notes
    -----
    The nearest voxel of a point is at the surface of the mask, or it is the one that the point
    lies in: if a neighbour towards the point were in the mask too, that would be nearer. So only
    the surface goes into the tree. Faces of the block count as surface. Memory is about 60 bytes
    a voxel of the surface.
    """
    scale = np.asarray(unit, np.float64)
    start = np.asarray(offset, np.int64)
    margin = reach / scale + 1
    low, high = start - margin, start + np.asarray(block.shape) - 1 + margin
    near = np.flatnonzero(((points >= low) & (points <= high)).all(axis=1))
    if not len(near):
        return _nothing()
    # Only what is in reach of a point at all: often a corner of the block.
    least, most = points[near].min(axis=0) - margin, points[near].max(axis=0) + margin
    begin = np.maximum(np.floor(least).astype(np.int64) - start, 0)
    end = np.minimum(np.ceil(most).astype(np.int64) + 1 - start, block.shape)
    values = as_labels(block[tuple(slice(a, b) for a, b in zip(begin, end, strict=True))])
    start = start + begin
    places = np.concatenate([_surface(values > 0), _corners(values > 0, points[near] - start)])
    if not len(places):
        return _nothing()
    labels = values[tuple(places.T)].astype(np.int64)
    places = places + start
    centres = places * scale
    tree = cKDTree(centres)
    wanted = points[near] * scale
    distance, _ = tree.query(wanted, distance_upper_bound=reach * (1 + SLACK) + SLACK)
    rows = []
    for number, point, length in zip(near, wanted, distance, strict=True):
        if not np.isfinite(length):
            continue
        ties = np.array(tree.query_ball_point(point, length * (1 + SLACK) + SLACK), np.int64)
        squares = ((centres[ties] - point) ** 2).sum(axis=1)
        best = ties[np.lexsort((*places[ties].T[::-1], labels[ties], squares))[0]]
        rows.append((number, squares.min(), best))
    if not rows:
        return _nothing()
    chosen = np.array([row[2] for row in rows], np.int64)
    return Nearest(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float64),
        labels[chosen],
        places[chosen],
    )


def merge_nearest(parts: list[Nearest]) -> Nearest:
    """Of what was found in several blocks, the nearest of each point.

    Parameters
    ----------
    parts : list of Nearest
        Of blocks that do not overlap, in any order.
    """
    if not parts:
        return _nothing()
    point, square, label = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("point", "square", "label")
    )
    voxel = np.concatenate([part.voxel for part in parts])
    order = np.lexsort((*voxel.T[::-1], label, square, point))
    first = order[np.unique(point[order], return_index=True)[1]]
    return Nearest(point[first], square[first], label[first], voxel[first])


def as_labels(block: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A mask whose values are whole numbers: floating ones are in it or not."""
    if block.dtype.kind in "iu":
        return block
    return (block.astype(np.float32) > 0).astype(np.uint8)


def _surface(mask: npt.NDArray[np.bool_]) -> Integers:
    """Voxels of a mask with a neighbour by a face that is not in it, or not in the block."""
    inner = np.zeros_like(mask)
    if min(mask.shape) > 2:
        middle = (slice(1, -1),) * 3
        inside = mask[middle].copy()
        for axis in range(3):
            for side in (slice(0, -2), slice(2, None)):
                inside &= mask[tuple(side if a == axis else slice(1, -1) for a in range(3))]
        inner[middle] = inside
    return np.argwhere(mask & ~inner).astype(np.int64)


def _corners(mask: npt.NDArray[np.bool_], points: Floats) -> Integers:
    """Voxels of a mask around each point: those that it may lie in."""
    around = np.array([[z, y, x] for z in (0, 1) for y in (0, 1) for x in (0, 1)], np.int64)
    places = (np.floor(points).astype(np.int64)[:, None] + around).reshape(-1, 3)
    places = places[((places >= 0) & (places < mask.shape)).all(axis=1)]
    return places[mask[tuple(places.T)]]


def _nothing() -> Nearest:
    none = np.zeros(0, np.int64)
    return Nearest(none, np.zeros(0), none, np.zeros((0, 3), np.int64))
