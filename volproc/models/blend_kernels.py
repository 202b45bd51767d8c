"""The compiled loops that blend patches on the CPU.

What PyTorch and NumPy do in five passes over memory, each with an array of its own, is done voxel
by voxel, with the same operations in the same precision: the bits are the same. No operation may
be fused or moved: these loops are never compiled with ``fastmath``. Whole arrays come with the
corner of the part that is meant: a loop over rows of a part does not know that they are contiguous,
and takes half as long again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]
Corner = tuple[int, int, int]


@njit(cache=True, nogil=True)
def add_weighted(
    sums: Array,
    corner: Corner,
    output: Array,
    window: Array,
    first: Corner,
    last: Corner,
    unit: float,
) -> None:
    """Add a part of a patch to fixed-point sums: ``sums += round(window * output / unit)``.

    ``sums`` int64 and ``output`` float32 are (c, z, y, x), ``window`` float32 is (z, y, x), all
    contiguous. Voxels from ``first`` up to ``last`` of the patch are added from ``corner`` on. The
    product is rounded to float32; ``unit`` is a power of two, hence the quotient is exact; it is
    rounded half to even.
    """
    per_unit = 1.0 / unit
    width = last[2] - first[2]
    for c in range(output.shape[0]):
        for z in range(last[0] - first[0]):
            for y in range(last[1] - first[1]):
                row = sums[c, corner[0] + z, corner[1] + y][corner[2] : corner[2] + width]
                values = output[c, first[0] + z, first[1] + y][first[2] : last[2]]
                weights = window[first[0] + z, first[1] + y][first[2] : last[2]]
                for x in range(width):
                    weighted = values[x] * weights[x]
                    row[x] += np.int64(np.rint(np.float64(weighted) * per_unit))


@njit(cache=True, nogil=True)
def add_window(total: Array, corner: Corner, window: Array, first: Corner, last: Corner) -> None:
    """Add a part of a window, float32 (z, y, x), to sums of weights, float64, from a corner on."""
    width = last[2] - first[2]
    for z in range(last[0] - first[0]):
        for y in range(last[1] - first[1]):
            row = total[corner[0] + z, corner[1] + y][corner[2] : corner[2] + width]
            weights = window[first[0] + z, first[1] + y][first[2] : last[2]]
            for x in range(width):
                row[x] += weights[x]


@njit(cache=True, nogil=True, error_model="numpy")
def divide_sums(sums: Array, corner: Corner, weights: Array, unit: float, mean: Array) -> None:
    """Weighted mean of fixed-point sums from a corner on: ``mean = sums * unit / weights``.

    ``sums`` int64 and ``mean`` float32 are (c, z, y, x), ``weights`` float64 is (z, y, x), all
    contiguous. Product and quotient are float64, and rounded to float32 at the end.
    """
    channels, depth, height, width = mean.shape
    for c in range(channels):
        for z in range(depth):
            for y in range(height):
                row = sums[c, corner[0] + z, corner[1] + y][corner[2] : corner[2] + width]
                divisors, values = weights[z, y], mean[c, z, y]
                for x in range(width):
                    values[x] = np.float32((np.float64(row[x]) * unit) / divisors[x])


@njit(cache=True, nogil=True)
def first_largest(mean: Array, classes: Array) -> None:
    """Class of the largest value, the first of equals: (c, rows, x) float32 → (rows, x).

    Values are finite, arrays contiguous.
    """
    channels, num_rows, width = mean.shape
    best = np.empty(width, np.float32)
    for r in range(num_rows):
        found = classes[r]
        for x in range(width):  # assigning slices takes numba four seconds more to compile
            best[x] = mean[0, r, x]
            found[x] = 0
        for c in range(1, channels):
            values = mean[c, r]
            for x in range(width):
                if values[x] > best[x]:
                    best[x] = values[x]
                    found[x] = c
