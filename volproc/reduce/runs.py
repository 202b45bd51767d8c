"""Labels of a block as runs: small where objects are, and quick to paint."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import DtypeError, ShapeError
from volproc.core.types import Shape
from volproc.reduce.component_kernels import count_runs, find_runs, paint_runs

Runs = npt.NDArray[np.uint32]
"""Stretches of one label in raster order, (3, n): first voxel, end, label. A run may go on over
the end of a line."""


def encode_runs(
    labels: npt.NDArray[np.uint32], num_objects: int
) -> tuple[Runs, npt.NDArray[np.int64]]:
    """Turn labels into runs.

    Parameters
    ----------
    labels : ndarray of uint32
        Local ids 1..n of a block of less than 2**32 voxels; every id occurs.
    num_objects : int
        n.

    Returns
    -------
    runs : ndarray of uint32, (3, k)
    first : ndarray of int64, (n,)
        Raster index in the block of the first voxel of each label.

    Notes
    -----
    Two passes. Twelve bytes a run: of smooth objects a tenth of the labels' bytes or less, of
    single voxels as dense as can be one and a half times as many.

    Examples
    --------
    >>> runs, first = encode_runs(np.array([[0, 2, 2], [1, 0, 2]], np.uint32), 2)
    >>> runs.tolist(), first.tolist()
    ([[1, 3, 5], [3, 4, 6], [2, 1, 2]], [3, 1])
    """
    flat = np.ascontiguousarray(labels, np.uint32).reshape(-1)
    runs = np.empty((3, count_runs(flat)), np.uint32)
    first = np.full(num_objects, -1, np.int64)
    find_runs(flat, runs, first)
    return runs, first


def relabel_runs(
    runs: Runs, lut: npt.NDArray[Any], shape: Shape, *, dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """Paint the runs of a block with the labels that a table holds for them.

    Parameters
    ----------
    runs : ndarray of uint32, (3, k)
        As `encode_runs` gives them.
    lut : ndarray of unsigned int, (n + 1,)
        Label in the volume by local id; ``lut[0]`` is not used.
    shape : tuple of int
        Size of the block.
    dtype : dtype
        Type of the result.

    Raises
    ------
    DtypeError
        If a label of the table does not fit in the type.
    ShapeError
        If a run is outside the table.

    Examples
    --------
    >>> runs = np.array([[1, 3, 5], [3, 4, 6], [2, 1, 2]], np.uint32)
    >>> relabel_runs(runs, np.array([0, 70, 300], np.uint32), (2, 3), dtype=np.uint32)
    array([[  0, 300, 300],
           [ 70,   0, 300]], dtype=uint32)
    """
    table = lut.astype(dtype)
    if (table != lut).any():
        msg = (
            f"labels up to {lut.max()} do not fit in {np.dtype(dtype)}. Use "
            f"{np.min_scalar_type(lut.max())}."
        )
        raise DtypeError(msg)
    if runs.shape[1] and runs[2].max() >= len(table):
        msg = (
            f"a label exceeds its table of {len(table)}, got {runs[2].max()}. Use the table of "
            "this very block."
        )
        raise ShapeError(msg)
    out = np.empty(shape, table.dtype)
    paint_runs(runs, table, out.reshape(-1))
    return out
