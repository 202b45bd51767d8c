"""The few type names that signatures share."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

T = TypeVar("T")

ZYX: TypeAlias = tuple[T, T, T]
"""Three of a kind, in the order z, y, x."""

Shape: TypeAlias = tuple[int, ...]
"""Sizes in voxels: (z, y, x) of a volume, (y, x) of a micrograph."""

Region: TypeAlias = tuple[slice, ...]
"""A box of voxels: one slice an axis, with start and stop, in the axis order of a shape."""

Index: TypeAlias = tuple[int, ...]
"""Position of a chunk in the chunk grid."""


def axis_names(ndim: int) -> str:
    """Letters of the axes of a shape: ``zyx`` in three dimensions, ``yx`` in two.

    >>> axis_names(2)
    'yx'
    """
    return "zyx"[-ndim:]


def region_shape(region: Region) -> Shape:
    """Size of a region, in voxels an axis.

    >>> region_shape((slice(2, 5), slice(0, 7)))
    (3, 7)
    """
    return tuple(s.stop - s.start for s in region)


def whole(shape: Shape) -> Region:
    """Region that covers a whole shape.

    >>> whole((2, 3))
    (slice(0, 2, None), slice(0, 3, None))
    """
    return tuple(slice(0, n) for n in shape)
