"""Labels of a block as runs: quick to find, small where objects are, and quick to paint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import DtypeError, ShapeError
from volproc.core.types import Shape
from volproc.reduce.component_kernels import (
    find_runs,
    join_runs,
    number_runs,
    paint_ends,
    paint_lines,
    paint_runs,
)

Runs = npt.NDArray[np.uint32]
"""Stretches of one label in raster order, (3, n): first voxel, end, label. None goes on over the
end of a line."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRuns:
    """Connected components of a block."""

    runs: Runs
    """Where each component is."""

    lines: npt.NDArray[np.int64]
    """First run of each line along x, and the number of runs: one more than there are lines."""

    first: npt.NDArray[np.int64]
    """Raster index in the block of the first voxel of components 1..n, (n,), ascending."""

    shape: Shape
    """Size of the block, (z, y, x)."""

    def paint(self) -> npt.NDArray[np.uint32]:
        """Labels as an array, (z, y, x)."""
        identity = np.arange(len(self.first) + 1, dtype=np.uint32)
        return relabel_runs(self.runs, identity, self.shape, dtype=np.uint32)

    def plane(self, axis: int, side: int) -> npt.NDArray[np.uint32]:
        """Labels of an outer plane of the block.

        Parameters
        ----------
        axis : int
            That the plane stands on.
        side : {0, 1}
            0 for the first plane along it, 1 for the last.
        """
        depth, height, width = self.shape
        plane = np.zeros([n for a, n in enumerate(self.shape) if a != axis], np.uint32)
        if axis == 2:
            paint_ends(self.runs, self.lines, bool(side), width, plane.reshape(-1))
        elif axis == 1:
            paint_lines(self.runs, self.lines, side * (height - 1), height, width, plane)
        else:
            paint_lines(self.runs, self.lines, side * (depth - 1) * height, 1, width, plane)
        return plane


def label_runs(volume: npt.NDArray[Any], connectivity: int) -> LabelledRuns:
    """Find the connected components of a block.

    Parameters
    ----------
    volume : ndarray of bool or int, (z, y, x)
        Of less than 2**32 voxels. Neighbouring voxels belong together if they are equal and not
        zero.
    connectivity : {1, 2, 3}
        Steps along axes that two neighbours may be apart.

    Notes
    -----
    One pass over the voxels finds the runs of each line; all else is done with runs, which a
    union-find joins with those that they touch in the lines before. Components are numbered by
    their first voxels. Memory: a byte a voxel for a moment, and some thirty bytes a run; a
    line of single voxels has one for every other voxel.

    References
    ----------
    L. He, Y. Chao, K. Suzuki: A run-based two-scan labeling algorithm. IEEE Transactions on Image
    Processing 17 (2008) 749-756.

    Examples
    --------
    >>> found = label_runs(np.array([[[0, 1, 1], [1, 0, 1]]]), connectivity=1)
    >>> found.runs.tolist(), found.first.tolist()
    ([[1, 3, 5], [3, 4, 6], [1, 2, 1]], [1, 3])
    """
    depth, height, width = volume.shape
    if not volume.flags.writeable:
        volume = volume.copy()  # spares a compiled version for arrays that cannot be written
    flat = np.ascontiguousarray(volume).reshape(-1)
    flat = flat.view(f"u{flat.itemsize}")  # equality is all that counts
    room = np.count_nonzero(flat[1:] != flat[:-1]) + depth * height
    runs = np.empty((3, min(room, flat.size)), np.uint32)
    lines = np.empty(depth * height + 1, np.int64)
    count = find_runs(flat.reshape(-1, width), runs, lines)
    runs = np.ascontiguousarray(runs[:, :count])
    values = flat[runs[0]].astype(np.uint64)
    parent = np.arange(count, dtype=np.uint32)
    join_runs(runs, values, lines, parent, height, width, connectivity)
    first = np.empty(count, np.int64)
    num_objects = number_runs(runs, parent, first)
    return LabelledRuns(runs, lines, first[:num_objects].copy(), volume.shape)


def relabel_runs(
    runs: Runs, lut: npt.NDArray[Any], shape: Shape, *, dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """Paint the runs of a block with the labels that a table holds for them.

    Parameters
    ----------
    runs : ndarray of uint32, (3, k)
        As `label_runs` gives them.
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
