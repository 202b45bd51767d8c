"""Compiled loops over slices: sections, their overlaps, gaps, and chains of links."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def _find_slot(keys: Array, key: int) -> int:
    """Slot of a key in an open hash table: where it is, or where it belongs."""
    mask = np.uint64(keys.size - 1)
    # Fibonacci hashing: the multiplier is 2**64 over the golden ratio
    slot = ((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(cache=True, nogil=True)
def _room(num_keys: int) -> int:
    """Size of a hash table that stays half empty."""
    room = 2
    while room < 2 * num_keys:
        room *= 2
    return room


@njit(cache=True, nogil=True)
def _count_runs(labels: Array, runs: Array) -> None:
    """Count the runs of one label along x in each slice."""
    depth, height, width = labels.shape
    for z in range(depth):
        for y in range(height):
            line = labels[z, y]
            runs[z] += line[0] != 0
            for x in range(1, width):
                runs[z] += (line[x] != line[x - 1]) & (line[x] != 0)


@njit(cache=True, nogil=True)
def number_sections(labels: Array, local: Array) -> tuple[Array, Array]:
    """Number the sections of a block slice by slice, in the order of their first voxels.

    Gives the label of each section, and its z, voxels and first voxel (raster index in the
    block), (n, 3); ``local`` receives numbers from 1.
    """
    depth, height, width = labels.shape
    runs = np.zeros(depth, np.int64)
    _count_runs(labels, runs)
    room = _room(runs.max())
    keys, places = np.zeros(room, np.uint64), np.zeros(room, np.int64)
    label, rows = np.empty(runs.sum(), np.uint64), np.zeros((runs.sum(), 3), np.int64)
    n = 0
    for z in range(depth):
        keys[:] = 0
        for y in range(height):
            x = 0
            while x < width:
                value = labels[z, y, x]
                start = x
                x += 1
                if value == 0:
                    local[z, y, start] = 0
                    continue
                while x < width and labels[z, y, x] == value:
                    x += 1
                if y > 0 and labels[z, y - 1, start] == value:  # spares the look-up, mostly
                    row = np.int64(local[z, y - 1, start]) - 1
                else:
                    key = np.uint64(value)
                    slot = _find_slot(keys, key)
                    if keys[slot] == 0:
                        keys[slot] = key
                        places[slot] = n
                        label[n] = key
                        rows[n, 0] = z
                        rows[n, 2] = (z * height + y) * width + start
                        n += 1
                    row = places[slot]
                rows[row, 1] += x - start
                local[z, y, start:x] = row + 1
    return label[:n].copy(), rows[:n].copy()


@njit(cache=True, nogil=True)
def count_overlaps(lower: Array, upper: Array) -> tuple[Array, Array, Array]:
    """Numbers in two flat slices that share voxels, and how many voxels: a sparse matrix."""
    size = lower.size
    runs = 0
    for i in range(size):
        is_new = i == 0 or lower[i] != lower[i - 1] or upper[i] != upper[i - 1]
        runs += is_new & (lower[i] != 0) & (upper[i] != 0)
    room = _room(runs)
    keys, places = np.zeros(room, np.uint64), np.zeros(room, np.int64)
    pairs, counts = np.empty(runs, np.uint64), np.zeros(runs, np.int64)
    n, i = 0, 0
    while i < size:
        a, b = lower[i], upper[i]
        start = i
        i += 1
        if a == 0 or b == 0:
            continue
        while i < size and lower[i] == a and upper[i] == b:
            i += 1
        key = (np.uint64(a) << np.uint64(32)) | np.uint64(b)
        slot = _find_slot(keys, key)
        if keys[slot] == 0:
            keys[slot] = key
            places[slot] = n
            pairs[n] = key
            n += 1
        counts[places[slot]] += i - start
    one = (pairs[:n] >> np.uint64(32)).astype(np.int64)
    other = (pairs[:n] & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return one, other, counts[:n].copy()


@njit(cache=True, nogil=True)
def follow_chains(below: Array, given: Array, num_objects: int) -> tuple[Array, int]:
    """Give each section the number of the one below it in its chain, else a given or a new one.

    Sections come in the order of their first voxels; ``below`` is -1 where a chain begins here,
    ``given`` is 0 where it does not come from slices before.
    """
    ids = np.empty(below.size, np.int64)
    for i in range(below.size):
        if below[i] >= 0:
            ids[i] = ids[below[i]]
        elif given[i] > 0:
            ids[i] = given[i]
        else:
            num_objects += 1
            ids[i] = num_objects
    return ids, num_objects


@njit(cache=True, nogil=True)
def fill_between(ids: Array, reach: Array, start: int, farthest: int, out: Array) -> None:
    """Paint background voxels between two sections that a link over a gap joins.

    ``ids`` (z, y, x) holds the objects, ``reach`` how many slices up, at most ``farthest``, the
    next section of the object lies; ``out`` has the slices from ``start`` on. A voxel is painted
    if both sections show the object at its y, x. Of several objects that with the shortest gap
    paints, then that with the smallest number.
    """
    depth, height, width = ids.shape
    for z in range(start, start + out.shape[0]):
        for y in range(height):
            for x in range(width):
                if ids[z, y, x] != 0:
                    continue
                length = farthest + 1
                for lower in range(max(0, z - farthest + 1), z):
                    gap = np.int64(reach[lower, y, x])
                    upper = lower + gap
                    if upper <= z or upper >= depth or gap > length:
                        continue
                    own = ids[lower, y, x]
                    if own != ids[upper, y, x]:
                        continue
                    if gap < length or own < out[z - start, y, x]:
                        out[z - start, y, x] = own
                        length = gap
