"""Seeded watershed of whole objects: the order of scikit-image, each object by itself."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import DtypeError, NonFiniteError, ShapeError
from volproc.core.types import Shape
from volproc.reduce.faces import check_connectivity
from volproc.reduce.watershed_kernels import flood_on

Labels = npt.NDArray[Any]

BYTES_A_VOXEL = 40
"""Memory that flooding takes beside the inputs, an upper bound for a voxel of the box: padded
heights, objects and origins, markers and result, and a queue that holds a part of the voxels."""

FIRST_ROOM = 2**14
"""Voxels that the queue has room for at least."""


def flood(
    heights: npt.NDArray[Any],
    markers: Labels,
    mask: npt.NDArray[Any] | None = None,
    *,
    connectivity: int = 1,
) -> Labels:
    """Flood an array from markers, lowest voxels first.

    Parameters
    ----------
    heights : ndarray of int or float, (z, y, x) or (y, x)
        What is flooded; compared as float64.
    markers : ndarray of int, same shape
        Labels of the voxels to begin at; 0 elsewhere. Those outside the mask do not count.
    mask : ndarray, same shape
        Voxels to flood are those that are not zero; all by default.
    connectivity : int
        1 (faces), 2 (edges) or 3 (corners), as in `scipy.ndimage.generate_binary_structure`.

    Returns
    -------
    labels : ndarray, type of ``markers``
        Label of the marker that each voxel is flooded from; 0 outside the mask and where no
        marker leads to. Bit for bit ``skimage.segmentation.watershed(heights, markers,
        connectivity=connectivity, mask=mask)``.

    Raises
    ------
    ConfigError
        If there is no such connectivity.
    DtypeError
        If the markers are not integers, or the heights are not real numbers.
    NonFiniteError
        If a height inside the mask is NaN.
    ShapeError
        If the arrays differ in shape, or do not have two or three axes.

    Notes
    -----
    A voxel is taken from a binary heap by (highest level on the way to it, time of entry), and
    gives its label to neighbours at once; nearer neighbours come first, then raster order.
    All markers enter at time 0 in raster order, so that the layout of the heap decides between
    marker voxels of one height, as it does in scikit-image. Up to `BYTES_A_VOXEL` bytes a voxel.

    References
    ----------
    .. [1] P. Soille and M. Ansoult, "Automated basin delineation from digital elevation models
       using mathematical morphology", Signal Processing 20, 171-182 (1990).

    Examples
    --------
    >>> flood(np.array([[0, 2, 5, 1, 0]]), np.array([[1, 0, 0, 0, 7]]))
    array([[1, 1, 7, 7, 7]])
    """
    area = np.ones(heights.shape, np.uint32) if mask is None else (mask != 0).astype(np.uint32)
    return flood_objects(heights, markers, area, 1, connectivity=connectivity)


def flood_objects(
    heights: npt.NDArray[Any],
    markers: Labels,
    objects: npt.NDArray[np.uint32],
    num_objects: int,
    *,
    connectivity: int = 1,
) -> Labels:
    """Flood each of several objects as if it were alone.

    Parameters
    ----------
    heights, markers, connectivity
        As in `flood`.
    objects : ndarray of uint32, same shape
        Objects 1..n to flood; water does not leave an object. 0 stays dry.
    num_objects : int
        n.

    Returns
    -------
    labels : ndarray, type of ``markers``
        As `flood` gives with each object as the mask, all in one array.

    Raises
    ------
    ConfigError, DtypeError, NonFiniteError, ShapeError
        As `flood`.

    Notes
    -----
    One pass however many objects there are: no object is cut out.
    """
    check_flood(heights.shape, heights.dtype, markers.shape, markers.dtype, connectivity)
    if objects.shape != heights.shape:
        msg = (
            f"heights and mask differ in shape, got {heights.shape} and {objects.shape}. Give two "
            "arrays of the same region."
        )
        raise ShapeError(msg)
    dry = np.pad(objects.astype(np.uint32, copy=False), 1)
    levels = np.pad(rank_heights(heights, objects != 0), 1)
    wet = np.flatnonzero(np.pad((markers != 0) & (objects != 0), 1))
    owners = dry.reshape(-1)[wet]
    order = np.argsort(owners, kind="stable")  # raster order within each object
    places = wet[order]
    starts = np.searchsorted(owners[order], np.arange(1, num_objects + 2))
    origins = np.zeros(dry.shape, np.uint32)
    _flood(
        levels.reshape(-1),
        dry.reshape(-1),
        origins.reshape(-1),
        places,
        starts,
        neighbour_steps(dry.shape, connectivity),
    )
    values = np.zeros(len(places) + 1, markers.dtype)
    values[1:] = np.pad(markers, 1).reshape(-1)[places]
    return np.take(values, origins[(slice(1, -1),) * heights.ndim])


def rank_heights(
    heights: npt.NDArray[Any], inside: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint32]:
    """Give each height a number of 32 bits, in the same order.

    Parameters
    ----------
    heights : ndarray of int or float
        As in `flood`.
    inside : ndarray of bool, same shape
        Voxels whose numbers are wanted; others get any number.

    Returns
    -------
    levels : ndarray of uint32
        Equal where the heights are equal as float64, and in their order. Types of up to 32 bits
        become the same numbers in every array, those of 64 bits are ranked within this one.

    Raises
    ------
    NonFiniteError
        If a height inside is NaN.
    """
    check_heights(heights, inside)
    if heights.dtype.kind == "f" and heights.dtype.itemsize <= 4:
        # Adding zero turns -0 into 0. Negative numbers count down, positive ones up from 2³¹.
        bits = (heights.astype(np.float32) + np.float32(0)).view(np.uint32)
        return np.where(bits >> 31, ~bits, bits | np.uint32(2**31))
    if heights.dtype.itemsize <= 4:
        return (heights.astype(np.int64) + (2**31 if heights.dtype.kind == "i" else 0)).astype(
            np.uint32
        )
    levels = np.zeros(heights.shape, np.uint32)
    _, ranks = np.unique(heights[inside].astype(np.float64), return_inverse=True)
    levels[inside] = ranks
    return levels


def check_heights(heights: npt.NDArray[Any], inside: npt.NDArray[np.bool_]) -> None:
    """Refuse heights that are NaN where there is something to flood.

    Raises
    ------
    NonFiniteError
        With the number of such voxels.
    """
    if heights.dtype.kind == "f" and (np.isnan(heights) & inside).any():
        msg = (
            f"heights are NaN at {int((np.isnan(heights) & inside).sum())} voxels of the mask, and "
            "water has no such level. Replace them, or take these voxels out of the mask."
        )
        raise NonFiniteError(msg)


def check_flood(
    shape: Shape,
    heights_dtype: np.dtype[Any],
    markers_shape: Shape,
    markers_dtype: np.dtype[Any],
    connectivity: int,
) -> None:
    """Refuse what cannot be flooded, before any voxel is looked at.

    Raises
    ------
    ConfigError, DtypeError, ShapeError
        As `flood`.
    """
    if len(shape) not in (2, 3):
        msg = (
            f"water floods volumes (z, y, x) or micrographs (y, x), got shape {shape}. Select one "
            "channel first."
        )
        raise ShapeError(msg)
    if markers_shape != shape:
        msg = (
            f"heights and markers differ in shape, got {shape} and {markers_shape}. Give two of "
            "the same region and voxel size."
        )
        raise ShapeError(msg)
    check_connectivity(connectivity, len(shape))
    if heights_dtype.kind not in "iuf":
        msg = f"heights are integers or real numbers, got {heights_dtype}. Convert them first."
        raise DtypeError(msg)
    if markers_dtype.kind not in "iu":
        msg = (
            f"markers are integer labels, got {markers_dtype}. Number them first, for instance "
            "with volproc.label."
        )
        raise DtypeError(msg)


def neighbour_steps(shape: Shape, connectivity: int) -> npt.NDArray[np.int64]:
    """Steps in a flat array from a voxel to its neighbours: nearest first, then in raster order.

    >>> neighbour_steps((3, 10), 2).tolist()
    [-10, -1, 1, 10, -11, -9, 9, 11]
    """
    ndim = len(shape)
    strides = [prod(shape[axis + 1 :]) for axis in range(ndim)]
    near = [
        step for step in product((-1, 0, 1), repeat=ndim) if 0 < sum(map(abs, step)) <= connectivity
    ]
    near.sort(key=lambda step: (sum(map(abs, step)), step))
    return np.array([sum(d * s for d, s in zip(n, strides, strict=True)) for n in near], np.int64)


def _flood(
    levels: npt.NDArray[np.uint32],
    dry: npt.NDArray[np.uint32],
    origins: npt.NDArray[np.uint32],
    markers: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    steps: npt.NDArray[np.int64],
) -> None:
    """Run the compiled flood, with a queue that doubles when it is full."""
    state = np.array([1, 0, 0, 0])
    keys, places = np.empty(FIRST_ROOM, np.uint64), np.empty(FIRST_ROOM, np.int64)
    while not flood_on(state, keys, places, levels, dry, origins, markers, starts, steps):
        more = np.empty(len(keys), np.uint64), np.empty(len(keys), np.int64)
        keys, places = np.concatenate([keys, more[0]]), np.concatenate([places, more[1]])
