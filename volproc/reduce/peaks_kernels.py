"""Compiled loop that finds local maxima.

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
def mark_peaks(scores: Array, candidates: Array, start: Array, ball: Array, earlier: Array) -> None:
    """Clear the candidates that a voxel of their ball exceeds.

    ``scores`` is a block with its halo, ``candidates`` the flags of the voxels inside it that
    begin at ``start``. ``ball`` holds the steps to a voxel's neighbours, the nearest first;
    ``earlier`` says which of them lead to a smaller raster index, and win a tie.
    """
    depth, height, width = scores.shape
    for z in range(candidates.shape[0]):
        for y in range(candidates.shape[1]):
            for x in range(candidates.shape[2]):
                if not candidates[z, y, x]:
                    continue
                score = scores[z + start[0], y + start[1], x + start[2]]
                for i in range(ball.shape[0]):
                    a = z + start[0] + ball[i, 0]
                    b = y + start[1] + ball[i, 1]
                    c = x + start[2] + ball[i, 2]
                    if a < 0 or b < 0 or c < 0 or a >= depth or b >= height or c >= width:
                        continue
                    other = scores[a, b, c]
                    # a NaN is neither greater nor equal
                    if other > score or (other == score and earlier[i]):
                        candidates[z, y, x] = np.uint8(0)
                        break
