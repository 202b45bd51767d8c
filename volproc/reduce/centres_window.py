"""How far a watershed looks around a voxel: windows and distances, of cubes and of others."""

from __future__ import annotations

from math import ceil, sqrt

from volproc.core.errors import ConfigError
from volproc.core.types import Shape

CUBE_TOLERANCE = 1e-3
"""Relative difference of voxel sizes up to which voxels are cubes: headers round them."""

CUBE_WEIGHT = 1024
"""Square of the smallest step where voxels are no cubes: squared distances stay whole numbers."""


def steps_of(voxel_size: tuple[float, ...]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """How long a step along each axis is, where voxels are no cubes.

    Returns
    -------
    weights : tuple of int
        Squares of a step, whole, in one unit: 1 for cubes, else the smallest is `CUBE_WEIGHT`.
    ratios : tuple of float
        Steps in units of the smallest.

    Examples
    --------
    >>> steps_of((13.48, 13.48, 13.48))
    ((1, 1, 1), (1.0, 1.0, 1.0))
    >>> steps_of((20.0, 10.0, 10.0))
    ((4096, 1024, 1024), (2.0, 1.0, 1.0))
    """
    smallest = min(voxel_size)
    ratios = tuple(size / smallest for size in voxel_size)
    if max(ratios) <= 1 + CUBE_TOLERANCE:
        return (1,) * len(ratios), (1.0,) * len(ratios)
    return tuple(round(CUBE_WEIGHT * ratio**2) for ratio in ratios), ratios


def window_of(filter_size: int, voxel_size: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Shape:
    """Side of the window along each axis, voxels, in which a marker is the thickest place.

    Raises
    ------
    ConfigError
        If there is no such window.

    Examples
    --------
    >>> window_of(10), window_of(10, (25.0, 10.0, 10.0))
    ((10, 10, 10), (4, 10, 10))
    """
    if filter_size < 1:
        msg = (
            f"the window in which a peak is the greatest has {filter_size} voxels. Give at least "
            "1; 10 is usual."
        )
        raise ConfigError(msg)
    return tuple(max(1, round(filter_size / ratio)) for ratio in steps_of(voxel_size)[1])


def reach_of(filter_size: int, voxel_size: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Shape:
    """Voxels around an object's box that can hide one of its peaks, or tell whether they do.

    Half a window, and the ball around a voxel of another object in there.

    Raises
    ------
    ConfigError
        If there is no such window.

    Examples
    --------
    >>> reach_of(10), reach_of(10, (20.0, 10.0, 10.0))
    ((14, 14, 14), (7, 14, 14))
    """
    halves = [side // 2 for side in window_of(filter_size, voxel_size)]
    ratios = steps_of(voxel_size)[1]
    ball = sqrt(sum((half * ratio) ** 2 for half, ratio in zip(halves, ratios, strict=True)))
    # the distance looks one voxel beyond the box
    return tuple(
        max(1, half + ceil(ball / ratio)) for half, ratio in zip(halves, ratios, strict=True)
    )
