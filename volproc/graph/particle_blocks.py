"""Splitting the objects of a class map, block by block: what tasks do and what they return.

narrow ──► open ──► components ──► share ──► split ──► finish
  │         ▲                                  ▲
  └── class map of one byte, in storage ───────┘
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import PlanError
from volproc.core.types import Region, Shape, region_shape
from volproc.graph.chunks import widen
from volproc.reduce.centres_regions import Regions, merge_regions
from volproc.reduce.centres_watershed import (
    BYTES_A_BOX_VOXEL,
    OPENING_HALO,
    ObjectVoxels,
    flood_regions,
    join_voxels,
    narrow_classes,
    open_classes,
    split_object,
)
from volproc.reduce.centres_window import reach_of
from volproc.reduce.erosion import EROSION_HALO, erode_classes
from volproc.reduce.particle_rule import ParticleRule
from volproc.reduce.tables import ObjectTable

Ints = npt.NDArray[np.int64]

ReadClasses = Callable[[Region], npt.NDArray[np.uint8]]
"""Gives a region of the narrow class map."""

ReadColumns = Callable[[int, Region], dict[str, npt.NDArray[np.float64]]]
"""Gives what maps say of a class, by its number in the narrow map, in a region, by name."""

BATCH_VOXELS = 2**24
"""Box that is read at once for several objects."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What splitting some objects gave."""

    regions: Regions
    """Objects that were flooded by themselves."""

    waiting: tuple[ObjectVoxels, ...]
    """Voxels to be flooded with those of the other blocks, one entry a class and block."""


def narrow_block(block: npt.NDArray[Any], rule: ParticleRule) -> npt.NDArray[np.uint8]:
    """Number the classes that are particles 1, 2, …; everything else is background."""
    return narrow_classes(block, rule.values)


def open_block(read: ReadClasses, region: Region, shape: Shape) -> npt.NDArray[np.uint8]:
    """Opened class map of a region: small specks and thin bridges are gone."""
    wide = widen(region, OPENING_HALO, shape)
    opened = open_classes(read(wide))
    return np.ascontiguousarray(opened[_inside(region, wide)])


def erode_block(read: ReadClasses, region: Region, shape: Shape) -> npt.NDArray[np.uint8]:
    """Eroded class map of a region: every object without its outer voxels."""
    wide = widen(region, EROSION_HALO, shape)
    return erode_classes(read(wide), wide, region)


def share_objects(
    table: ObjectTable, cuts: tuple[tuple[int, ...], ...], shape: Shape
) -> list[ObjectTable]:
    """Objects that begin in each block, in raster order: a block owns those."""
    corners = np.unravel_index(table.first, shape)
    places = [
        np.searchsorted(list(accumulate(cut)), corner, side="right")
        for cut, corner in zip(cuts, corners, strict=True)
    ]
    numblocks = [len(cut) for cut in cuts]
    owner = np.ravel_multi_index(places, numblocks)
    order = np.argsort(owner, kind="stable")
    edges = np.searchsorted(owner[order], np.arange(prod(numblocks) + 1))
    return [table.select(order[a:b]) for a, b in pairwise(edges.tolist())]


def split_objects(
    read: ReadClasses,
    objects: ObjectTable,
    boxes: Ints,
    shape: Shape,
    rule: ParticleRule,
    read_columns: ReadColumns | None = None,
) -> Found:
    """Split the objects that a block owns, each whole.

    Parameters
    ----------
    read : callable
        Gives regions of the narrow class map.
    objects : ObjectTable
        Objects of the opened map, whole, with the numbers of their classes.
    boxes : ndarray of int64, (num_classes, 2, 3)
        Box of all voxels of each class: beyond there is no background.
    shape : tuple of int
        Size of the volume.
    rule : ParticleRule
        What a particle is.
    read_columns : callable, optional
        Gives what maps say of the voxels of an object.

    Raises
    ------
    PlanError
        If the box of an object is larger than the rule allows.
    """
    voxels = _split_batch(read, objects, boxes, shape, rule)
    if read_columns is not None:
        voxels = [_with_columns(one, shape, read_columns) for one in voxels]
    if rule.ties == "raster":
        alone = [
            flood_regions([one], shape, in_raster_order=True, inside=rule.inside) for one in voxels
        ]
        return Found(merge_regions(alone), ())
    by_class: dict[int, list[ObjectVoxels]] = {}
    for one in voxels:
        by_class.setdefault(one.value, []).append(one)
    return Found(merge_regions([]), tuple(join_voxels(by_class[value]) for value in by_class))


def merge_found(parts: Sequence[Found]) -> Found:
    """Put together what blocks gave."""
    return Found(
        merge_regions([p.regions for p in parts]), tuple(v for p in parts for v in p.waiting)
    )


def finish_regions(found: Found, shape: Shape, rule: ParticleRule) -> Regions:
    """Flood what waits for that; classes stay numbers."""
    flooded = flood_regions(found.waiting, shape, in_raster_order=False, inside=rule.inside)
    return merge_regions([found.regions, flooded])


def _with_columns(one: ObjectVoxels, shape: Shape, read_columns: ReadColumns) -> ObjectVoxels:
    """The voxels of an object with what maps say of them, read in its box."""
    places = np.stack(np.unravel_index(one.places, shape))
    lower, upper = places.min(axis=1), places.max(axis=1) + 1
    box = tuple(map(slice, lower.tolist(), upper.tolist()))
    local = tuple(places - lower[:, None])
    found = {name: column[local] for name, column in read_columns(one.value, box).items()}
    return replace(one, columns=found)


def _split_batch(
    read: ReadClasses, objects: ObjectTable, boxes: Ints, shape: Shape, rule: ParticleRule
) -> list[ObjectVoxels]:
    """Read the box of several objects, or of halves of them where that is too large."""
    if not len(objects):
        return []
    reach = reach_of(rule.filter_size, rule.voxel_size)
    start = np.maximum(objects.lower.min(axis=0) - reach, 0)
    stop = np.minimum(objects.upper.max(axis=0) + reach, shape)
    region = tuple(map(slice, start.tolist(), stop.tolist()))
    if len(objects) > 1 and prod(region_shape(region)) > BATCH_VOXELS:
        half = len(objects) // 2
        parts = (np.arange(half), np.arange(half, len(objects)))
        return [
            one
            for rows in parts
            for one in _split_batch(read, objects.select(rows), boxes, shape, rule)
        ]
    _check_size(region, objects, shape, rule)
    opened = open_block(read, region, shape)
    assert objects.classes is not None  # they were found in a class map
    voxels = []
    for row, number in enumerate(objects.classes.tolist()):
        lower, upper = objects.lower[row], objects.upper[row]
        start = np.maximum(lower - reach, boxes[number - 1, 0])
        stop = np.minimum(upper + reach, boxes[number - 1, 1])
        start = np.maximum(start, [s.start for s in region])
        stop = np.minimum(stop, [s.stop for s in region])
        view = tuple(map(slice, start.tolist(), stop.tolist()))
        voxels.append(
            split_object(
                np.ascontiguousarray(opened[_inside(view, region)]),
                offset=tuple(start.tolist()),
                shape=shape,
                first=int(objects.first[row]),
                lower=tuple(lower.tolist()),
                upper=tuple(upper.tolist()),
                count=int(objects.count[row]),
                filter_size=rule.filter_size,
                voxel_size=rule.voxel_size,
            )
        )
    return voxels


def _check_size(region: Region, objects: ObjectTable, shape: Shape, rule: ParticleRule) -> None:
    size = region_shape(region)
    if len(objects) == 1 and prod(size) > rule.max_object_voxels:
        place = tuple(int(i) for i in np.unravel_index(int(objects.first[0]), shape))
        msg = (
            f"the object that begins at voxel {place} has a box of {' × '.join(map(str, size))} = "
            f"{prod(size)} voxels, more than the {rule.max_object_voxels} that one task may hold "
            f"at {BYTES_A_BOX_VOXEL} bytes each. Raise max_object_voxels if there is memory for "
            'it, leave the class out, or use method="centre-of-mass".'
        )
        raise PlanError(msg)


def _inside(region: Region, wide: Region) -> Region:
    """Where a region lies in a wider one."""
    return tuple(
        slice(r.start - w.start, r.stop - w.start) for r, w in zip(region, wide, strict=True)
    )
