"""Particles that touch: the objects of a class map, split at their necks by a watershed.

class map ──► open_classes ──► objects, each whole ──► split_object ──► ObjectVoxels
                                                                            │
              Regions, one row a particle ◄── flood_regions ◄── merge ──────┘
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ConfigError, PlanError
from volproc.core.types import Shape
from volproc.reduce.centres_flood_kernels import flood_voxels
from volproc.reduce.centres_kernels import (
    bound_classes,
    fill_object,
    mark_centres,
    open_map,
    squared_distance,
)
from volproc.reduce.centres_regions import Regions, merge_regions, regions_of_voxels
from volproc.reduce.centres_window import steps_of, window_of
from volproc.reduce.erosion import byte_classes

Ints = npt.NDArray[np.int64]
ClassMap = npt.NDArray[np.uint8]

OPENING_HALO = 2
"""Voxels around a block that opening it looks at: one to shrink, one to grow again."""

MAX_CLASSES = 255
"""Classes that fit into one byte beside the background."""

NOWHERE = 2**62
"""Corner of a box without voxels; its end is the negative."""

MAX_FLOODED_VOXELS = 2**31 - 1
"""Voxels that can be flooded together: their rows are numbers of 32 bits."""

BYTES_A_BOX_VOXEL = 32
"""Memory for splitting an object, for each voxel of its box."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectVoxels:
    """The voxels of objects of one class that wait to be flooded; one row a voxel."""

    value: int
    """Class value."""

    places: Ints
    """Raster indices in the volume, (n,)."""

    heights: npt.NDArray[np.int32]
    """Squared distance to the background, (n,)."""

    markers: npt.NDArray[np.int32]
    """Marker 1..m that a voxel belongs to, or 0, (n,)."""

    num_markers: int
    """m."""

    columns: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    """What maps say of each voxel, (n,), by the name of the map."""


def narrow_classes(classes: npt.NDArray[Any], values: Sequence[int]) -> ClassMap:
    """Number the classes that are looked for 1, 2, … in the order of ``values``; 0 elsewhere.

    Raises
    ------
    ConfigError
        If there are more than 255.

    Examples
    --------
    >>> narrow_classes(np.array([0, 7, -2, 3]), [7, 3])
    array([0, 1, 0, 2], dtype=uint8)
    """
    if len(values) > MAX_CLASSES:
        msg = f"at most {MAX_CLASSES} classes are localized at once, got {len(values)}. Take turns."
        raise ConfigError(msg)
    if tuple(values) == tuple(range(1, len(values) + 1)):
        return byte_classes(classes, len(values))
    narrow = np.zeros(classes.shape, np.uint8)
    for number, value in enumerate(values, start=1):
        narrow[classes == value] = number
    return narrow


def class_boxes(narrow: ClassMap, num_classes: int, offset: Shape) -> Ints:
    """Box of each class in a block, in voxels of the volume.

    Returns
    -------
    boxes : ndarray of int64, (num_classes, 2, 3)
        Lower corner, and end, exclusive; without voxels the end lies before the beginning. Boxes
        of blocks merge by `merge_boxes`.
    """
    boxes = np.empty((num_classes, 2, 3), np.int64)
    boxes[:, 0], boxes[:, 1] = NOWHERE, -NOWHERE
    bound_classes(narrow, boxes)
    return boxes + np.array(offset)


def merge_boxes(parts: Sequence[Ints]) -> Ints:
    """Boxes that hold the boxes of several blocks."""
    stacked = np.stack(parts)
    return np.stack([stacked[:, :, 0].min(axis=0), stacked[:, :, 1].max(axis=0)], axis=1)


def open_classes(classes: ClassMap) -> ClassMap:
    """Open each class of a map: shrink it by one voxel, then grow it again.

    Parameters
    ----------
    classes : ndarray of uint8, (z, y, x)
        Class map; 0 is background, and so is what lies outside.

    Returns
    -------
    opened : ndarray of uint8
        Class by class ``scipy.ndimage.binary_opening`` with the cross of seven voxels. Within
        `OPENING_HALO` voxels of a side that is not the volume's, it is not yet right.
    """
    opened = np.zeros(classes.shape, np.uint8)
    open_map(np.ascontiguousarray(classes), opened)
    return opened


def split_object(
    view: ClassMap,
    *,
    offset: Shape,
    shape: Shape,
    first: int,
    lower: Shape,
    upper: Shape,
    count: int,
    filter_size: int,
    voxel_size: tuple[float, ...] = (1.0, 1.0, 1.0),
) -> ObjectVoxels:
    """Find the markers of one object: where it is thickest.

    Parameters
    ----------
    view : ndarray of uint8, (z, y, x)
        Opened class map around the object's box, `reach_of` voxels to each side. It ends where
        the box of all voxels of the class ends, if that is nearer: beyond, there is no
        background.
    offset, shape : tuple of int
        First voxel of the view in the volume, and size of the volume.
    first : int
        Raster index of the object's first voxel in the volume.
    lower, upper : tuple of int
        The object's box in the volume, half-open.
    count : int
        Number of its voxels.
    filter_size : int
        Side of the cubic window in which a marker is the greatest; of an even one the smaller
        half lies behind the voxel.
    voxel_size : tuple of float
        Lengths of a voxel, (z, y, x), in any unit: where they differ, distances and the window
        are counted in the smallest.

    Returns
    -------
    voxels : ObjectVoxels
        All voxels of the object, in raster order.

    Notes
    -----
    Distances are exact and whole: squares of voxels, or of 1/1024 of them where voxels are no
    cubes. A peak is a voxel that none of its window
    exceeds, also none of other objects of the class; touching peaks are one marker. Memory:
    `BYTES_A_BOX_VOXEL` for each voxel of the object's box.
    """
    start = np.array(lower, np.int64) - np.array(offset, np.int64)
    stop = np.array(upper, np.int64) - np.array(offset, np.int64)
    begin = np.array(np.unravel_index(first, shape), np.int64) - np.array(offset, np.int64)
    member = np.zeros(stop - start, np.uint8)
    fill_object(view, start, begin, member, count)
    weights = np.array(steps_of(voxel_size)[0], np.int64)
    squared = squared_distance(member, start > 0, stop < np.array(view.shape), weights)
    value = int(view[tuple(begin)])
    is_alone = int(np.count_nonzero(view == value)) == count
    window = np.array(window_of(filter_size, voxel_size), np.int64)
    behind = window // 2
    ahead = window - 1 - behind
    markers, num_markers = mark_centres(
        view, member, start, squared, behind, ahead, weights, is_alone
    )
    local = np.flatnonzero(member)
    z, y, x = np.unravel_index(local, member.shape)
    z, y, x = z + lower[0], y + lower[1], x + lower[2]
    places = (z * shape[1] + y) * shape[2] + x
    return ObjectVoxels(
        value,
        places.astype(np.int64),
        squared.reshape(-1)[local],
        markers.reshape(-1)[local],
        num_markers,
    )


def flood_regions(
    objects: Iterable[ObjectVoxels], shape: Shape, *, in_raster_order: bool, inside: bool = False
) -> Regions:
    """Flood objects from their markers, the thickest places first.

    Parameters
    ----------
    objects : iterable of ObjectVoxels
        Objects of any classes; each class is flooded by itself.
    shape : tuple of int
        Size of the volume, (z, y, x).
    in_raster_order : bool
        Markers of equal height begin in raster order, so that an object's regions do not depend
        on other objects. Otherwise they begin in the order in which a binary heap gives them, as
        in `skimage.segmentation.watershed`: then all objects of a class have to be given, and
        the regions are those of scikit-image on the whole volume, voxel for voxel.
    inside : bool
        Move a mean that lies beside its region to the region's nearest voxel.

    Returns
    -------
    regions : Regions
        By class value, then by first voxel.

    Notes
    -----
    About 100 bytes a voxel of the objects that are flooded together, and 8 more for each map.
    """
    by_class: dict[int, list[ObjectVoxels]] = {}
    for one in objects:
        by_class.setdefault(one.value, []).append(one)
    parts = [
        _flood_class(value, by_class[value], shape, in_raster_order, inside=inside)
        for value in sorted(by_class)
    ]
    return merge_regions(parts)


def _flood_class(
    value: int,
    objects: Sequence[ObjectVoxels],
    shape: Shape,
    in_raster_order: bool,
    *,
    inside: bool,
) -> Regions:
    """Flood objects of one class together."""
    one = join_voxels(objects)
    places, heights, markers, columns = one.places, one.heights, one.markers, one.columns
    if len(places) > MAX_FLOODED_VOXELS:
        msg = (
            f"{len(places)} voxels are to be flooded together, the limit is {MAX_FLOODED_VOXELS}. "
            'Flood each object by itself, with ties="raster".'
        )
        raise PlanError(msg)
    if (np.diff(places) < 0).any():
        order = np.argsort(places, kind="stable")
        places, heights, markers = places[order], heights[order], markers[order]
        columns = {name: column[order] for name, column in columns.items()}
    first = np.zeros(one.num_markers, np.int64)
    marked = np.flatnonzero(markers)[::-1]  # the first voxel of each marker is written last
    first[markers[marked] - 1] = places[marked]
    markers = markers.copy()
    flood_voxels(places, heights, markers, shape[1], shape[2], in_raster_order)
    return regions_of_voxels(value, first, places, markers, shape, columns=columns, inside=inside)


def join_voxels(objects: Sequence[ObjectVoxels]) -> ObjectVoxels:
    """Put objects of one class together, in the order given."""
    if len(objects) == 1:
        return objects[0]
    counts = np.array([one.num_markers for one in objects], np.int64)
    bases = np.cumsum(counts) - counts
    markers = [
        np.where(one.markers > 0, one.markers + np.int32(base), np.int32(0))
        for one, base in zip(objects, bases, strict=True)
    ]
    return ObjectVoxels(
        objects[0].value,
        np.concatenate([one.places for one in objects]),
        np.concatenate([one.heights for one in objects]),
        np.concatenate(markers),
        int(counts.sum()),
        {
            name: np.concatenate([one.columns[name] for one in objects])
            for name in objects[0].columns
        },
    )
