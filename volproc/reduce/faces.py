"""What a block tells its neighbours of its components, and who touches whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ConfigError, ShapeError
from volproc.core.types import Index, Shape
from volproc.reduce.component_kernels import unite_planes
from volproc.reduce.runs import LabelledRuns

Links = npt.NDArray[np.int64]
"""Pairs of components that touch, (n, 2), each component named by its first voxel's raster index
in the volume. A component is thus named without knowing any other block."""


@dataclass(frozen=True, slots=True, eq=False)
class BlockFaces:
    """Components on the outer planes of one block; only planes with a neighbour behind them.

    Planes count only the components that they show, from 1, in the narrowest type that holds
    them: 128³ voxels with few components need 6 × 16 kB.
    """

    shape: Shape
    """Size of the block, always three axes: a micrograph's is (1, y, x)."""

    planes: dict[tuple[int, int], npt.NDArray[Any]]
    """Plane of numbers by (axis, side), side 0 below and 1 above; absent if it shows none."""

    first: npt.NDArray[np.int64]
    """First voxel of each component by its number in the planes; [0] is unused."""

    classes: npt.NDArray[np.int64]
    """Class value of each component by its number in the planes; [0] is unused."""

    sides: npt.NDArray[np.uint8]
    """Planes that show each component, by its number: the sum of their `side_bit`; [0] is
    unused."""


def side_bit(axis: int, side: int) -> int:
    """Bit of one of the six sides of a block.

    >>> [side_bit(axis, side) for axis in range(3) for side in range(2)]
    [1, 2, 4, 8, 16, 32]
    """
    return 1 << (2 * axis + side)


def check_connectivity(connectivity: int, ndim: int) -> None:
    """Refuse a connectivity that these axes do not have.

    Raises
    ------
    ConfigError
        If it is not in 1 … ndim.
    """
    if connectivity not in range(1, ndim + 1):
        msg = (
            f"connectivity is 1 (faces) to {ndim} (corners) with {ndim} axes, got {connectivity}. "
            "26 neighbours are connectivity 3, 18 are 2, 6 are 1."
        )
        raise ConfigError(msg)


def upper_directions(ndim: int, connectivity: int) -> list[Index]:
    """Directions to the neighbours that a block is joined with by itself.

    Of the two directions between neighbours, the one whose first step is upward is kept, so that
    each pair of blocks is joined once: 3 directions with connectivity 1, 9 with 2, 13 with 3.

    >>> upper_directions(2, 1)
    [(0, 1), (1, 0)]
    >>> upper_directions(2, 2)
    [(0, 1), (1, -1), (1, 0), (1, 1)]
    """
    check_connectivity(connectivity, ndim)
    none = (0,) * ndim
    return [
        step
        for step in product((-1, 0, 1), repeat=ndim)
        if step > none and sum(map(abs, step)) <= connectivity
    ]


def collect_faces(
    found: LabelledRuns,
    first: npt.NDArray[np.int64],
    classes: npt.NDArray[np.int64],
    *,
    offset: Shape,
    shape: Shape,
) -> BlockFaces:
    """Cut out what neighbours need to know.

    Parameters
    ----------
    found : LabelledRuns
        Local components 1..n; a micrograph as (1, y, x).
    first, classes : ndarray of int64, (n,)
        First voxel in the volume and class value of each.
    offset, shape : tuple of int
        First voxel of the block, and size of the volume; three axes.
    """
    planes = {}
    sides = np.zeros(len(first) + 1, np.uint8)
    for axis, side in product(range(3), range(2)):
        end = offset[axis] + found.shape[axis]
        if (side == 0 and offset[axis] == 0) or (side == 1 and end == shape[axis]):
            continue
        plane = found.plane(axis, side)
        if plane.any():
            planes[axis, side] = plane
            sides[plane] |= np.uint8(side_bit(axis, side))
    sides[0] = 0
    shown = sides > 0
    number = np.cumsum(shown)
    number[~shown] = 0
    narrow = number.astype(np.min_scalar_type(int(number.max())))
    return BlockFaces(
        found.shape,
        {place: narrow[plane] for place, plane in planes.items()},
        np.concatenate(([-1], first[shown[1:]])),
        np.concatenate(([0], classes[shown[1:]])),
        np.concatenate((np.zeros(1, np.uint8), sides[shown])),
    )


def join_faces(
    faces: BlockFaces, neighbours: Mapping[Index, BlockFaces], *, connectivity: int
) -> Links:
    """Find the components that touch across the outer planes of a block.

    Parameters
    ----------
    faces : BlockFaces
        Of one block.
    neighbours : mapping of direction to BlockFaces
        Its neighbours in `upper_directions`, as far as the volume goes; a direction is a step in
        the grid of chunks, such as (0, 1, -1).
    connectivity : int
        As in `label_block`; all blocks alike.

    Returns
    -------
    links : ndarray of int64, (n, 2)
        First voxels of two touching components; at most one pair fewer than components, since
        only as many are kept as hold the touching ones together.

    Raises
    ------
    ShapeError
        If a neighbour does not fit the block along the plane between them.

    Notes
    -----
    A voxel and its neighbour lie in two blocks that are one step apart in the grid, however small
    the blocks. Along axes without a step both voxels move within the facing planes, along axes
    with a step the place is fixed: so a plane, a line or a corner of one block is held against
    that of the other, and the steps of the voxels add up to at most ``connectivity``.
    """
    parts = [faces, *neighbours.values()]
    starts = np.cumsum([0, *(len(part.first) for part in parts)])
    first = np.concatenate([part.first for part in parts])
    classes = np.concatenate([part.classes for part in parts])
    parent = np.arange(len(first))
    for start, (direction, other) in zip(starts[1:], neighbours.items(), strict=False):
        step = (0,) * (3 - len(direction)) + tuple(direction)
        check_connectivity(connectivity, len(direction))
        facing = _facing(faces, other, step)
        if facing is not None:
            reach = connectivity - sum(map(abs, step))
            unite_planes(parent, *facing, classes, int(start), reach)
    root = parent  # not yet flat: links along the forest's own edges are enough
    joined = np.flatnonzero(root != np.arange(len(first)))
    return np.stack([first[joined], first[root[joined]]], axis=1)


def _facing(
    faces: BlockFaces, other: BlockFaces, step: Index
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]] | None:
    """Parts of the planes of two blocks that look at each other, or None if one is empty."""
    for axis in range(3):
        if step[axis] == 0 and faces.shape[axis] != other.shape[axis]:
            msg = (
                f"blocks of shapes {faces.shape} and {other.shape}, {step} apart, do not fit "
                "each other. Give blocks of one chunk grid."
            )
            raise ShapeError(msg)
    axis = next(a for a in range(3) if step[a])
    sides = (1, 0) if step[axis] > 0 else (0, 1)
    lower, upper = faces.planes.get((axis, sides[0])), other.planes.get((axis, sides[1]))
    if lower is None or upper is None:
        return None
    rest = [a for a in range(3) if a != axis]
    ends = {0: slice(None), 1: slice(-1, None), -1: slice(0, 1)}
    near = lower[tuple(ends[step[a]] for a in rest)]
    far = upper[tuple(ends[-step[a]] for a in rest)]
    return np.ascontiguousarray(near, np.uint32), np.ascontiguousarray(far, np.uint32)
