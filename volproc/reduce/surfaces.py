"""Surface voxels on the outer planes of blocks, which only their neighbours can decide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ShapeError
from volproc.core.types import Shape
from volproc.reduce.measure_kernels import find_undecided
from volproc.reduce.measuring import unsigned
from volproc.reduce.tables import ObjectTable

Ints = npt.NDArray[np.int64]

Side = tuple[int, int]
"""Axis of three, and 0 for the lower or 1 for the upper outer plane."""


@dataclass(frozen=True, slots=True, eq=False)
class BlockSurface:
    """Objects on the outer planes of one block; only planes with a neighbour behind them.

    Planes number the objects that they show from 1, in the narrowest type that holds them, as
    `volproc.reduce.faces.BlockFaces` do; those without any are left out.
    """

    shape: Shape
    """Size of the block, always three axes."""

    planes: Mapping[Side, npt.NDArray[Any]]
    """Numbers of the objects; 0 is background."""

    undecided: Mapping[Side, npt.NDArray[np.uint8]]
    """Bits of the voxels of objects that are no surface as far as the block shows."""

    names: Ints
    """Label of each object by its number in the planes; [0] is the background's, 0."""

    def with_names(self, names: Ints) -> BlockSurface:
        """Rename the objects: other objects may then have one name."""
        return replace(self, names=names)


def collect_surface(
    volume: npt.NDArray[Any], label: Ints, *, offset: Shape, shape: Shape
) -> BlockSurface:
    """Cut out what decides on the surface voxels of a block and of its neighbours.

    Parameters
    ----------
    volume : ndarray of int, (z, y, x)
        Labels as they were measured; a micrograph's (1, y, x).
    label : ndarray of int64, (n,)
        All objects of the block, ascending.
    offset, shape : tuple of int
        First voxel of the block, and size of the volume.
    """
    lead = (0,) * (3 - len(shape))
    start, size = lead + tuple(offset), (1,) * len(lead) + tuple(shape)
    planes: dict[Side, npt.NDArray[Any]] = {}
    undecided: dict[Side, npt.NDArray[np.uint8]] = {}
    shown = np.zeros(len(label) + 1, bool)
    for axis, side in product(range(3), range(2)):
        end = start[axis] + volume.shape[axis]
        if (side == 0 and start[axis] == 0) or (side == 1 and end == size[axis]):
            continue
        # the plane, and the one behind it that decides on its voxels
        two: list[Any] = [slice(None)] * 3
        two[axis] = slice(-2, None) if side else slice(2)
        slab = unsigned(volume[tuple(two)])
        plane = slab.take(-side, axis)
        if plane.any():
            rows = np.searchsorted(label, plane.astype(np.int64)) + 1
            planes[axis, side] = np.where(plane == 0, 0, rows)
            undecided[axis, side] = np.packbits(find_undecided(slab, axis, side))
            shown[planes[axis, side]] = True
    shown[0] = False
    number = np.cumsum(shown)
    number[~shown] = 0
    narrow = number.astype(np.min_scalar_type(int(number.max())))
    return BlockSurface(
        volume.shape,
        {place: narrow[plane] for place, plane in planes.items()},
        undecided,
        np.concatenate(([0], label[shown[1:]])),
    )


def decide_surface(
    surface: BlockSurface, neighbours: Mapping[Side, BlockSurface]
) -> tuple[Ints, Ints]:
    """Count the voxels that neighbouring blocks make surface.

    Parameters
    ----------
    surface : BlockSurface
        Of one block.
    neighbours : mapping of (axis, side) to BlockSurface
        Blocks behind its outer planes, as far as the volume goes: up to six.

    Returns
    -------
    label, count : ndarray of int64, (n,)
        Objects, ascending, and how many of their voxels come on top.

    Raises
    ------
    ShapeError
        If a neighbour is missing, or does not fit the block along the plane between them.
    """
    found: dict[Side, npt.NDArray[np.bool_]] = {}
    total = np.zeros(len(surface.names), np.int64)
    for place, plane in surface.planes.items():
        other = _facing(surface, neighbours, place)
        bits = np.unpackbits(surface.undecided[place], count=plane.size).reshape(plane.shape)
        differs = bits.astype(bool) & (surface.names[plane] != other)
        counted = np.zeros(plane.shape, bool)
        for before, marks in found.items():
            for here, there in _shared(surface.shape, place, before):
                counted[here] |= marks[there]
        total += np.bincount(plane[differs & ~counted], minlength=len(total))
        found[place] = differs
    some = np.flatnonzero(total)
    label, at = np.unique(surface.names[some], return_inverse=True)
    count = np.zeros(len(label), np.int64)
    np.add.at(count, at, total[some])
    return label, count


def add_surface(table: ObjectTable, label: Ints, count: Ints) -> ObjectTable:
    """Add surface voxels to the objects of a block's table, which has them all."""
    if table.num_surface is None:
        msg = "the table has no surface voxels. Measure with Wanted(surface=True)."
        raise ShapeError(msg)
    num_surface = table.num_surface.copy()
    num_surface[np.searchsorted(table.label, label)] += count
    return replace(table, num_surface=num_surface)


def _facing(
    surface: BlockSurface, neighbours: Mapping[Side, BlockSurface], place: Side
) -> npt.NDArray[Any]:
    """Labels in front of an outer plane."""
    axis, side = place
    other = neighbours.get(place)
    if other is None:
        msg = f"the neighbour behind plane {place} is missing. Give all that the volume has."
        raise ShapeError(msg)
    rest = [a for a in range(3) if a != axis]
    if any(surface.shape[a] != other.shape[a] for a in rest):
        msg = (
            f"blocks of shapes {surface.shape} and {other.shape} do not fit each other along "
            f"axis {axis}. Give blocks of one chunk grid."
        )
        raise ShapeError(msg)
    plane = other.planes.get((axis, 1 - side))
    return np.int64(0) if plane is None else other.names[plane]  # type: ignore[return-value]


def _shared(shape: Shape, one: Side, other: Side) -> Iterator[tuple[Any, Any]]:
    """Where two outer planes of a block show the same voxels, as indices into each."""
    (axis, side), (other_axis, other_side) = one, other
    if axis == other_axis:
        if shape[axis] == 1:
            yield (slice(None), slice(None)), (slice(None), slice(None))
        return
    here: list[Any] = [slice(None)] * 3
    there: list[Any] = [slice(None)] * 3
    here[other_axis] = -other_side
    there[axis] = -side
    yield (
        tuple(here[a] for a in range(3) if a != axis),
        tuple(there[a] for a in range(3) if a != other_axis),
    )
