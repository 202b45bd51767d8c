"""The compiled search for what an object keeps from the outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def _root(parent: Array, node: int) -> int:
    """Root of a node; paths stay as they are, since unions are taken back."""
    while parent[node] != node:
        node = parent[node]
    return node


@njit(cache=True, nogil=True)
def _unite(
    one: int, other: int, parent: Array, sizes: Array, voxels: Array, following: Array,
    undo: Array, num_undo: int,
) -> int:  # fmt: skip
    """Join two trees, the smaller one below, and their rings of members; new length of ``undo``."""
    a, b = _root(parent, one), _root(parent, other)
    if a == b:
        return num_undo
    if sizes[a] < sizes[b]:
        a, b = b, a
    parent[b] = a
    sizes[a] += sizes[b]
    voxels[a] += voxels[b]
    following[a], following[b] = following[b], following[a]
    undo[num_undo] = b
    return num_undo + 1


@njit(cache=True, nogil=True)
def _take_back(
    until: int, parent: Array, sizes: Array, voxels: Array, following: Array, undo: Array,
    num_undo: int,
) -> int:  # fmt: skip
    """Part what was joined last, until ``undo`` is as long as wanted."""
    while num_undo > until:
        num_undo -= 1
        b = undo[num_undo]
        a = parent[b]
        following[a], following[b] = following[b], following[a]
        parent[b] = b
        sizes[a] -= sizes[b]
        voxels[a] -= voxels[b]
    return num_undo


@njit(cache=True, nogil=True)
def _bring_forward(
    edges: Array, colours: Array, order: Array, start: int, stop: int, low: int, high: int
) -> int:
    """Bring edges with an end of certain colours to the front of a part of the order; its end."""
    end = start
    for i in range(start, stop):
        edge = order[i]
        one, other = colours[edges[edge, 0]], colours[edges[edge, 1]]
        if low <= one < high or low <= other < high:
            order[i] = order[end]
            order[end] = edge
            end += 1
    return end


@njit(cache=True, nogil=True)
def _claim(
    colour: int, edges: Array, colours: Array, order: Array, parent: Array, voxels: Array,
    following: Array, owners: Array, least: Array, seen: Array,
) -> None:  # fmt: skip
    """Give what is cut off from node 0, while one colour is away, to that colour."""
    outside = _root(parent, 0)
    for edge in order:
        one, other = edges[edge, 0], edges[edge, 1]
        root = _root(parent, one if colours[one] != colour else other)
        if root == outside or seen[root] == colour:
            continue
        seen[root] = colour
        member = root
        while True:
            is_free = colours[member] < 0
            if is_free and (owners[member] < 0 or voxels[root] < least[member]):
                owners[member], least[member] = colour, voxels[root]
            member = following[member]
            if member == root:
                break


@njit(cache=True, nogil=True)
def find_owners(edges: Array, colours: Array, num_colours: int, num_voxels: Array) -> Array:
    """Colour without which a node is reached from node 0, or -1; for nodes without a colour.

    ``edges``, (m, 2), join nodes of different colours; a colour of -1 is none. Of several colours
    that cut a node off, the one that cuts it off together with the fewest voxels is taken, then
    the smallest. Colours are halved again and again, and edges without an end in the half at hand
    are united on the way down and parted on the way up: at each single colour all the others'
    edges are united. An edge is touched about twice a level.
    """
    num_nodes = colours.size
    parent, following = np.arange(num_nodes), np.arange(num_nodes)
    sizes, voxels = np.ones(num_nodes, np.int64), num_voxels.copy()
    undo = np.empty(num_nodes, np.int64)
    owners, least = np.full(num_nodes, -1, np.int64), np.zeros(num_nodes, np.int64)
    seen = np.full(num_nodes, -1, np.int64)
    order = np.arange(edges.shape[0])
    # columns of a frame: colours from, to; end of its edges in the order; step; length of undo
    frames = np.zeros((66, 5), np.int64)
    frames[0, 1] = num_colours
    frames[0, 2] = _bring_forward(edges, colours, order, 0, order.size, 0, num_colours)
    num_undo = 0
    for i in range(frames[0, 2], order.size):  # between regions without a colour: never parted
        one, other = edges[order[i]]
        num_undo = _unite(one, other, parent, sizes, voxels, following, undo, num_undo)
    depth = 0 if num_colours else -1
    while depth >= 0:
        low, high, stop, step, before = frames[depth]
        if high - low == 1:
            own = order[:stop]
            _claim(low, edges, colours, own, parent, voxels, following, owners, least, seen)
            depth -= 1
            continue
        if step > 0:
            num_undo = _take_back(before, parent, sizes, voxels, following, undo, num_undo)
        if step == 2:
            depth -= 1
            continue
        middle = (low + high) // 2
        low, high = (low, middle) if step == 0 else (middle, high)
        end = _bring_forward(edges, colours, order, 0, stop, low, high)
        frames[depth, 3], frames[depth, 4] = step + 1, num_undo
        for i in range(end, stop):
            one, other = edges[order[i]]
            num_undo = _unite(one, other, parent, sizes, voxels, following, undo, num_undo)
        depth += 1
        frames[depth, 0], frames[depth, 1], frames[depth, 2] = low, high, end
        frames[depth, 3] = frames[depth, 4] = 0
    return owners
