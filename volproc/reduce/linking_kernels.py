"""Compiled loops over slices: sections, their overlaps, gaps, and chains of links.

Only the first pass looks at all voxels. It keeps the runs along x of equal labels, and whatever
follows goes over those, ten or twenty times fewer.
"""

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
def _find_edges(line: Array, marks: Array, words: Array, edges: Array) -> int:
    """Places along a line where the label changes, both ends included; gives their number.

    A loop that writes marks is vectorized, and eight marks at a time are read as one word: four
    times faster than a loop that branches at each voxel. ``words`` is a view of ``marks``.
    """
    width = line.size
    marks[0] = 1
    for x in range(1, width):
        marks[x] = line[x] != line[x - 1]
    num_edges = 0
    for i in range(words.size):
        word = words[i]
        while word != 0:
            lowest = word & (~word + np.uint64(1))
            # the multiplication moves the number of the byte with this bit into the top byte
            byte = (lowest * np.uint64(0x0001020304050607)) >> np.uint64(56)
            edges[num_edges] = 8 * i + np.int64(byte)
            num_edges += 1
            word ^= lowest
    edges[num_edges] = width
    return num_edges


@njit(cache=True, nogil=True)
def number_sections(labels: Array) -> tuple[Array, Array, Array]:
    """Number the sections of a block slice by slice, in the order of their first voxels.

    Gives the label of each section; its z, voxels and first voxel (raster index in the block),
    (n, 3); and the runs along x, (3, m): first voxel, end, number of the section from 1.
    """
    depth, height, width = labels.shape
    per_slice = np.zeros(depth, np.int64)
    _count_runs(labels, per_slice)
    room = _room(per_slice.max())
    keys, places = np.zeros(room, np.uint64), np.zeros(room, np.int64)
    total = per_slice.sum()
    label, rows = np.empty(total, np.uint64), np.zeros((total, 3), np.int64)
    runs = np.empty((3, total), np.uint32)
    marks, edges = np.zeros((width + 7) // 8 * 8, np.uint8), np.empty(width + 1, np.int64)
    words = marks.view(np.uint64)
    n, run = 0, 0
    for z in range(depth):
        keys[:] = 0
        above, line_run = run, run
        for y in range(height):
            above, line_run = line_run, run  # runs of the line before, from one that may touch
            line, begin = labels[z, y], (z * height + y) * width
            for i in range(_find_edges(line, marks, words, edges)):
                start, stop = edges[i], edges[i + 1]
                value = line[start]
                if value == 0:
                    continue
                over = begin + start - width
                while above < line_run and runs[1, above] <= over:
                    above += 1
                row = np.int64(-1)
                if above < line_run and runs[0, above] <= over:
                    row = np.int64(runs[2, above]) - 1
                if row < 0 or label[row] != value:  # else the look-up is spared
                    key = np.uint64(value)
                    slot = _find_slot(keys, key)
                    if keys[slot] == 0:
                        keys[slot], places[slot] = key, n
                        label[n] = key
                        rows[n, 0], rows[n, 2] = z, begin + start
                        n += 1
                    row = places[slot]
                rows[row, 1] += stop - start
                runs[0, run], runs[1, run], runs[2, run] = begin + start, begin + stop, row + 1
                run += 1
    return label[:n].copy(), rows[:n].copy(), runs


@njit(cache=True, nogil=True)
def _add_overlaps(
    lower: Array, upper: Array, shift: int, keys: Array, counts: Array, pairs: Array
) -> int:
    """Add up the common voxels of two slices by pair of numbers; -1 if the table is too small."""
    i, j, n = 0, 0, 0
    while i < lower.shape[1] and j < upper.shape[1]:
        stop = min(np.int64(lower[1, i]) + shift, np.int64(upper[1, j]))
        common = stop - max(np.int64(lower[0, i]) + shift, np.int64(upper[0, j]))
        if common > 0:
            key = (np.uint64(lower[2, i]) << np.uint64(32)) | np.uint64(upper[2, j])
            slot = _find_slot(keys, key)
            if keys[slot] == 0:
                if n == pairs.size:
                    return -1
                keys[slot] = key
                pairs[n] = slot
                n += 1
            counts[slot] += common
        if np.int64(lower[1, i]) + shift == stop:
            i += 1
        else:
            j += 1
    return n


@njit(cache=True, nogil=True)
def count_overlaps(lower: Array, upper: Array, shift: int) -> tuple[Array, Array, Array]:
    """Numbers in two slices that share voxels, and how many voxels: a sparse matrix.

    Slices come as their runs, (3, m); ``shift`` is the way from the one to the other.
    """
    half = 512
    while True:
        keys, counts = np.zeros(2 * half, np.uint64), np.zeros(2 * half, np.int64)
        pairs = np.empty(half, np.int64)
        n = _add_overlaps(lower, upper, shift, keys, counts, pairs)
        if n >= 0:
            break
        half *= 4
    found = pairs[:n]
    one = (keys[found] >> np.uint64(32)).astype(np.int64)
    other = (keys[found] & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return one, other, counts[found]


@njit(cache=True, nogil=True)
def paint_runs(runs: Array, table: Array, out: Array) -> None:
    """Write ``table[number]`` to all voxels of the runs."""
    for i in range(runs.shape[1]):
        out[runs[0, i] : runs[1, i]] = table[runs[2, i]]


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
                length = np.int64(farthest + 1)
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
