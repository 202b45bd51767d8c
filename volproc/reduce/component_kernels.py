"""Compiled loops over components: union-find, contacts of planes, runs of labels.

They call each other and nothing in other files, see ``DESIGN.md``. Each runs without the
interpreter's lock.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def find_root(parent: Array, node: int) -> int:
    """Root of a node, halving the path on the way."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(cache=True, nogil=True)
def unite_nodes(parent: Array, one: int, other: int) -> None:
    """Join two trees; the smaller root stays one."""
    a = find_root(parent, one)
    b = find_root(parent, other)
    if a < b:
        parent[b] = a
    elif b < a:
        parent[a] = b


@njit(cache=True, nogil=True)
def unite_edges(parent: Array, one: Array, other: Array) -> None:
    """Join the ends of all edges, then let every node point at its root."""
    for i in range(one.size):
        unite_nodes(parent, one[i], other[i])
    for node in range(parent.size):
        parent[node] = find_root(parent, node)


@njit(cache=True, nogil=True)
def unite_planes(
    parent: Array,
    lower: Array,
    upper: Array,
    classes: Array,
    upper_start: int,
    reach: int,
) -> None:
    """Join objects of two facing planes whose voxels are neighbours and of one class.

    ``lower`` and ``upper`` hold node numbers from 1, those of ``upper`` counted from
    ``upper_start``; ``classes`` has a value a node. ``reach`` is the number of in-plane axes
    along which two neighbours may differ: 0, 1 or 2.
    """
    rows, columns = lower.shape
    last_one = last_other = np.int64(-1)
    for i in range(rows):
        for j in range(columns):
            if lower[i, j] == 0:
                continue
            one = np.int64(lower[i, j])
            for u in range(max(0, i - 1), min(rows, i + 2)):
                for v in range(max(0, j - 1), min(columns, j + 2)):
                    if (u != i) + (v != j) > reach or upper[u, v] == 0:
                        continue
                    other = upper_start + np.int64(upper[u, v])
                    if one == last_one and other == last_other:
                        continue
                    last_one, last_other = one, other
                    if classes[one] == classes[other]:
                        unite_nodes(parent, one, other)


@njit(cache=True, nogil=True)
def apply_table(labels: Array, table: Array, out: Array) -> bool:
    """Write ``table[label]`` for each voxel; False if a label is outside the table."""
    size = table.size
    for i in range(labels.size):
        label = labels[i]
        if label >= size:
            return False
        out[i] = table[label]
    return True


@njit(cache=True, nogil=True)
def find_runs(rows: Array, runs: Array, lines: Array) -> Any:
    """Fill in the stretches of one value of each line, background left out; give their number.

    ``rows`` is (line, x); ``runs`` is (3, room), of which starts and ends are filled in; ``lines``
    gets the first run of each line, and the number of runs at its end.
    """
    num_lines, width = rows.shape
    count = np.int64(0)
    none = rows.dtype.type(0)
    for line in range(num_lines):
        lines[line] = count
        base = line * width
        last = none
        for x in range(width):
            value = rows[line, x]
            if value != last:
                if last != 0:
                    runs[1, count - 1] = base + x
                if value != 0:
                    runs[0, count] = base + x
                    count += 1
                last = value
        if last != 0:
            runs[1, count - 1] = base + width
    lines[num_lines] = count
    return count


@njit(cache=True, nogil=True)
def join_lines(
    runs: Array,
    values: Array,
    lines: Array,
    parent: Array,
    line: int,
    other: int,
    shift: int,
    reach: int,
) -> None:
    """Join the runs of a line with those of an earlier one that they touch.

    ``shift`` is the distance of the two lines in the block; ``reach`` is 1 where voxels that are
    one step apart along the line touch too.
    """
    low, last = lines[other], lines[other + 1]
    for i in range(lines[line], lines[line + 1]):
        begin = np.int64(runs[0, i]) - shift - reach
        end = np.int64(runs[1, i]) - shift + reach
        while low < last and runs[1, low] <= begin:
            low += 1
        k = low
        while k < last and runs[0, k] < end:
            if values[k] == values[i]:
                unite_nodes(parent, i, k)
            k += 1


@njit(cache=True, nogil=True)
def join_runs(
    runs: Array,
    values: Array,
    lines: Array,
    parent: Array,
    height: int,
    width: int,
    connectivity: int,
) -> None:
    """Join all runs of a block that touch and have one value; ``parent`` is a node a run."""
    near = 1 if connectivity > 1 else 0
    far = 1 if connectivity > 2 else 0
    plane = height * width
    for line in range(lines.size - 1):
        if lines[line] == lines[line + 1]:
            continue
        y = line % height
        if y > 0:
            join_lines(runs, values, lines, parent, line, line - 1, width, near)
        if line < height:
            continue
        below = line - height
        join_lines(runs, values, lines, parent, line, below, plane, near)
        if connectivity > 1:
            if y > 0:
                join_lines(runs, values, lines, parent, line, below - 1, plane + width, far)
            if y + 1 < height:
                join_lines(runs, values, lines, parent, line, below + 1, plane - width, far)


@njit(cache=True, nogil=True)
def number_runs(runs: Array, parent: Array, first: Array) -> Any:
    """Number the components by their first runs; fill in labels and first voxels.

    Roots are the first runs of their components. Gives the number of components.
    """
    count = np.int64(0)
    for run in range(parent.size):
        root = find_root(parent, run)
        if root == run:
            first[count] = runs[0, run]
            count += 1
            runs[2, run] = count
        else:
            runs[2, run] = runs[2, root]
    return count


@njit(cache=True, nogil=True)
def paint_lines(runs: Array, lines: Array, line: int, step: int, width: int, plane: Array) -> None:
    """Paint every ``step``-th line from ``line`` on into the rows of a plane of zeros."""
    for row in range(plane.shape[0]):
        at = line + row * step
        for run in range(lines[at], lines[at + 1]):
            base = at * width
            plane[row, runs[0, run] - base : runs[1, run] - base] = runs[2, run]


@njit(cache=True, nogil=True)
def paint_ends(runs: Array, lines: Array, is_upper: bool, width: int, column: Array) -> None:
    """Write the label of each line's first or last voxel into a flat array of zeros."""
    for line in range(column.size):
        if lines[line] == lines[line + 1]:
            continue
        run = lines[line + 1] - 1 if is_upper else lines[line]
        begin, end = line * width, (line + 1) * width
        if (runs[1, run] == end) if is_upper else (runs[0, run] == begin):
            column[line] = runs[2, run]


@njit(cache=True, nogil=True)
def paint_runs(runs: Array, table: Array, out: Array) -> None:
    """Write ``table[label]`` over each run, and 0 elsewhere, into a flat array."""
    end = np.int64(0)
    for run in range(runs.shape[1]):
        start, stop = np.int64(runs[0, run]), np.int64(runs[1, run])
        value = table[runs[2, run]]
        out[end:start] = 0
        out[start:stop] = value
        end = stop
    out[end:] = 0
