"""Compiled loops that split the objects of a class map at their necks.

A file of its own, because numba's cache on disk does not notice a change in another file that a
loop calls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]

FAR = 30_000
"""Distance along a row without background; its square leaves room in 32 bits."""

STEPS = np.array([[-1, 0, 0], [0, -1, 0], [0, 0, -1], [0, 0, 1], [0, 1, 0], [1, 0, 0]])
"""Neighbours across a face, in raster order."""


@njit(cache=True, nogil=True)
def open_map(classes: Array, out: Array) -> None:
    """Open each class of a map with the cross of seven voxels; outside is background."""
    depth, height, width = classes.shape
    for z in range(1, depth - 1):
        for y in range(1, height - 1):
            for x in range(1, width - 1):
                value = classes[z, y, x]
                if value == 0:
                    continue
                is_core = True
                for i in range(6):
                    if classes[z + STEPS[i, 0], y + STEPS[i, 1], x + STEPS[i, 2]] != value:
                        is_core = False
                        break
                if is_core:  # all its neighbours are of this class
                    out[z, y, x] = value
                    for i in range(6):
                        out[z + STEPS[i, 0], y + STEPS[i, 1], x + STEPS[i, 2]] = value


@njit(cache=True, nogil=True)
def bound_classes(classes: Array, boxes: Array) -> None:
    """Widen the box (2, 3) of each class 1, 2, … to its voxels; the end is exclusive."""
    for z in range(classes.shape[0]):
        for y in range(classes.shape[1]):
            for x in range(classes.shape[2]):
                if classes[z, y, x] == 0:
                    continue
                box = boxes[classes[z, y, x] - 1]
                box[0, 0], box[1, 0] = min(box[0, 0], z), max(box[1, 0], z + 1)
                box[0, 1], box[1, 1] = min(box[0, 1], y), max(box[1, 1], y + 1)
                box[0, 2], box[1, 2] = min(box[0, 2], x), max(box[1, 2], x + 1)


@njit(cache=True, nogil=True)
def fill_object(view: Array, lower: Array, begin: Array, member: Array, size: int) -> None:
    """Flag the voxels of one object in ``member``, its box, which begins at ``lower``."""
    value = view[begin[0], begin[1], begin[2]]
    stack = np.empty((size, 3), np.int32)
    stack[0] = begin
    member[begin[0] - lower[0], begin[1] - lower[1], begin[2] - lower[2]] = 1
    top = 1
    while top > 0:
        top -= 1
        z, y, x = stack[top, 0], stack[top, 1], stack[top, 2]
        for i in range(6):
            a, b, c = z + STEPS[i, 0], y + STEPS[i, 1], x + STEPS[i, 2]
            u, v, w = a - lower[0], b - lower[1], c - lower[2]
            if (
                u < 0
                or v < 0
                or w < 0
                or u >= member.shape[0]
                or v >= member.shape[1]
                or w >= member.shape[2]
                or member[u, v, w]
                or view[a, b, c] != value
            ):
                continue
            member[u, v, w] = 1
            stack[top, 0], stack[top, 1], stack[top, 2] = a, b, c
            top += 1


@njit(cache=True, nogil=True)
def _sweep(squared: Array, before: Array, after: Array, weight: int) -> Array:
    """Least sum of the squares in a line and the squared steps to them, along the middle axis.

    ``before`` and ``after`` say whether there is background beyond the ends of the lines;
    ``weight`` is the square of a step.
    """
    out = np.empty_like(squared)
    planes, length, lines = squared.shape
    for p in range(planes):
        for i in range(length):
            for j in range(lines):
                best = squared[p, i, j]
                step = np.int32(1)
                while step * step * weight < best:
                    low, high = i - step, i + step
                    if low < -1 and high > length:
                        break
                    if low >= 0:
                        best = min(best, squared[p, low, j] + step * step * weight)
                    elif low == -1 and before:
                        best = min(best, step * step * weight)
                    if high < length:
                        best = min(best, squared[p, high, j] + step * step * weight)
                    elif high == length and after:
                        best = min(best, step * step * weight)
                    step += np.int32(1)
                out[p, i, j] = best
    return out


@njit(cache=True, nogil=True)
def squared_distance(member: Array, before: Array, after: Array, weights: Array) -> Array:
    """Squared Euclidean distance to the background of each voxel of an object's box.

    ``before`` and ``after`` (3,) say whether the box has background beyond its faces; where the
    crop ends there, it has none. ``weights`` (3,) are the squares of a step along z, y and x.
    """
    depth, height, width = member.shape
    squared = np.zeros((depth, height, width), np.int32)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if member[z, y, x]:
                    squared[z, y, x] = FAR * FAR
    rows = _sweep(squared.reshape(depth * height, width, 1), before[2], after[2], weights[2])
    planes = _sweep(rows.reshape(depth, height, width), before[1], after[1], weights[1])
    whole = _sweep(planes.reshape(1, depth, height * width), before[0], after[0], weights[0])
    return whole.reshape(depth, height, width)


@njit(cache=True, nogil=True)
def _is_hidden_inside(squared: Array, z: int, y: int, x: int, low: Array, high: Array) -> bool:
    """Whether a voxel of the window, within the object's box, is farther from the background."""
    mine = squared[z, y, x]
    for i in range(6):  # decides most voxels, if the window has these neighbours
        a, b, c = z + STEPS[i, 0], y + STEPS[i, 1], x + STEPS[i, 2]
        if (low[i] if i < 3 else high[5 - i]) > 0:
            if a < 0 or b < 0 or c < 0:
                continue
            if a >= squared.shape[0] or b >= squared.shape[1] or c >= squared.shape[2]:
                continue
            if squared[a, b, c] > mine:
                return True
    for a in range(max(0, z - low[0]), min(squared.shape[0], z + high[0] + 1)):
        for b in range(max(0, y - low[1]), min(squared.shape[1], y + high[1] + 1)):
            for c in range(max(0, x - low[2]), min(squared.shape[2], x + high[2] + 1)):
                if squared[a, b, c] > mine:
                    return True
    return False


@njit(cache=True, nogil=True)
def _exceeds(view: Array, value: int, z: int, y: int, x: int, squared: int, weights: Array) -> bool:
    """Whether a voxel of a class is farther from the background than a squared distance."""
    deep, high, wide = weights[0], weights[1], weights[2]
    p, q, r = (
        int(np.sqrt(squared / deep)),
        int(np.sqrt(squared / high)),
        int(np.sqrt(squared / wide)),
    )
    for a in range(max(0, z - p), min(view.shape[0], z + p + 1)):
        for b in range(max(0, y - q), min(view.shape[1], y + q + 1)):
            for c in range(max(0, x - r), min(view.shape[2], x + r + 1)):
                if view[a, b, c] == value:
                    continue
                if deep * (a - z) ** 2 + high * (b - y) ** 2 + wide * (c - x) ** 2 <= squared:
                    return False
    return True


@njit(cache=True, nogil=True)
def _is_hidden_outside(
    view: Array,
    member: Array,
    lower: Array,
    place: Array,
    squared: int,
    low: Array,
    high: Array,
    weights: Array,
) -> bool:
    """Whether a voxel of another object of the class, in the window, is farther from background.

    Between two objects lies background, so that such a voxel is nearer to it than to the first
    object: its distance follows from a ball no wider than the window.
    """
    z, y, x = place[0], place[1], place[2]
    value = view[z, y, x]
    for a in range(max(0, z - low[0]), min(view.shape[0], z + high[0] + 1)):
        for b in range(max(0, y - low[1]), min(view.shape[1], y + high[1] + 1)):
            for c in range(max(0, x - low[2]), min(view.shape[2], x + high[2] + 1)):
                if view[a, b, c] != value:
                    continue
                apart = weights[0] * (a - z) ** 2 + weights[1] * (b - y) ** 2
                if apart + weights[2] * (c - x) ** 2 <= squared:
                    continue
                u, v, w = a - lower[0], b - lower[1], c - lower[2]
                if (
                    u >= 0
                    and v >= 0
                    and w >= 0
                    and u < member.shape[0]
                    and v < member.shape[1]
                    and w < member.shape[2]
                    and member[u, v, w]
                ):
                    continue
                if _exceeds(view, value, a, b, c, squared, weights):
                    return True
    return False


@njit(cache=True, nogil=True)
def mark_centres(
    view: Array,
    member: Array,
    lower: Array,
    squared: Array,
    low: Array,
    high: Array,
    weights: Array,
    alone: bool,
) -> tuple[Array, int]:
    """Number the groups of voxels that are farthest from the background in their windows.

    A window has ``low`` voxels before and ``high`` after its own along z, y and x.

    Returns
    -------
    markers : ndarray of int32
        Groups 1..n by their first voxels, in the object's box.
    num_markers : int
    """
    depth, height, width = member.shape
    markers = np.zeros((depth, height, width), np.int32)
    place = np.empty(3, np.int64)
    num_peaks = 0
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if not member[z, y, x] or _is_hidden_inside(squared, z, y, x, low, high):
                    continue
                place[0], place[1], place[2] = z + lower[0], y + lower[1], x + lower[2]
                if not alone and _is_hidden_outside(
                    view, member, lower, place, squared[z, y, x], low, high, weights
                ):
                    continue
                markers[z, y, x] = -1
                num_peaks += 1
    stack = np.empty((num_peaks, 3), np.int32)
    num_markers = 0
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if markers[z, y, x] != -1:
                    continue
                num_markers += 1
                markers[z, y, x] = num_markers
                stack[0, 0], stack[0, 1], stack[0, 2] = z, y, x
                top = 1
                while top > 0:
                    top -= 1
                    p, q, r = stack[top, 0], stack[top, 1], stack[top, 2]
                    for i in range(6):
                        a, b, c = p + STEPS[i, 0], q + STEPS[i, 1], r + STEPS[i, 2]
                        if a < 0 or b < 0 or c < 0 or a >= depth or b >= height or c >= width:
                            continue
                        if markers[a, b, c] == -1:
                            markers[a, b, c] = num_markers
                            stack[top, 0], stack[top, 1], stack[top, 2] = a, b, c
                            top += 1
    return markers, num_markers
