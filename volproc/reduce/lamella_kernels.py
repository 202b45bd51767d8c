"""Compiled loops over lines of voxels: where each begins and ends, and their convex hulls.

They call each other and nothing in other files, see ``DESIGN.md``. Each runs without the
interpreter's lock.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def find_lines(mask: Array, start: int, lines: Array) -> None:
    """Find the first and last voxel of each line along x that is not zero.

    ``mask`` is (z, y, x), ``start`` the x of its first voxel; ``lines``, (z, y, 2), is left as it
    is where a line is empty.
    """
    depth, height, width = mask.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if mask[z, y, x]:
                    lines[z, y, 0] = start + x
                    break
            else:
                continue
            for x in range(width - 1, -1, -1):
                if mask[z, y, x]:
                    lines[z, y, 1] = start + x
                    break


@njit(cache=True, nogil=True)
def lower_chain(
    ends: Array, begin: int, end: int, places: Array, values: Array, bounds: Array
) -> None:
    """First column of the convex hull in each row, from the first columns of the rows.

    A pixel is the diamond around its centre that reaches half a pixel along both axes. Rows and
    columns are counted in halves of pixels, so that all numbers are whole. ``places`` and
    ``values`` are room for three points a row. Rows ``begin`` to ``end - 1`` are looked at; one of
    them is empty where its ``ends`` is the greatest number.
    """
    size = 0
    empty = np.iinfo(np.int32).max
    for row in range(begin, end):
        if ends[row] == empty:
            continue
        for step in range(-1, 2):
            place = 2 * row + step
            value = 2 * np.int64(ends[row]) - (step == 0)
            if size and places[size - 1] == place:  # the row before reaches as far
                if values[size - 1] <= value:
                    continue
                size -= 1
            while size > 1:
                rise = (values[size - 1] - values[size - 2]) * (place - places[size - 2])
                line = (value - values[size - 2]) * (places[size - 1] - places[size - 2])
                if rise < line:
                    break
                size -= 1
            places[size] = place
            values[size] = value
            size += 1
    at = 0
    for row in range(begin, end):
        while places[at + 1] < 2 * row:
            at += 1
        length = places[at + 1] - places[at]
        height = values[at] * length + (values[at + 1] - values[at]) * (2 * row - places[at])
        bounds[row] = -((-height) // (2 * length))  # rounded up


@njit(cache=True, nogil=True)
def convex_slices(lines: Array, hulls: Array) -> None:
    """Convex hull of each slice, as lines: both (z, y, 2), int32."""
    depth, height, _ = lines.shape
    places = np.empty(3 * height, np.int64)
    values = np.empty(3 * height, np.int64)
    ends = np.empty(height, np.int32)
    bounds = np.empty(height, np.int64)
    empty = np.iinfo(np.int32).max
    for z in range(depth):
        begin, end = height, 0
        for y in range(height):
            if lines[z, y, 0] <= lines[z, y, 1]:
                begin = min(begin, y)
                end = y + 1
        if begin >= end:
            continue
        for side in range(2):
            for y in range(begin, end):
                is_empty = lines[z, y, 0] > lines[z, y, 1]
                end_voxel = lines[z, y, 0] if side == 0 else -lines[z, y, 1]
                ends[y] = empty if is_empty else end_voxel
            lower_chain(ends, begin, end, places, values, bounds)
            for y in range(begin, end):
                hulls[z, y, side] = bounds[y] if side == 0 else -bounds[y]
