"""From objects to particle centres: how large an object has to be."""

from __future__ import annotations

from math import ceil, floor, isfinite, pi, prod
from typing import overload

import pandas as pd

from volproc.core.errors import ConfigError
from volproc.core.volume import check_voxel_size
from volproc.reduce.tables import ObjectTable


def size_limits(
    radius_angstrom: float,
    voxel_size: tuple[float, ...],
    min_scale: float = 0.5,
    max_scale: float = 1.0,
) -> tuple[int, int]:
    """Count the voxels of balls a little smaller and a little larger than a particle.

    Parameters
    ----------
    radius_angstrom : float
        Radius of the particle, Å.
    voxel_size : tuple of float
        Å per voxel, (z, y, x); a ball's volume is divided by that of a voxel, so the sizes may
        differ. For a micrograph (y, x) and discs.
    min_scale, max_scale : float
        Factors of the radius.

    Returns
    -------
    min_voxels, max_voxels : int
        Least and greatest number of voxels, both allowed.

    Raises
    ------
    ConfigError
        If the radius is not positive, or the scales are negative or in the wrong order.
    VoxelSizeError
        If a voxel size is not positive.

    Notes
    -----
    A ball of voxels may have a few more than 4/3 π r³: of radius 6 voxels it has 925, and
    4/3 π 6³ is 904.8. Predictions are usually smaller than the particle; if they are not, raise
    ``max_scale``.

    Examples
    --------
    >>> size_limits(60.0, (10.0, 10.0, 10.0))
    (114, 904)
    >>> size_limits(60.0, (20.0, 10.0, 10.0))
    (57, 452)
    """
    check_voxel_size(voxel_size, 2 if len(voxel_size) == 2 else 3)
    if not (isfinite(radius_angstrom) and radius_angstrom > 0):
        msg = f"a particle's radius is {radius_angstrom} Å. Give a positive one."
        raise ConfigError(msg)
    if not (0 <= min_scale <= max_scale and isfinite(max_scale)):
        msg = (
            f"the scales of the radius go from {min_scale} to {max_scale}. Give a smaller one "
            "first, none negative."
        )
        raise ConfigError(msg)
    ndim = len(voxel_size)
    ball = (4 / 3 if ndim == 3 else 1) * pi * radius_angstrom**ndim / prod(voxel_size)
    return ceil(ball * min_scale**ndim), floor(ball * max_scale**ndim)


@overload
def filter_by_size(
    table: ObjectTable, *, min_voxels: int = ..., max_voxels: int | None = ...
) -> ObjectTable: ...


@overload
def filter_by_size(
    table: pd.DataFrame, *, min_voxels: int = ..., max_voxels: int | None = ...
) -> pd.DataFrame: ...


def filter_by_size(
    table: ObjectTable | pd.DataFrame, *, min_voxels: int = 1, max_voxels: int | None = None
) -> ObjectTable | pd.DataFrame:
    """Keep the objects of a suitable size.

    Parameters
    ----------
    table : ObjectTable or DataFrame
        Objects of the whole volume, after merging: the size in a block says nothing. A DataFrame
        is one that `volproc.reduce.properties.finish` made.
    min_voxels, max_voxels : int
        Least and greatest number of voxels, both allowed; None: no upper limit.

    Returns
    -------
    table : as given
        The rows that fit, in the same order.
    """
    upper = float("inf") if max_voxels is None else max_voxels
    if isinstance(table, ObjectTable):
        return table.select((table.count >= min_voxels) & (table.count <= upper))
    return table[table["num_voxels"].between(min_voxels, upper)].reset_index(drop=True)
