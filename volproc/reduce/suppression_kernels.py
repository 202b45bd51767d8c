"""Compiled loop of greedy non-maximum suppression.

A file of its own, because numba's cache on disk does not notice a change in another file that a
loop calls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def keep_greedily(points: Array, cells: Array, sides: Array, radius: float) -> Array:
    """Flags of the points that no better kept one suppresses.

    ``points`` (n, 3) are sorted, the best first; ``cells`` (n, 3) are the cells of a grid at
    least as wide as the radius, ``sides`` the cells an axis. Kept points hang in a list a cell,
    found through an open hash table.
    """
    num_points = points.shape[0]
    kept = np.zeros(num_points, np.bool_)
    room = 64
    while room < 2 * num_points:
        room *= 2
    keys = np.full(room, -1, np.int64)
    heads = np.full(room, -1, np.int64)
    following = np.full(num_points, -1, np.int64)
    mask = np.uint64(room - 1)
    limit = radius * radius
    for i in range(num_points):
        is_free = True
        home = np.uint64(0)
        for step in range(27):
            # the own cell comes last, and leaves its slot in `home`
            turn = (step + 14) % 27
            z = cells[i, 0] + turn // 9 - 1
            y = cells[i, 1] + turn // 3 % 3 - 1
            x = cells[i, 2] + turn % 3 - 1
            key = (z * sides[1] + y) * sides[2] + x
            # Fibonacci hashing: the multiplier is 2**64 over the golden ratio
            slot = ((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & mask
            while keys[slot] != -1 and keys[slot] != key:
                slot = (slot + np.uint64(1)) & mask
            home = slot
            j = heads[slot] if keys[slot] == key else np.int64(-1)
            while j >= 0:
                dz = points[i, 0] - points[j, 0]
                dy = points[i, 1] - points[j, 1]
                dx = points[i, 2] - points[j, 2]
                if dz * dz + dy * dy + dx * dx <= limit:
                    is_free = False
                    break
                j = following[j]
            if not is_free:
                break
        if is_free:
            kept[i] = True
            keys[home] = (cells[i, 0] * sides[1] + cells[i, 1]) * sides[2] + cells[i, 2]
            following[i] = heads[home]
            heads[home] = i
    return kept
