"""The compiled Gaussian of one object.

A voxel's bits must not depend on where its block begins. So sums run in one order, from the lowest
neighbour to the highest; parts that are zero may be left out, and so may voxels that cannot exceed
one half. No operation may be fused or moved: these loops are never compiled with ``fastmath``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]

HOPELESS = 0.499999
"""A weighted mean of values up to this one does not exceed one half, whatever the rounding."""


@njit(cache=True, nogil=True)
def find_runs(numbers: Array, num_objects: int) -> tuple[Array, Array]:
    """Runs along x of objects numbered 1..n, by object and then in raster order.

    Gives where each object's runs begin, (n + 1,), and the runs, (m, 4): z, y, x from, x to.
    """
    depth, height, width = numbers.shape
    starts = np.zeros(num_objects + 2, np.int64)
    for z in range(depth):
        for y in range(height):
            last = np.uint32(0)
            for x in range(width):
                number = numbers[z, y, x]
                if number != last and number != 0:
                    starts[number + 1] += 1
                last = number
    for i in range(1, starts.size):
        starts[i] += starts[i - 1]
    runs = np.empty((starts[-1], 4), np.int32)
    for z in range(depth):
        for y in range(height):
            x = 0
            while x < width:
                number = numbers[z, y, x]
                begin = x
                x += 1
                while x < width and numbers[z, y, x] == number:
                    x += 1
                if number != 0:
                    run = runs[starts[number]]
                    run[0], run[1], run[2], run[3] = z, y, begin, x
                    starts[number] += 1
    return starts[:-1], runs


@njit(cache=True, nogil=True)
def reflected(at: int, size: int) -> int:
    """Place inside an axis that repeats mirrored: c b a | a b c | c b a.

    Places outside turn back at the edge, as often as needed.
    """
    at %= 2 * size
    return 2 * size - 1 - at if at >= size else at


@njit(cache=True, nogil=True)
def spread_along_z(
    runs: Array, target: Array, start: int, size: int, weights: Array, planes: Array, spans: Array
) -> None:
    """First pass: add each run of an object to the planes near it and near its mirror images.

    ``planes`` begin at the target along z, and are the whole region along y and x; ``spans`` says
    from where to where a line of them is not zero.
    """
    radius = weights.size // 2
    first, last = start + target[0], start + target[3] - 1
    folds = (radius + size) // (2 * size) + 1
    for i in range(runs.shape[0]):
        y, begin, end = runs[i, 1], runs[i, 2], runs[i, 3]
        for image in range(-2 * folds, 2 * folds + 1):  # ascending: mirrored, plain, mirrored, …
            place = size * image + (start + runs[i, 0])
            if image % 2:
                place = size * (image + 1) - 1 - (start + runs[i, 0])
            for z in range(max(first, place - radius), min(last, place + radius) + 1):
                weight = weights[place - z + radius]
                line = planes[z - first, y]
                for x in range(begin, end):
                    line[x] += weight
                span = spans[z - first, y]
                span[0] = min(span[0], begin)
                span[1] = max(span[1], end)


@njit(cache=True, nogil=True)
def _peaks(planes: Array, spans: Array, depth: int, lower: int, upper: int) -> Array:
    """Greatest value of each line of the planes, between two lines."""
    peaks = np.zeros((depth, upper - lower), np.float64)
    for z in range(depth):
        for y in range(lower, upper):
            for x in range(spans[z, y, 0], spans[z, y, 1]):
                peaks[z, y - lower] = max(peaks[z, y - lower], planes[z, y, x])
    return peaks


@njit(cache=True, nogil=True)
def _add_lines(
    planes: Array, spans: Array, sources: Array, weights: Array, line: Array
) -> tuple[int, int]:
    """Second pass, for one line: weighted sum of lines; from where to where it is not zero."""
    low, high = line.size, 0
    for k in range(weights.size):
        source = sources[k]
        if source < 0:
            continue
        begin, end = spans[source, 0], spans[source, 1]
        weight = weights[k]
        values = planes[source]
        for x in range(begin, end):
            line[x] += weight * values[x]
        if begin < end:
            low, high = min(low, begin), max(high, end)
    return low, high


@njit(cache=True, nogil=True)
def _blur_line(
    line: Array, low: int, high: int, begin: int, end: int, start: int, size: int, weights: Array
) -> Array:
    """Third pass, for one line: values from ``begin`` to ``end``, from those that are not zero."""
    radius = weights.size // 2
    padded = np.zeros(end - begin + 2 * radius, np.float64)
    for i in range(padded.size):
        source = reflected(start + begin + i - radius, size) - start
        if low <= source < high:
            padded[i] = line[source]
    values = np.zeros(end - begin, np.float64)
    for k in range(weights.size):
        weight = weights[k]
        for x in range(values.size):
            values[x] += weight * padded[x + k]
    return values


@njit(cache=True, nogil=True)
def smooth_object(
    number: int,
    runs: Array,
    box: Array,
    target: Array,
    start: Array,
    size: Array,
    weights_z: Array,
    weights_y: Array,
    weights_x: Array,
    planes: Array,
    spans: Array,
    core: Array,
    best: Array,
    out: Array,
) -> None:
    """Blur one object, and take the voxels where it exceeds one half and all objects before it.

    The object is given by its ``runs`` in a region of a volume of ``size`` from ``start``;
    ``box`` holds it and ``target`` what is wanted, in voxels of the region (z, y, x from, z, y, x
    to). ``best`` and ``out`` begin at ``core`` in the region. ``planes`` and ``spans`` are room
    for the first pass, at least as deep as the target, and are left as they were: zero and empty.
    """
    depth, radius = target[3] - target[0], weights_y.size // 2
    reach = weights_x.size // 2
    spread_along_z(runs, target, start[0], size[0], weights_z, planes, spans)
    peaks = _peaks(planes, spans, depth, box[1], box[4])
    line = np.zeros(planes.shape[2], np.float64)
    sources = np.empty(weights_y.size, np.int64)
    for y in range(target[1], target[4]):
        for k in range(sources.size):
            source = reflected(start[1] + y + k - radius, size[1]) - start[1]
            sources[k] = source if box[1] <= source < box[4] else -1
        for z in range(depth):
            peak = 0.0
            for source in sources:
                if source >= 0:
                    peak = max(peak, peaks[z, source - box[1]])
            if peak <= HOPELESS:
                continue
            low, high = _add_lines(planes[z], spans[z], sources, weights_y, line)
            begin, end = max(target[2], low - reach), min(target[5], high + reach)
            if begin < end and line[low:high].max() > HOPELESS:
                values = _blur_line(line, low, high, begin, end, start[2], size[2], weights_x)
                u, v, w = target[0] - core[0] + z, y - core[1], begin - core[2]
                for x in range(values.size):
                    if values[x] > 0.5 and values[x] > best[u, v, w + x]:
                        best[u, v, w + x] = values[x]
                        out[u, v, w + x] = number
            line[low:high] = 0.0
    for z in range(depth):
        for y in range(box[1], box[4]):
            planes[z, y, spans[z, y, 0] : spans[z, y, 1]] = 0.0
            spans[z, y, 0], spans[z, y, 1] = planes.shape[2], 0


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
