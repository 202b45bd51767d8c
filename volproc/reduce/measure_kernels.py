"""Compiled loops that measure objects: one pass over runs of equal labels.

Numba's cache on disk notices a changed file, but not a change in another file that a loop calls
into; so these loops stand together and call nothing outside. Each runs without the interpreter's
lock. Labels come as uint32 or uint64, intensities as float32 or float64, always with three axes:
few types, so that little is compiled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]

# Columns of a block's table: count, raster index of the first voxel, sums of coordinates, box,
COUNT, FIRST, SUM, LOWER, UPPER = 0, 1, 2, 5, 8
# and, zero unless they are asked for: surface voxels, voxels without a finite intensity, and sums
# of the products zz, zy, zx, yy, yx, xx of coordinates.
SURFACE, NONFINITE, PRODUCT, NUM_COLUMNS = 11, 12, 13, 19


@njit(cache=True, nogil=True)
def _add_run(rows: Array, row: int, z: int, y: int, start: int, stop: int, first: int) -> None:
    """Add a run of voxels along x to one row: count, first voxel, sums and box."""
    n = stop - start
    if rows[row, COUNT] == 0:
        rows[row, FIRST] = first
        rows[row, LOWER] = z
        rows[row, LOWER + 1] = y
        rows[row, LOWER + 2] = start
        rows[row, UPPER + 1] = y + 1
        rows[row, UPPER + 2] = stop
    else:
        rows[row, LOWER + 1] = min(rows[row, LOWER + 1], y)
        rows[row, LOWER + 2] = min(rows[row, LOWER + 2], start)
        rows[row, UPPER + 1] = max(rows[row, UPPER + 1], y + 1)
        rows[row, UPPER + 2] = max(rows[row, UPPER + 2], stop)
    rows[row, UPPER] = z + 1  # z never goes down from one run to the next
    rows[row, COUNT] += n
    rows[row, SUM] += n * z
    rows[row, SUM + 1] += n * y
    rows[row, SUM + 2] += (start + stop - 1) * n // 2


@njit(cache=True, nogil=True)
def _add_products(rows: Array, row: int, z: int, y: int, start: int, stop: int) -> None:
    """Add the products of a run's coordinates to one row."""
    n = stop - start
    x = (start + stop - 1) * n // 2
    below = (start - 1) * start * (2 * start - 1) // 6
    rows[row, PRODUCT] += n * z * z
    rows[row, PRODUCT + 1] += n * z * y
    rows[row, PRODUCT + 2] += z * x
    rows[row, PRODUCT + 3] += n * y * y
    rows[row, PRODUCT + 4] += y * x
    rows[row, PRODUCT + 5] += (stop - 1) * stop * (2 * stop - 1) // 6 - below


@njit(cache=True, nogil=True)
def _is_surface(labels: Array, z: int, y: int, x: int) -> bool:
    """Whether a neighbour across a face, inside the block, has another label."""
    depth, height, width = labels.shape
    label = labels[z, y, x]
    return (
        (x > 0 and labels[z, y, x - 1] != label)
        or (x < width - 1 and labels[z, y, x + 1] != label)
        or (y > 0 and labels[z, y - 1, x] != label)
        or (y < height - 1 and labels[z, y + 1, x] != label)
        or (z > 0 and labels[z - 1, y, x] != label)
        or (z < depth - 1 and labels[z + 1, y, x] != label)
    )


@njit(cache=True, nogil=True)
def _mark_surface(own: Array, beside: tuple[Array, Array, Array, Array], marks: Array) -> None:
    """Mark the voxels of a line that have a neighbour of another label.

    ``beside`` are the four lines along it; where one is missing, it is the line itself. No branches
    in the loops: the processor takes many voxels at once.
    """
    one, two, three, four = beside
    for x in range(own.size):
        label = own[x]
        differs = (one[x] != label) | (two[x] != label) | (three[x] != label) | (four[x] != label)
        marks[x] = differs
    for x in range(1, own.size):
        marks[x] |= own[x] != own[x - 1]
    for x in range(1, own.size):
        marks[x - 1] |= own[x] != own[x - 1]


@njit(cache=True, nogil=True)
def find_undecided(labels: Array, axis: int, side: int) -> Array:
    """Voxels of objects on an outer plane that are no surface as far as the block shows."""
    depth, height, width = labels.shape
    rows = depth if axis != 0 else height
    columns = width if axis != 2 else height
    out = np.zeros((rows, columns), np.bool_)
    end = (labels.shape[axis] - 1) * side
    for i in range(rows):
        for j in range(columns):
            z = end if axis == 0 else i
            y = end if axis == 1 else (i if axis == 0 else j)
            x = end if axis == 2 else j
            out[i, j] = labels[z, y, x] != 0 and not _is_surface(labels, z, y, x)
    return out


@njit(cache=True, nogil=True)
def _find_slot(slots: Array, names: Array, name: int) -> int:
    """Slot of a label in an open hash table: where its row is, or where it belongs."""
    mask = np.uint64(slots.size - 1)
    # Fibonacci hashing: the multiplier is 2**64 over the golden ratio
    slot = ((name * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
    while slots[slot] != 0 and names[slots[slot] - 1] != name:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(cache=True, nogil=True)
def fill_slots(slots: Array, names: Array) -> None:
    """Enter the labels of all rows into an empty hash table, at least half of which stays empty."""
    for row in range(names.size):
        slots[_find_slot(slots, names, names[row])] = row + 1


@njit(cache=True, nogil=True)
def _find_runs(line: Array, starts: Array) -> int:
    """Write where the runs of a line start, and then where the line ends; count the runs.

    Each place is written, and overwritten by the next one unless a run starts there: a branch that
    the processor cannot foresee, twice a run, would take longer than all the rest.
    """
    num_runs, before = 1, line[0]
    starts[0] = 0
    for x in range(1, line.size):
        label = line[x]
        starts[num_runs] = x
        num_runs += label != before
        before = label
    starts[num_runs] = line.size
    return num_runs


@njit(cache=True, nogil=True)
def add_value(digits: Array, row: int, first: int, bits: np.uint64) -> None:
    """Add one finite float64, given as its bits, to one row of 32-bit digits, exactly.

    The value is ``mantissa * 2**(place - 1074)``; digit ``i`` counts units of
    ``2**(32 * (first + i) - 1074)``. Digits carry later: an int64 has room for 2**30 additions.
    """
    place = np.int64((bits >> np.uint64(52)) & np.uint64(0x7FF))
    mantissa = np.int64(bits & np.uint64(0xFFFFFFFFFFFFF))
    if place > 0:
        mantissa |= np.int64(1) << np.int64(52)
        place -= 1
    elif mantissa == 0:
        return
    digit, shift = (place >> 5) - first, place & 31
    low = (mantissa & np.int64(0xFFFFFFFF)) << shift
    high = (mantissa >> np.int64(32)) << shift
    one = low & np.int64(0xFFFFFFFF)
    two = (low >> np.int64(32)) + (high & np.int64(0xFFFFFFFF))
    three = high >> np.int64(32)
    if bits >> np.uint64(63):
        one, two, three = -one, -two, -three
    digits[row, digit] += one
    digits[row, digit + 1] += two
    digits[row, digit + 2] += three


@njit(cache=True, nogil=True)
def add_square(digits: Array, row: int, first: int, bits: np.uint64) -> None:
    """Add the square of one finite float64, exactly; digits of units ``2**(32 * i - 2148)``."""
    place = np.int64((bits >> np.uint64(52)) & np.uint64(0x7FF))
    mantissa = bits & np.uint64(0xFFFFFFFFFFFFF)
    if place > 0:
        mantissa |= np.uint64(1) << np.uint64(52)
        place -= 1
    elif mantissa == 0:
        return
    digit, shift = (place >> 4) - first, np.uint64((2 * place) & 31)
    word, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    low, high = mantissa & word, mantissa >> half
    square, mixed, top = low * low, np.uint64(2) * low * high, high * high
    carry = np.uint64(0)
    parts = (
        square & word,
        (square >> half) + (mixed & word),
        (mixed >> half) + (top & word),
        top >> half,
    )
    for part in parts:  # each below 2**33; what exceeds 32 bits joins the next
        part += carry
        shifted = (part & word) << shift
        carry = part >> half
        digits[row, digit] += np.int64(shifted & word)
        digit += 1
        digits[row, digit] += np.int64(shifted >> half)


@njit(cache=True, nogil=True)
def _reach_of(labels: Array, bits: Array, lowest: int, highest: int) -> tuple[int, int]:
    """Widen a range of exponents by those of a line's finite voxels under objects."""
    for x in range(labels.size):
        if labels[x] == 0 or not bits[x] << np.uint64(1):
            continue
        place = np.int64((bits[x] >> np.uint64(52)) & np.uint64(0x7FF))
        if place < 0x7FF:
            place -= place > 0
            lowest = min(lowest, int(place))
            highest = max(highest, int(place))
    return lowest, highest


@njit(cache=True, nogil=True)
def _add_intensity(
    rows: Array,
    digits: Array,
    squares: Array,
    extremes: Array,
    row: int,
    firsts: tuple[int, int],
    values: Array,
    bits: Array,
    span: tuple[int, int],
) -> None:
    """Add the intensities of a run of a line to one row."""
    for i in range(span[0], span[1]):
        value = values[i]
        if not np.isfinite(value):
            rows[row, NONFINITE] += 1
            continue
        add_value(digits, row, firsts[0], bits[i])
        if squares.shape[0] > 0:
            add_square(squares, row, firsts[1], bits[i])
        extremes[row, 0] = min(extremes[row, 0], value)
        extremes[row, 1] = max(extremes[row, 1], value)


@njit(cache=True, nogil=True)
def scan_lines(
    labels: Array,
    intensity: Array,
    steps: tuple[int, int, int, int],
    planes: tuple[int, int],
    block_shape: tuple[int, int, int],
    slots: Array,
    names: Array,
    rows: Array,
    digits: Array,
    squares: Array,
    extremes: Array,
    window: tuple[int, int, int, int],
    wanted: tuple[bool, bool, bool],
    num_objects: int,
    line: int,
    last_line: int,
) -> tuple[int, int, int, int]:
    """Measure lines along x from one on, as long as the tables surely have room for a line.

    Parameters
    ----------
    labels : ndarray of uint32 or uint64, (n,)
        Some planes of the block, in memory order; 0 is background.
    intensity : ndarray of float32 or float64, (m,)
        Some planes of the block.
    steps : (int, int, int, int)
        Voxels from a plane and from a line to the next, of labels and of intensities.
    planes : (int, int)
        Which planes of the block are the first ones of the two.
    block_shape : (int, int, int)
        Planes, lines and voxels of the block.
    slots : ndarray of int64, (2 ** n,)
        Hash table from label to row, counted from 1; at least half empty.
    names : ndarray of uint64, (room,)
        Label of each row.
    rows : ndarray of int64, (room, NUM_COLUMNS)
    digits, squares : ndarray of int64, (room, k)
        Sums of intensities; ``squares`` may have no rows.
    extremes : ndarray of float64, (room, 2)
        Least and greatest intensity.
    window : tuple of int
        First digit of sums and of squares, then lowest and highest exponent that they can take.
    wanted : (bool, bool, bool)
        Whether surfaces, products of coordinates and intensities are wanted.
    num_objects, line, last_line : int
        Rows in use, and the lines to measure, counted as ``z * height + y``.

    Returns
    -------
    num_objects, line : int
        Rows in use, and the line to go on with.
    lowest, highest : int
        Exponents that the window needs for that line.

    Notes
    -----
    Growing the arrays in here would be shorter, but arrays that change inside a loop make numba's
    code twenty times slower.
    """
    depth, height, width = block_shape
    with_surface, with_products, with_intensity = wanted
    lowest, highest = window[2], window[3]
    values = np.empty(width if with_intensity else 0, np.float64)
    bits = values.view(np.uint64)
    starts = np.empty(width + 1, np.int64)
    marks = np.zeros(width if with_surface else 0, np.uint8)
    while line < last_line and num_objects + width <= rows.shape[0]:
        z, y = line // height, line % height
        at = (z - planes[0]) * steps[0] + y * steps[1]
        own = labels[at : at + width]
        if with_surface:
            below, above = at - steps[0] * (z > 0), at + steps[0] * (z < depth - 1)
            one, two = labels[below : below + width], labels[above : above + width]
            below, above = at - steps[1] * (y > 0), at + steps[1] * (y < height - 1)
            three, four = labels[below : below + width], labels[above : above + width]
            _mark_surface(own, (one, two, three, four), marks)
        if with_intensity:
            value_at = (z - planes[1]) * steps[2] + y * steps[3]
            for x in range(width):  # assigning a slice takes numba four seconds more to compile
                values[x] = intensity[value_at + x]
            lowest, highest = _reach_of(own, bits, lowest, highest)
            if lowest < window[2] or highest > window[3]:
                break
        for run in range(_find_runs(own, starts)):
            start, x = starts[run], starts[run + 1]
            if own[start] == 0:
                continue
            name = np.uint64(own[start])
            slot = _find_slot(slots, names, name)
            if slots[slot] == 0:
                names[num_objects] = name
                num_objects += 1
                slots[slot] = num_objects
            row = slots[slot] - 1
            _add_run(rows, row, z, y, start, x, line * width + start)
            if with_products:
                _add_products(rows, row, z, y, start, x)
            if with_surface:
                for i in range(start, x):
                    rows[row, SURFACE] += marks[i]
            if with_intensity:
                firsts, span = (window[0], window[1]), (start, x)
                _add_intensity(rows, digits, squares, extremes, row, firsts, values, bits, span)
        line += 1
    return num_objects, line, lowest, highest
