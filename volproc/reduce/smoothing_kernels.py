"""The compiled Gaussian of one object.

Sums run in one order, from the lowest neighbour to the highest, and no operation may be fused or
moved: a voxel's bits do not depend on where its block begins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def reflected(at: int, size: int) -> int:
    """Place inside an axis that repeats mirrored: c b a | a b c | c b a.

    Places outside turn back at the edge, as often as needed.
    """
    at %= 2 * size
    return 2 * size - 1 - at if at >= size else at


@njit(cache=True, nogil=True)
def _along_z(
    numbers: Array, number: int, box: Array, target: Array, start: int, size: int, weights: Array
) -> Array:
    """First pass: from the object's mask."""
    radius = weights.size // 2
    out = np.zeros((target[3] - target[0], box[4] - box[1], box[5] - box[2]), np.float64)
    for z in range(out.shape[0]):
        for k in range(weights.size):
            source = reflected(start + target[0] + z + k - radius, size) - start
            if source < box[0] or source >= box[3]:
                continue
            weight = weights[k]
            for y in range(out.shape[1]):
                line = numbers[source, box[1] + y]
                for x in range(out.shape[2]):
                    if line[box[2] + x] == number:
                        out[z, y, x] += weight
    return out


@njit(cache=True, nogil=True)
def _along_y(
    values: Array, box: Array, target: Array, start: int, size: int, weights: Array
) -> Array:
    """Second pass."""
    radius = weights.size // 2
    out = np.zeros((values.shape[0], target[4] - target[1], values.shape[2]), np.float64)
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            for k in range(weights.size):
                source = reflected(start + target[1] + y + k - radius, size) - start
                if source < box[1] or source >= box[4]:
                    continue
                weight = weights[k]
                line = values[z, source - box[1]]
                for x in range(out.shape[2]):
                    out[z, y, x] += weight * line[x]
    return out


@njit(cache=True, nogil=True)
def smooth_object(
    numbers: Array,
    number: int,
    box: Array,
    target: Array,
    start: Array,
    size: Array,
    weights_z: Array,
    weights_y: Array,
    weights_x: Array,
    core: Array,
    best: Array,
    out: Array,
) -> None:
    """Blur one object, and take the voxels where it exceeds one half and all objects before it.

    ``numbers`` is a region of a volume of ``size`` from ``start``; ``box`` holds the object and
    ``target`` what is wanted, both in voxels of the region (z, y, x from, z, y, x to). ``best``
    and ``out`` begin at ``core`` in the region.
    """
    planes = _along_z(numbers, number, box, target, start[0], size[0], weights_z)
    lines = _along_y(planes, box, target, start[1], size[1], weights_y)
    radius = weights_x.size // 2
    width = target[5] - target[2]
    padded = np.zeros(width + 2 * radius, np.float64)
    values = np.zeros(width, np.float64)
    sources = np.empty(padded.size, np.int64)
    for i in range(padded.size):
        sources[i] = reflected(start[2] + target[2] + i - radius, size[2]) - start[2] - box[2]
    for z in range(lines.shape[0]):
        for y in range(lines.shape[1]):
            line = lines[z, y]
            for i in range(padded.size):
                source = sources[i]
                padded[i] = line[source] if 0 <= source < line.size else 0.0
            values[:] = 0.0
            for k in range(weights_x.size):
                weight = weights_x[k]
                for x in range(width):
                    values[x] += weight * padded[x + k]
            u, v, w = target[0] + z - core[0], target[1] + y - core[1], target[2] - core[2]
            for x in range(width):
                if values[x] > 0.5 and values[x] > best[u, v, w + x]:
                    best[u, v, w + x] = values[x]
                    out[u, v, w + x] = number


@njit(cache=True, nogil=True)
def keep_small(numbers: Array, core: Array, is_small: Array, best: Array, out: Array) -> None:
    """Take the voxels of objects that are too small to be blurred."""
    depth, height, width = out.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                number = numbers[core[0] + z, core[1] + y, core[2] + x]
                if is_small[number]:
                    best[z, y, x] = 1.0
                    out[z, y, x] = number
