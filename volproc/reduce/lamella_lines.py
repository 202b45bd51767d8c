"""A body as lines along x, from its first voxel to its last, and its convex hull in each slice."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.types import Region
from volproc.reduce.lamella_kernels import convex_slices, find_lines

Lines = npt.NDArray[np.int32]
"""First and last voxel of each line along x, (z, y, 2); in an empty line the first one is the
greatest number there is, and the last one -1."""

EMPTY = (np.iinfo(np.int32).max, -1)


def empty_lines(depth: int, height: int) -> Lines:
    """Lines without a voxel, (depth, height, 2)."""
    return np.full((depth, height, 2), EMPTY, np.int32)


def lines_of(mask: npt.NDArray[Any], start: int) -> Lines:
    """Lines of the voxels of a block.

    Parameters
    ----------
    mask : ndarray of bool or int, (z, y, x)
        Voxels that are not 0 count.
    start : int
        The x of its first voxel in the volume.

    Examples
    --------
    >>> lines_of(np.array([[[0, 1, 0, 1], [0, 0, 0, 0]]]), 10).tolist()
    [[[11, 13], [2147483647, -1]]]
    """
    lines = empty_lines(*mask.shape[:2])
    find_lines(np.ascontiguousarray(mask), start, lines)
    return lines


def merge_lines(lines: Lines, others: Lines) -> None:
    """Widen lines so that they hold others too, in place.

    Associative and commutative: the order of blocks does not matter.
    """
    np.minimum(lines[..., 0], others[..., 0], out=lines[..., 0])
    np.maximum(lines[..., 1], others[..., 1], out=lines[..., 1])


def convex_lines(lines: Lines) -> Lines:
    """Convex hull of each slice, as lines.

    Parameters
    ----------
    lines : Lines
        Of a whole slice each.

    Returns
    -------
    hulls : Lines
        The pixels of `skimage.morphology.convex_hull_image`: those whose centres lie in or on the
        hull of all pixels, where a pixel reaches half a pixel along each axis.

    Notes
    -----
    Whole numbers throughout, so that a pixel on an edge is in. Time follows the number of lines.

    References
    ----------
    A. M. Andrew: Another efficient algorithm for convex hulls in two dimensions. Information
    Processing Letters 9 (1979) 216-219.

    Examples
    --------
    >>> corner = np.array([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1]])
    >>> paint_lines(convex_lines(lines_of(corner[None], 0)), slice(0, 4)).astype(int)
    array([[[1, 0, 0, 0],
            [1, 1, 0, 0],
            [1, 1, 1, 0],
            [1, 1, 1, 1]]])
    """
    hulls = empty_lines(*lines.shape[:2])
    convex_slices(lines, hulls)
    return hulls


def paint_lines(lines: Lines, columns: slice) -> npt.NDArray[np.bool_]:
    """Voxels of lines as an array, (z, y, x).

    Parameters
    ----------
    lines : Lines
        (z, y, 2).
    columns : slice
        Part of the x axis.
    """
    x = np.arange(columns.start, columns.stop, dtype=np.int32)
    found: npt.NDArray[np.bool_] = (lines[..., :1] <= x) & (x <= lines[..., 1:])
    return found


def footprint(lines: Lines) -> Lines:
    """The lines of all slices laid over each other, (1, y, 2)."""
    return np.stack([lines[..., 0].min(axis=0), lines[..., 1].max(axis=0)], axis=-1)[None]


def cut_lines(lines: Lines, region: Region) -> Lines:
    """Lines of the slices and rows of a region."""
    return np.ascontiguousarray(lines[region[0], region[1]])
