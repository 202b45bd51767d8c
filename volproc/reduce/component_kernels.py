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
def count_runs(labels: Array) -> Any:
    """Stretches of one label, of a flat array, background not counted."""
    count = np.int64(0)
    last = np.uint32(0)
    for i in range(labels.size):
        label = labels[i]
        count += (label != last) & (label != 0)
        last = label
    return count


@njit(cache=True, nogil=True)
def find_runs(labels: Array, runs: Array, first: Array) -> None:
    """Fill in the runs of a flat array, and the first voxel of each label 1..n.

    ``runs`` is (3, count): start, end, label. ``first`` is -1 everywhere before.
    """
    run = np.int64(-1)
    last = np.uint32(0)
    for i in range(labels.size):
        label = labels[i]
        if label == last:
            continue
        if last != 0:
            runs[1, run] = i
        if label != 0:
            run += 1
            runs[0, run] = i
            runs[2, run] = label
            if first[label - 1] < 0:
                first[label - 1] = i
        last = label
    if last != 0:
        runs[1, run] = labels.size


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
