"""Exact Euclidean distances up to a bound."""

from __future__ import annotations

from math import ceil, isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ConfigError, DtypeError, ShapeError
from volproc.core.types import Region, Shape, axis_names
from volproc.core.volume import check_voxel_size
from volproc.reduce.distance_kernels import lower_along_x, lower_along_y
from volproc.reduce.placement import lift


def distance_block(
    mask: npt.NDArray[Any],
    core: Region,
    max_distance: float,
    *,
    voxel_size: tuple[float, ...] | None = None,
    per_label: bool = False,
) -> npt.NDArray[np.float32]:
    """Distance from each voxel of a block's core to the nearest background voxel, up to a bound.

    Parameters
    ----------
    mask : ndarray of bool or int, (z, y, x) or (y, x)
        The block with its halo; background is 0.
    core : tuple of slice
        Region of the block whose distances are wanted; the rest is its halo, of `halo_of` voxels
        or as far as the volume goes.
    max_distance : float
        Greatest distance; what lies farther gets this.
    voxel_size : tuple of float, optional
        Length of a voxel along each axis, in the unit of ``max_distance``; voxels if not given.
    per_label : bool
        Measure to the nearest voxel with another label, background or not.

    Returns
    -------
    distances : ndarray of float32, shape of the core
        0 in the background. Nothing is background beyond the edge of the volume.

    Notes
    -----
    Squared distances are lowered along x, then y, then z [1]_; along a line only steps that can
    still lower something are looked at, so that time follows the distances, up to the bound.
    In voxels the squares are whole numbers and exact. Otherwise they are float64, added in the
    same order for every block, so that the bits do not depend on it. Memory: twelve bytes a voxel
    of the block, twice that with a voxel size.

    References
    ----------
    .. [1] A. Meijster, J. Roerdink, W. Hesselink, "A general algorithm for computing distance
       transforms in linear time", Mathematical Morphology and its Applications, 331-340 (2000).

    Examples
    --------
    >>> mask = np.array([[0, 1, 1, 1, 1]])
    >>> distance_block(mask, (slice(0, 1), slice(1, 5)), 2.5)
    array([[1. , 2. , 2.5, 2.5]], dtype=float32)
    """
    kind = np.float32 if voxel_size is None else np.float64
    lead = 3 - mask.ndim
    sizes = (1.0,) * lead + tuple(voxel_size or (1.0,) * mask.ndim)
    labels = lift(mask.astype(np.int64) if per_label else (mask != 0).view(np.uint8))
    z, y, x = (slice(0, 1),) * lead + tuple(core)
    shape = tuple(s.stop - s.start for s in (z, y, x))
    inside = labels[z, y, x] != 0
    if not inside.any():
        return np.zeros(shape[lead:], np.float32)
    # a little more than the bound, so that rounding keeps nothing out that is nearer
    most = (max_distance * (1 + 1e-9)) ** 2
    along_x = np.empty((labels.shape[0], labels.shape[1], shape[2]), kind)
    lower_along_x(labels, x.start, sizes[2], along_x)
    columns = np.ascontiguousarray(labels[:, :, x])
    along_y = np.empty((labels.shape[0], shape[1], shape[2]), kind)
    lower_along_y(columns, along_x, y.start, sizes[1], most, along_y)
    del along_x
    turned = np.ascontiguousarray(along_y.transpose(1, 0, 2))
    columns = np.ascontiguousarray(columns[:, y].transpose(1, 0, 2))
    along_z = np.empty((shape[1], shape[0], shape[2]), kind)
    lower_along_y(columns, turned, z.start, sizes[0], most, along_z)
    out = np.sqrt(along_z.transpose(1, 0, 2), dtype=np.float64)
    np.minimum(out, max_distance, out=out)
    return np.where(inside, out, 0).astype(np.float32).reshape(shape[lead:])


def halo_of(max_distance: float, voxel_size: tuple[float, ...] | None, ndim: int) -> Shape:
    """Voxels along each axis that a distance can depend on.

    >>> halo_of(25.0, (20.0, 10.0, 10.0), 3)
    (2, 3, 3)
    """
    sizes = voxel_size or (1.0,) * ndim
    return tuple(ceil(max_distance / size) for size in sizes)


def check_distance(
    shape: Shape,
    dtype: np.dtype[Any],
    max_distance: float,
    voxel_size: tuple[float, ...] | None,
) -> None:
    """Refuse a mask that has no distances, or a bound that is none.

    Raises
    ------
    ConfigError
        If the bound is not positive and finite.
    DtypeError
        If the mask is neither boolean nor integer.
    ShapeError
        If there are not two or three axes.
    VoxelSizeError
        If a voxel size is not positive, or not one an axis.
    """
    if len(shape) not in (2, 3) or 0 in shape:
        msg = (
            f"distances are measured in volumes (z, y, x) or micrographs (y, x), got shape {shape}."
            " Select one channel first."
        )
        raise ShapeError(msg)
    if dtype.kind not in "iub":
        msg = (
            f"distances are measured in a boolean mask or integer labels, got {dtype}. Compare "
            "with a threshold first."
        )
        raise DtypeError(msg)
    if not (isfinite(max_distance) and max_distance > 0):
        msg = (
            f"the greatest distance is {max_distance}. Give a positive, finite one: a block reads "
            f"as many voxels around itself along {', '.join(axis_names(len(shape)))}."
        )
        raise ConfigError(msg)
    if voxel_size is not None:
        check_voxel_size(voxel_size, len(shape))
