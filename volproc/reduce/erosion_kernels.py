"""Compiled loop of the erosion of a class map."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def erode_map(classes: Array, start: Array, out: Array) -> None:
    """Keep voxels whose six neighbours are of their class; beyond the array is inside.

    ``out`` is the part of ``classes`` that begins at ``start`` (3,), both uint8.
    """
    depth, height, width = classes.shape
    for k in range(out.shape[0]):
        z = k + start[0]
        before, after = classes[max(z - 1, 0)], classes[min(z + 1, depth - 1)]
        for j in range(out.shape[1]):
            y = j + start[1]
            row, below, above = classes[z, y], before[y], after[y]
            left, right = classes[z, max(y - 1, 0)], classes[z, min(y + 1, height - 1)]
            to, shift = out[k, j], start[2]
            inner = min(to.size, width - 1 - shift)
            begin = 1 if shift == 0 else 0
            if begin:
                _erode_one(row, below, above, left, right, to, 0, shift, width)
            for i in range(begin, inner):  # without a branch, so that many go at a time
                x = i + shift
                value = row[x]
                same = (
                    (row[x - 1] == value)
                    & (row[x + 1] == value)
                    & (below[x] == value)
                    & (above[x] == value)
                    & (left[x] == value)
                    & (right[x] == value)
                )
                to[i] = value * np.uint8(same)
            for i in range(max(inner, begin), to.size):
                _erode_one(row, below, above, left, right, to, i, shift, width)


@njit(cache=True, nogil=True)
def _erode_one(
    row: Array,
    below: Array,
    above: Array,
    left: Array,
    right: Array,
    to: Array,
    i: int,
    shift: int,
    width: int,
) -> None:
    """Erode the first or last voxel of a line."""
    x = i + shift
    value = row[x]
    same = (
        row[max(x - 1, 0)] == value
        and row[min(x + 1, width - 1)] == value
        and below[x] == value
        and above[x] == value
        and left[x] == value
        and right[x] == value
    )
    to[i] = value if same else np.uint8(0)
