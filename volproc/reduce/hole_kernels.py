"""The compiled search for what encloses what."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def nearest_separators(starts: Array, neighbours: Array, may_separate: Array) -> Array:
    """Last node of a kind that every way from node 0 to each node passes, or -1.

    The graph is undirected: ``neighbours[starts[v]:starts[v + 1]]`` are those of node ``v``.
    A node separates a child in a depth-first tree from the root if nothing below the child has an
    edge to above the node (Hopcroft and Tarjan); a child that is not separated by its parent is
    separated by the same nodes as the parent.
    """
    num_nodes = starts.size - 1
    entered = np.full(num_nodes, -1, np.int64)
    lowest = np.zeros(num_nodes, np.int64)
    parent = np.full(num_nodes, -1, np.int64)
    order = np.empty(num_nodes, np.int64)
    at = starts[:-1].copy()
    num_entered = 1
    entered[0] = 0
    order[0] = 0
    node = np.int64(0)
    while node >= 0:
        if at[node] < starts[node + 1]:
            other = neighbours[at[node]]
            at[node] += 1
            if entered[other] >= 0:
                lowest[node] = min(lowest[node], entered[other])
                continue
            parent[other] = node
            entered[other] = lowest[other] = num_entered
            order[num_entered] = other
            num_entered += 1
            node = other
        else:
            above = parent[node]
            if above >= 0:
                lowest[above] = min(lowest[above], lowest[node])
            node = above
    gate = np.full(num_nodes, -1, np.int64)  # last separator of any kind
    nearest = np.full(num_nodes, -1, np.int64)
    for i in range(1, num_entered):
        node = order[i]
        above = parent[node]
        gate[node] = above if lowest[node] >= entered[above] else gate[above]
        nearest[node] = gate[node] if may_separate[gate[node]] else nearest[gate[node]]
    return nearest
