"""From objects to particle centres: how large an object has to be."""

from __future__ import annotations

from math import ceil, floor, isfinite, pi, prod
from typing import overload

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.errors import ConfigError
from volproc.core.types import Shape
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


def merge_near(
    centres: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    distance: float,
    scale: tuple[float, ...] = (1.0, 1.0, 1.0),
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Replace centres that are near to each other by their mean.

    Parameters
    ----------
    centres : ndarray of float, (n, d)
        Voxels.
    counts : ndarray of int, (n,)
        Voxels of each particle; added up where centres merge.
    distance : float
        Centres at this distance or nearer merge, and so do chains of them. 0 merges nothing.
    scale : tuple of float
        Length of a voxel along each axis, in the unit of the distance.

    Returns
    -------
    centres, counts
        In the order of the first of each group; the mean is not weighted.

    References
    ----------
    .. [1] Octopi, https://github.com/chanzuckerberg/octopi: remove duplicates by distance.

    Examples
    --------
    >>> merge_near(np.array([[0.0, 0, 0], [0, 0, 9], [0, 0, 2]]), np.array([5, 6, 7]), 2.0)
    (array([[0., 0., 1.],
           [0., 0., 9.]]), array([12,  6]))
    """
    if distance <= 0 or len(centres) < 2:
        return centres, counts
    group = group_near(centres, distance, scale)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.diff(np.append(starts, len(order)))
    means = np.add.reduceat(centres[order], starts, axis=0) / sizes[:, None]
    return means, np.add.reduceat(counts[order], starts)


def group_near(
    centres: npt.NDArray[np.float64],
    distance: float,
    scale: tuple[float, ...] = (1.0, 1.0, 1.0),
) -> npt.NDArray[np.int64]:
    """Number the groups of centres that are near to each other, in the order of their first.

    Parameters
    ----------
    centres, distance, scale
        As in `merge_near`.

    Examples
    --------
    >>> group_near(np.array([[0.0, 0, 0], [0, 0, 9], [0, 0, 2]]), 2.0)
    array([0, 1, 0])
    """
    if distance <= 0 or len(centres) < 2:
        return np.arange(len(centres))
    from scipy.sparse import coo_matrix  # which take a tenth of a small command's time
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    pairs = cKDTree(centres * np.array(scale)).query_pairs(distance, output_type="ndarray")
    links = coo_matrix((np.ones(len(pairs), bool), pairs.T), shape=(len(centres),) * 2)
    group = connected_components(links, directed=False)[1]
    firsts = np.unique(group, return_index=True)[1]
    numbers = np.empty(len(firsts), np.int64)
    numbers[np.argsort(firsts, kind="stable")] = np.arange(len(firsts))
    return numbers[group]


def away_from_border(
    centres: npt.NDArray[np.float64], shape: Shape, border: float
) -> npt.NDArray[np.bool_]:
    """Whether centres keep a distance from the faces of the volume, as a part of its size.

    >>> away_from_border(np.array([[0.0, 5, 5], [1, 5, 5]]), (100, 10, 10), 0.005).tolist()
    [False, True]
    """
    size = np.array(shape)
    inside: npt.NDArray[np.bool_] = (
        (centres >= border * size) & (centres <= size - border * size)
    ).all(axis=1)
    return inside


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
