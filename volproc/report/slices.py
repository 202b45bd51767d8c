"""Three planes through a volume: all that a page shows of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.errors import ShapeError
from volproc.core.points import Points
from volproc.core.types import ZYX

Plane = Literal["xy", "xz", "yz"]

PLANES: dict[Plane, int] = {"xy": 0, "xz": 1, "yz": 2}
"""Plane, named by its horizontal and vertical axis or the other way round → axis across it."""


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One plane of a volume.

    Parameters
    ----------
    plane : {"xy", "xz", "yz"}
        Its axes.
    position : int
        Where it lies along the third axis, voxels.
    image : ndarray
        Voxels, the two axes in the order z, y, x.
    classes : ndarray of int, optional
        Class map of the same shape.
    """

    plane: Plane
    position: int
    image: npt.NDArray[Any]
    classes: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 2:
            msg = f"a slice has two axes, got an array of shape {self.image.shape}."
            raise ShapeError(msg)
        if self.classes is not None and self.classes.shape != self.image.shape:
            msg = (
                f"the slice has shape {self.image.shape}, its classes {self.classes.shape}. Cut "
                "both from the same place."
            )
            raise ShapeError(msg)

    @property
    def axis(self) -> int:
        """Axis across the plane: 0, 1, 2 for z, y, x."""
        return PLANES[self.plane]


@dataclass(frozen=True, slots=True, eq=False)
class RunView:
    """What a page shows of one run.

    Parameters
    ----------
    name : str
        Name of the run.
    slices : tuple of Slice
        Its three planes.
    voxel_size : tuple of float
        Å per voxel, (z, y, x).
    predicted : Points
        Points that were found.
    truth : Points, optional
        Points that are there.
    facts : dict of str
        What else to say of it: name → text.
    """

    name: str
    slices: tuple[Slice, ...]
    voxel_size: tuple[float, ...]
    predicted: Points
    truth: Points | None = None
    facts: dict[str, str] = field(default_factory=dict)


def cut_slices(
    image: Source, classes: Source | None = None, *, centre: ZYX[int] | None = None
) -> tuple[Slice, ...]:
    """Read the three planes through a point.

    Parameters
    ----------
    image : Source
        The volume.
    classes : Source, optional
        Its class map.
    centre : tuple of int, optional
        Where the planes meet, (z, y, x), voxels; the middle by default.

    Raises
    ------
    ShapeError
        If the volume has not three axes, the shapes differ, or the point is outside.

    Notes
    -----
    Reads three planes, never more; the plane across x touches every storage chunk that is as
    wide as the volume.
    """
    shape = image.shape
    if len(shape) != 3 or (classes is not None and classes.shape != shape):
        other = f" and a class map of {classes.shape}" if classes is not None else ""
        msg = f"slices need a volume (z, y, x), got one of {shape}{other}. Give equal shapes."
        raise ShapeError(msg)
    middle = centre or (shape[0] // 2, shape[1] // 2, shape[2] // 2)
    if not all(0 <= c < n for c, n in zip(middle, shape, strict=True)):
        msg = f"the point {middle} is outside the volume of {shape} voxels. Choose one inside."
        raise ShapeError(msg)
    found = []
    for plane, axis in PLANES.items():
        at = middle[axis]
        region = tuple(slice(at, at + 1) if a == axis else slice(0, n) for a, n in enumerate(shape))
        voxels = np.squeeze(image.read(region), axis)
        values = None if classes is None else np.squeeze(classes.read(region), axis)
        found.append(Slice(plane, at, voxels, values))
    return tuple(found)
