"""Compiled loops that find count, box and first voxel of objects of any labels.

Numba's cache on disk notices a changed file, but not a change in another file that a loop calls
into; so loops that call each other stand together. Each runs without the interpreter's lock.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]

FIRST_ROWS = 256
"""Rows that a growing table has at least."""

# Columns of a table of geometry: count, index of the first voxel, then three numbers each.
COUNT, FIRST, SUM, LOWER, UPPER, NUM_COLUMNS = 0, 1, 2, 5, 8, 11


@njit(cache=True, nogil=True)
def _add_run(rows: Array, row: int, z: int, y: int, start: int, stop: int, first: int) -> None:
    """Add a run of voxels along x to one row of a geometry table."""
    n = stop - start
    if rows[row, COUNT] == 0:
        rows[row, FIRST] = first
        # One by one: assigning slices takes numba four seconds more to compile.
        rows[row, LOWER], rows[row, UPPER] = z, z + 1
        rows[row, LOWER + 1], rows[row, UPPER + 1] = y, y + 1
        rows[row, LOWER + 2], rows[row, UPPER + 2] = start, stop
    else:  # z never goes down from one run to the next
        rows[row, LOWER + 1] = min(rows[row, LOWER + 1], y)
        rows[row, LOWER + 2] = min(rows[row, LOWER + 2], start)
        rows[row, UPPER] = z + 1
        rows[row, UPPER + 1] = max(rows[row, UPPER + 1], y + 1)
        rows[row, UPPER + 2] = max(rows[row, UPPER + 2], stop)
    rows[row, COUNT] += n
    rows[row, SUM] += n * z
    rows[row, SUM + 1] += n * y
    rows[row, SUM + 2] += (start + stop - 1) * n // 2


@njit(cache=True, nogil=True)
def find_slot(keys: Array, key: int) -> int:
    """Slot of a label in an open hash table: where it is, or where it belongs."""
    mask = np.uint64(keys.size - 1)
    # Fibonacci hashing: the multiplier is 2**64 over the golden ratio
    slot = ((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(cache=True, nogil=True)
def _scan(
    labels: Array, keys: Array, places: Array, rows: Array, num_objects: int, line: int
) -> Any:
    """Measure lines along x from one on, while the table surely has room for a line's objects.

    Gives the number of objects and the line to go on with. Growing the arrays in here would be
    shorter, but arrays that change inside a loop make numba's code twenty times slower.
    """
    depth, height, width = labels.shape
    while line < depth * height and num_objects + width <= rows.shape[0]:
        z, y = line // height, line % height
        values = labels[z, y]
        x = 0
        while x < width:
            label = values[x]
            start = x
            x += 1
            if label == 0:
                continue
            while x < width and values[x] == label:
                x += 1
            key = np.uint64(label)
            slot = find_slot(keys, key)
            if keys[slot] == 0:
                keys[slot] = key
                places[slot] = num_objects
                num_objects += 1
            _add_run(rows, places[slot], z, y, start, x, line * width + start)
        line += 1
    return num_objects, line


@njit(cache=True, nogil=True)
def _copy_slots(keys: Array, places: Array, wide_keys: Array, wide_places: Array) -> None:
    """Enter all labels of a hash table into a larger one."""
    for i in range(keys.size):
        if keys[i] != 0:
            slot = find_slot(wide_keys, keys[i])
            wide_keys[slot] = keys[i]
            wide_places[slot] = places[i]


def measure_any(labels: Array) -> tuple[Array, Array, Array]:
    """Geometry of objects of any labels, however large the numbers.

    Returns
    -------
    rows : ndarray of int64, (n, NUM_COLUMNS)
        In the order of first voxels.
    keys, places : ndarray
        Hash table from label to row, at least half empty; `find_slot` reads it.
    """
    depth, height, width = labels.shape
    room = 2 ** max(FIRST_ROWS, width).bit_length()
    keys, places = np.zeros(2 * room, np.uint64), np.zeros(2 * room, np.int64)
    rows = np.zeros((room, NUM_COLUMNS), np.int64)
    num_objects, line = _scan(labels, keys, places, rows, 0, 0)
    while line < depth * height:
        room *= 2
        old_keys, old_places, old_rows = keys, places, rows
        keys, places = np.zeros(2 * room, np.uint64), np.zeros(2 * room, np.int64)
        _copy_slots(old_keys, old_places, keys, places)
        rows = np.zeros((room, NUM_COLUMNS), np.int64)
        rows[: len(old_rows)] = old_rows
        num_objects, line = _scan(labels, keys, places, rows, num_objects, line)
    return rows[:num_objects].copy(), keys, places
