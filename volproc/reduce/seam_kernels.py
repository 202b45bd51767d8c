"""Compiled loops over pairs of voxels on both sides of a plane, in one file.

Every loop takes an array of three axes of which the middle one is looked along, so that one
compiled version serves all axes: (1, z, y·x), (z, y, x) and (z·y, x, 1).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]

# Columns of the counts of labels at a plane, and of the voxels of the slice above it.
BOTH, CHANGED, ONE, FOREGROUND, NUM_COUNTS = 0, 1, 2, 3, 4


@njit(cache=True, nogil=True)
def count_pairs(labels: Array, counts: Array) -> None:
    """Count pairs of neighbours along the middle axis into rows of int64 counts.

    Row ``j`` gets the pairs of slices ``j - 1`` and ``j``, and the objects' voxels of slice ``j``.
    """
    outer, middle, inner = labels.shape
    for i in range(outer):
        for j in range(middle):
            both = changed = one = foreground = 0
            for k in range(inner):
                here = labels[i, j, k]
                if here != 0:
                    foreground += 1
                if j == 0:
                    continue
                before = labels[i, j - 1, k]
                if here != 0 and before != 0:
                    both += 1
                    if here != before:
                        changed += 1
                elif here != 0 or before != 0:
                    one += 1
            counts[j, BOTH] += both
            counts[j, CHANGED] += changed
            counts[j, ONE] += one
            counts[j, FOREGROUND] += foreground


@njit(cache=True, nogil=True)
def sum_mantissas(bits: Array, sizes: Array, signed: Array, counts: Array) -> None:
    """Sum float32, given as their bits, by exponent: exactly, in any order.

    ``bits`` is (outer, planes, inner) uint32; ``sizes`` and ``signed`` are (planes, 255) int64 and
    get absolute and signed mantissas; ``counts``, (planes,) int64, their number. What is not
    finite is left out.
    """
    outer, middle, inner = bits.shape
    for i in range(outer):
        for j in range(middle):
            for k in range(inner):
                value = np.int64(bits[i, j, k])
                exponent = (value >> 23) & 0xFF
                mantissa = value & 0x7FFFFF
                if exponent == 255:
                    continue
                if exponent > 0:
                    mantissa |= 0x800000
                sizes[j, exponent] += mantissa
                signed[j, exponent] += mantissa if value < 0x80000000 else -mantissa
                counts[j] += 1
