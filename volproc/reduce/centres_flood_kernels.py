"""Compiled loop that floods scattered voxels of a volume.

A file of its own, because numba's cache on disk does not notice a change in another file that a
loop calls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]

TOP = 2**31 - 1
"""Greatest height: a squared distance of 32 bits."""

TIME_BITS = 32
"""Bits of a heap's key that count entries; the 31 above hold the depth."""


@njit(cache=True, nogil=True)
def _link(places: Array, step: int, limit: int, stride: int) -> tuple[Array, Array]:
    """Rows of the neighbours before and after each voxel along an axis; -1 where there is none.

    ``step`` is the axis's step in raster order, ``stride`` likewise, and ``limit`` its length.
    """
    before = np.full(places.size, -1, np.int32)
    after = np.full(places.size, -1, np.int32)
    other = 0
    for row in range(places.size):
        if places[row] // stride % limit == limit - 1:
            continue
        wanted = places[row] + step
        while other < places.size and places[other] < wanted:
            other += 1
        if other < places.size and places[other] == wanted:
            after[row] = other
            before[other] = row
    return before, after


@njit(cache=True, nogil=True)
def _push(keys: Array, rows: Array, size: int, key: int, row: int) -> None:
    """Add an entry at the end of a binary heap, and let it rise to its place."""
    child = size
    while child > 0:
        parent = (child - 1) // 2
        if key >= keys[parent]:
            break
        keys[child], rows[child] = keys[parent], rows[parent]
        child = parent
    keys[child], rows[child] = key, row


@njit(cache=True, nogil=True)
def _drop(keys: Array, rows: Array, size: int) -> None:
    """Take the first of size + 1 entries away: the last one takes its place, and sinks."""
    key, row = keys[size], rows[size]
    i = 0
    while 2 * i + 1 < size:
        child = 2 * i + 1  # of two equal children the left one rises
        if child + 1 < size and keys[child + 1] < keys[child]:
            child += 1
        if key <= keys[child]:
            break
        keys[i], rows[i] = keys[child], rows[child]
        i = child
    keys[i], rows[i] = key, row


@njit(cache=True, nogil=True)
def flood_voxels(
    places: Array, heights: Array, markers: Array, height: int, width: int, in_raster_order: bool
) -> None:
    """Spread markers over scattered voxels, the highest first; ``markers`` is filled.

    ``places`` are raster indices in a volume with rows of ``width`` and planes of ``height`` rows,
    ascending. Entries of a binary heap are ordered by the lowest height on the way and by time;
    markers enter at time 0 or, in raster order, one after the other.
    """
    num_voxels = places.size
    everywhere = np.int64(2) ** 62
    z_before, z_after = _link(places, height * width, everywhere, 1)
    y_before, y_after = _link(places, width, height, width)
    x_before, x_after = _link(places, 1, width, 1)
    neighbours = (z_before, y_before, x_before, x_after, y_after, z_after)
    # one number to compare: the depth below the greatest height, then the time of entry
    keys = np.empty(num_voxels, np.int64)
    rows = np.empty(num_voxels, np.int32)
    depth = np.int64(TOP) - heights
    size, now = 0, np.int64(0)
    for row in range(num_voxels):
        if markers[row] == 0:
            continue
        if in_raster_order:
            now += 1
        _push(keys, rows, size, (depth[row] << TIME_BITS) | now, row)
        size += 1
    while size > 0:
        deepest, here = keys[0] >> TIME_BITS, rows[0]
        size -= 1
        if size > 0:
            _drop(keys, rows, size)
        for beside in neighbours:
            there = beside[here]
            if there < 0 or markers[there] != 0:
                continue
            markers[there] = markers[here]
            now += 1
            _push(keys, rows, size, (max(deepest, depth[there]) << TIME_BITS) | now, there)
            size += 1


@njit(cache=True, nogil=True)
def sum_regions(
    places: Array, markers: Array, num_markers: int, height: int, width: int
) -> tuple[Array, Array, Array, Array]:
    """Voxels, coordinate sums and box (n, 3) of regions 1..n; voxels without a region are 0."""
    count = np.zeros(num_markers, np.int64)
    sums = np.zeros((num_markers, 3), np.int64)
    lower = np.full((num_markers, 3), np.int64(2) ** 62)
    upper = np.zeros((num_markers, 3), np.int64)
    for i in range(places.size):
        if markers[i] == 0:
            continue
        region = markers[i] - 1
        count[region] += 1
        place = (places[i] // (height * width), places[i] // width % height, places[i] % width)
        for axis in range(3):
            sums[region, axis] += place[axis]
            lower[region, axis] = min(lower[region, axis], place[axis])
            upper[region, axis] = max(upper[region, axis], place[axis] + 1)
    return count, sums, lower, upper
