"""Compiled loops over labels of any size: numbering, boxes, contacts, cells.

They call only each other, since numba's cache on disk does not notice a change in another file.
Labels come as uint32 or uint64, which keeps the number of compiled versions at two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]

# Columns of a table: voxels, raster index of the first voxel, sides of the volume that are
# touched as bits, voxels under a mask.
COUNT, FIRST, EDGES, INSIDE, NUM_COLUMNS = 0, 1, 2, 3, 4

SMALLEST_ROOM = 256
"""Rows that a growing table has at least."""


@njit(cache=True, nogil=True)
def slot_of(keys: Array, key: int) -> int:
    """Slot of a positive key in an open hash table: where it is, or where it belongs."""
    mask = np.uint64(keys.size - 1)
    # Fibonacci hashing: the multiplier is 2**64 over the golden ratio
    slot = ((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(cache=True, nogil=True)
def move_slots(keys: Array, places: Array, wide_keys: Array, wide_places: Array) -> None:
    """Enter all keys of a hash table into a larger one."""
    for i in range(keys.size):
        if keys[i] != 0:
            slot = slot_of(wide_keys, keys[i])
            wide_keys[slot] = keys[i]
            wide_places[slot] = places[i]


@njit(cache=True, nogil=True)
def number_lines(
    labels: Array,
    mask: Array,
    outer: Array,
    numbers: Array,
    keys: Array,
    places: Array,
    rows: Array,
    num_objects: int,
    line: int,
) -> Any:
    """Number and count labels line by line, while the table surely has room for a line's.

    ``outer`` has six bits: the side (z below, z above, y below, …) that the block shares with the
    volume, or 0. An empty ``mask`` counts nothing. Gives the number of objects and the line to go
    on with; arrays do not grow in here because that slows numba's loops down.
    """
    depth, height, width = labels.shape
    has_mask = mask.size > 0
    while line < depth * height and num_objects + width <= rows.shape[0]:
        z, y = line // height, line % height
        side = np.int64(0)
        if z == 0:
            side |= outer[0]
        if z == depth - 1:
            side |= outer[1]
        if y == 0:
            side |= outer[2]
        if y == height - 1:
            side |= outer[3]
        x = 0
        while x < width:
            label = labels[z, y, x]
            start = x
            x += 1
            while x < width and labels[z, y, x] == label:
                x += 1
            if label == 0:
                continue
            key = np.uint64(label)
            slot = slot_of(keys, key)
            if keys[slot] == 0:
                keys[slot] = key
                places[slot] = num_objects
                rows[num_objects, FIRST] = line * width + start
                num_objects += 1
            row = places[slot]
            rows[row, COUNT] += x - start
            rows[row, EDGES] |= side
            if start == 0:
                rows[row, EDGES] |= outer[4]
            if x == width:
                rows[row, EDGES] |= outer[5]
            for i in range(start, x):
                numbers[z, y, i] = row + 1
            if has_mask:
                for i in range(start, x):
                    rows[row, INSIDE] += mask[z, y, i]
        line += 1
    return num_objects, line


def number_labels(labels: Array, mask: Array | None, outer: Array) -> tuple[Array, Array, Array]:
    """Number the labels of a block in the order of their first voxels, and tabulate them.

    Parameters
    ----------
    labels : ndarray of uint32 or uint64, (z, y, x)
    mask : ndarray of uint8, (z, y, x), or None
        Ones where voxels are counted as inside.
    outer : ndarray of int64, (6,)
        Bits of the sides that are the volume's.

    Returns
    -------
    numbers : ndarray of uint32, (z, y, x)
    names : ndarray of uint64, (n,)
        Labels by number.
    rows : ndarray of int64, (n, NUM_COLUMNS)
    """
    depth, height, width = labels.shape
    numbers = np.zeros(labels.shape, np.uint32)
    cover = np.zeros((0, 0, 0), np.uint8) if mask is None else mask
    room = 2 ** max(SMALLEST_ROOM, width).bit_length()
    keys, places = np.zeros(2 * room, np.uint64), np.zeros(2 * room, np.int64)
    rows = np.zeros((room, NUM_COLUMNS), np.int64)
    num_objects, line = number_lines(labels, cover, outer, numbers, keys, places, rows, 0, 0)
    while line < depth * height:
        room *= 2
        old_keys, old_places, old_rows = keys, places, rows
        keys, places = np.zeros(2 * room, np.uint64), np.zeros(2 * room, np.int64)
        move_slots(old_keys, old_places, keys, places)
        rows = np.zeros((room, NUM_COLUMNS), np.int64)
        rows[: len(old_rows)] = old_rows
        num_objects, line = number_lines(
            labels, cover, outer, numbers, keys, places, rows, num_objects, line
        )
    names = np.zeros(num_objects, np.uint64)
    used = keys != 0
    names[places[used]] = keys[used]
    return numbers, names, rows[:num_objects].copy()


@njit(cache=True, nogil=True)
def find_boxes(numbers: Array, num_objects: int) -> Array:
    """Half-open boxes of objects numbered 1..n, (n, 6): z, y, x from, z, y, x to."""
    depth, height, width = numbers.shape
    boxes = np.zeros((num_objects, 6), np.int64)
    boxes[:, 0:3] = max(depth, height, width)
    for z in range(depth):
        for y in range(height):
            x = 0
            while x < width:
                number = numbers[z, y, x]
                start = x
                x += 1
                while x < width and numbers[z, y, x] == number:
                    x += 1
                if number == 0:
                    continue
                box = boxes[number - 1]
                box[0] = min(box[0], z)
                box[1] = min(box[1], y)
                box[2] = min(box[2], start)
                box[3] = z + 1
                box[4] = max(box[4], y + 1)
                box[5] = max(box[5], x)
    return boxes


@njit(cache=True, nogil=True)
def first_voxels(numbers: Array, num_objects: int) -> Array:
    """Raster index of the first voxel of objects numbered 1..n in a flat array."""
    first = np.full(num_objects, -1, np.int64)
    last = np.uint32(0)
    for i in range(numbers.size):
        number = numbers[i]
        if number != last and number != 0 and first[number - 1] < 0:
            first[number - 1] = i
        last = number
    return first


@njit(cache=True, nogil=True)
def _add_contact(keys: Array, one: int, other: int) -> int:
    """Enter a pair into a hash set; 1 if it is new."""
    low, high = np.uint64(min(one, other)), np.uint64(max(one, other))
    key = (low << np.uint64(32)) | high
    slot = slot_of(keys, key)
    if keys[slot] == key:
        return 0
    keys[slot] = key
    return 1


@njit(cache=True, nogil=True)
def contact_lines(regions: Array, keys: Array, num_pairs: int, line: int) -> Any:
    """Enter the pairs of regions that share a face, line by line, while there is room."""
    depth, height, width = regions.shape
    while line < depth * height and 2 * (num_pairs + 3 * width) <= keys.size:
        z, y = line // height, line % height
        last_y = last_z = last_here_y = last_here_z = np.uint32(0)
        for x in range(width):
            here = regions[z, y, x]
            if x + 1 < width and regions[z, y, x + 1] != here:
                num_pairs += _add_contact(keys, here, regions[z, y, x + 1])
            if y + 1 < height:
                other = regions[z, y + 1, x]
                if other != here and (other != last_y or here != last_here_y):
                    num_pairs += _add_contact(keys, here, other)
                    last_y, last_here_y = other, here
            if z + 1 < depth:
                other = regions[z + 1, y, x]
                if other != here and (other != last_z or here != last_here_z):
                    num_pairs += _add_contact(keys, here, other)
                    last_z, last_here_z = other, here
        line += 1
    return num_pairs, line


def find_contacts(regions: Array) -> Array:
    """Pairs of regions that share a face, (n, 2) of uint32, ascending.

    Parameters
    ----------
    regions : ndarray of uint32, (z, y, x)
        Positive everywhere.
    """
    depth, height, width = regions.shape
    places = np.zeros(0, np.int64)
    keys = np.zeros(2 ** (8 * max(SMALLEST_ROOM, width)).bit_length(), np.uint64)
    num_pairs, line = contact_lines(regions, keys, 0, 0)
    while line < depth * height:
        old = keys[keys != 0]
        keys = np.zeros(2 * keys.size, np.uint64)
        places = np.zeros(keys.size, np.int64)
        move_slots(old, np.zeros(old.size, np.int64), keys, places)
        num_pairs, line = contact_lines(regions, keys, num_pairs, line)
    pairs = np.sort(keys[keys != 0])
    return np.stack([pairs >> np.uint64(32), pairs & np.uint64(0xFFFFFFFF)], axis=1).astype(
        np.uint32
    )


@njit(cache=True, nogil=True)
def _most_frequent(values: Array, num_values: int) -> int:
    """Most frequent of the first values; an object before background, then the smaller label."""
    for i in range(1, num_values):  # a cell has few voxels: insertion sort
        value = values[i]
        j = i - 1
        while j >= 0 and values[j] > value:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = value
    best = values[0]
    best_count = 0
    start = 0
    while start < num_values:
        stop = start + 1
        while stop < num_values and values[stop] == values[start]:
            stop += 1
        count = stop - start
        if count > best_count or (count == best_count and best == 0):
            best, best_count = values[start], count
        start = stop
    return best


@njit(cache=True, nogil=True)
def shrink_cells(labels: Array, out: Array, factor_z: int, factor_y: int, factor_x: int) -> None:
    """Write the most frequent label of each cell; cells at the end may be cut off."""
    depth, height, width = labels.shape
    values = np.empty(factor_z * factor_y * factor_x, labels.dtype)
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                num_values = 0
                is_uniform = True
                for u in range(z * factor_z, min(depth, (z + 1) * factor_z)):
                    for v in range(y * factor_y, min(height, (y + 1) * factor_y)):
                        for w in range(x * factor_x, min(width, (x + 1) * factor_x)):
                            values[num_values] = labels[u, v, w]
                            is_uniform &= values[num_values] == values[0]
                            num_values += 1
                out[z, y, x] = values[0] if is_uniform else _most_frequent(values, num_values)
