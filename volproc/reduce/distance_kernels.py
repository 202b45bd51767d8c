"""Compiled loops of the distance transform, line by line along the last axis.

Each loop runs over three axes and looks along one of them; the inner loop goes along x, so that the
processor works on many voxels at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]

FAR = 2**40
"""More steps than any line has."""


@njit(cache=True, nogil=True)
def lower_along_x(labels: Array, start: int, width: float, out: Array) -> None:
    """Squared distance along x to the nearest voxel with another label; inf if there is none.

    ``out`` has the columns from ``start`` on; ``width`` is the length of a voxel along x.
    """
    depth, height, num_columns = out.shape
    length = labels.shape[2]
    steps = np.empty(length, np.int64)
    for z in range(depth):
        for y in range(height):
            line = labels[z, y]
            step = FAR
            for x in range(length):
                if x > 0 and line[x] != line[x - 1]:
                    step = 0
                step += 1
                steps[x] = step
            step = FAR
            for x in range(length - 1, start - 1, -1):
                if x < length - 1 and line[x] != line[x + 1]:
                    step = 0
                step += 1
                if x < start + num_columns:
                    nearest = min(step, steps[x])
                    away = width * nearest
                    out[z, y, x - start] = np.inf if nearest >= FAR else away * away


@njit(cache=True, nogil=True)
def lower_along_y(
    labels: Array, lower: Array, start: int, height: float, most: float, out: Array
) -> None:
    """Least squared distance by way of a step along y, where a step to another label costs alone.

    ``lower`` has the squared distance within each line, ``out`` gets the lines from ``start`` on;
    ``height`` is the length of a voxel along y; distances from ``most`` on, squared, do not count.
    """
    depth, num_lines, width = out.shape
    length = lower.shape[1]
    nothing = lower.dtype.type(0)
    for z in range(depth):
        for line in range(num_lines):
            y = line + start
            own = labels[z, y]
            best = out[z, line]
            for x in range(width):  # assigning a slice takes numba four seconds more to compile
                best[x] = lower[z, y, x]
            for step in range(1, length):
                away = height * step
                cost = lower.dtype.type(away * away)
                if cost >= most or (y - step < 0 and y + step >= length):
                    break
                worse = 0
                for x in range(width):
                    worse += best[x] > cost
                if worse == 0:
                    break
                for other in (y - step, y + step):
                    if other < 0 or other >= length:
                        continue
                    there = labels[z, other]
                    values = lower[z, other]
                    for x in range(width):
                        value = cost + (values[x] if there[x] == own[x] else nothing)
                        if value < best[x]:
                            best[x] = value
