"""Compiled loop over two label arrays side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def find_pair_runs(one: Array, other: Array) -> tuple[Array, Array, Array]:
    """Runs of voxels with the same two labels: the label in each array, and the voxels."""
    num_runs = 0
    for i in range(one.size):
        num_runs += i == 0 or one[i] != one[i - 1] or other[i] != other[i - 1]
    first = np.empty(num_runs, np.int64)
    second = np.empty(num_runs, np.int64)
    count = np.empty(num_runs, np.int64)
    run, start = -1, 0
    for i in range(one.size):
        if i == 0 or one[i] != one[i - 1] or other[i] != other[i - 1]:
            if run >= 0:
                count[run] = i - start
            run, start = run + 1, i
            first[run], second[run] = one[i], other[i]
    if run >= 0:
        count[run] = one.size - start
    return first, second, count
