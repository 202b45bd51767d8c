"""Compiled matching of greatest weight on a sparse graph, with one answer where many are best.

Successive shortest paths with potentials (the Hungarian method) on sparse rows. A row looks only
at what it can reach, so that each connected cluster of the graph is solved by itself. Weights are
integers: sums are exact, and an edge is tight or it is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]

FAR = np.int64(2**62)
"""Longer than any path."""

NONE = -1
"""No partner."""


@njit(cache=True, nogil=True)
def _push(heap: Array, nodes: Array, size: int, key: int, node: int) -> int:
    """Add to a binary heap; equal keys come out by node. Gives the new size."""
    at = size
    while at > 0:
        up = (at - 1) // 2
        if heap[up] < key or (heap[up] == key and nodes[up] <= node):
            break
        heap[at], nodes[at] = heap[up], nodes[up]
        at = up
    heap[at], nodes[at] = key, node
    return size + 1


@njit(cache=True, nogil=True)
def _pop(heap: Array, nodes: Array, size: int) -> int:
    """Remove the top of a binary heap. Gives the new size."""
    size -= 1
    key, node = heap[size], nodes[size]
    at = 0
    while 2 * at + 1 < size:
        down = 2 * at + 1
        right = down + 1
        if right < size and (
            heap[right] < heap[down] or (heap[right] == heap[down] and nodes[right] < nodes[down])
        ):
            down = right
        if key < heap[down] or (key == heap[down] and node <= nodes[down]):
            break
        heap[at], nodes[at] = heap[down], nodes[down]
        at = down
    heap[at], nodes[at] = key, node
    return size


@njit(cache=True, nogil=True)
def match_rows(
    starts: Array, columns: Array, weights: Array, num_columns: int
) -> tuple[Array, Array, Array, Array]:
    """Match rows and columns so that the sum of weights is greatest; any may stay alone.

    Row ``r`` has the edges ``starts[r]:starts[r + 1]`` with positive weights. Gives the partner
    of each row and each column, -1 for none, and the potentials u and v of rows and columns:
    none is positive, ``weight + u + v <= 0`` for every edge, with equality for those chosen, and
    zero for what stays alone.
    """
    num_rows = starts.size - 1
    u, v = np.zeros(num_rows, np.int64), np.zeros(num_columns, np.int64)
    partner, owner = np.full(num_rows, NONE), np.full(num_columns, NONE)
    distance, taker = np.full(num_columns, FAR), np.full(num_columns, NONE)
    heap, nodes = np.empty(columns.size + 1, np.int64), np.empty(columns.size + 1, np.int64)
    seen, done = np.empty(num_columns, np.int64), np.empty(num_columns, np.int64)
    for first in range(num_rows):
        for e in range(starts[first], starts[first + 1]):
            u[first] = min(u[first], -weights[e] - v[columns[e]])
        row, base, size, num_seen, num_done = first, np.int64(0), 0, 0, 0
        alone, loser, end = FAR, NONE, NONE
        while True:
            if base - u[row] < alone:  # the row may stay alone
                alone, loser = base - u[row], row
            for e in range(starts[row], starts[row + 1]):
                column = columns[e]
                near = base - weights[e] - u[row] - v[column]
                if near < distance[column]:
                    if distance[column] == FAR:
                        seen[num_seen] = column
                        num_seen += 1
                    distance[column], taker[column] = near, row
                    size = _push(heap, nodes, size, near, column)
            while size > 0 and heap[0] > distance[nodes[0]]:  # superseded by a shorter path
                size = _pop(heap, nodes, size)
            if size == 0 or heap[0] >= alone:
                length = alone
                break
            end, length = nodes[0], heap[0]
            if owner[end] == NONE:
                loser = NONE
                break
            size = _pop(heap, nodes, size)
            done[num_done] = end
            num_done += 1
            row, base = owner[end], length
        u[first] += length
        for i in range(num_done):
            slack = length - distance[done[i]]
            v[done[i]] -= slack
            u[owner[done[i]]] += slack
        for i in range(num_seen):
            distance[seen[i]] = FAR
        if loser != NONE:
            end, partner[loser] = partner[loser], NONE
        while end != NONE:  # each row on the path hands its column down
            row = taker[end]
            owner[end] = row
            partner[row], end = end, partner[row]
    return partner, owner, u, v


@njit(cache=True, nogil=True)
def _search_forward(
    starts: Array,
    columns: Array,
    weights: Array,
    partner: Array,
    owner: Array,
    u: Array,
    v: Array,
    row: int,
    target: int,
    taker: Array,
    seen: Array,
) -> tuple[int, int, int]:
    """Rows that move on along tight edges if ``row`` takes ``target`` from its owner.

    Gives the last row that moves, where it moves to, and how many columns of ``seen`` were
    visited. The last one takes the column that ``row`` leaves, if it can; otherwise it takes a
    free column or stays alone. It is -2 if rows before ``row``, which do not move, are in the
    way, and -1 if ``target`` is free.
    """
    hole = partner[row]
    seen[0], num_seen, at = target, 1, 0
    taker[target] = row
    last, place = -2, NONE
    while at < num_seen:
        mover = owner[seen[at]]
        if mover == NONE and last == -2:
            last, place = (NONE, NONE) if at == 0 else (taker[seen[at]], seen[at])
        at += 1
        if mover == NONE or mover < row:
            continue
        if u[mover] == 0 and last == -2:
            last, place = mover, NONE
        for e in range(starts[mover], starts[mover + 1]):
            column = columns[e]
            if weights[e] + u[mover] + v[column] != 0:
                continue
            if column == hole:
                return mover, column, num_seen
            if taker[column] == NONE:
                taker[column] = mover
                seen[num_seen] = column
                num_seen += 1
    return last, place, num_seen


@njit(cache=True, nogil=True)
def _search_backward(
    column_starts: Array,
    rows: Array,
    weights: Array,
    partner: Array,
    u: Array,
    v: Array,
    row: int,
    taken: Array,
    seen: Array,
) -> tuple[int, int]:
    """Find a row after ``row`` that is free to move towards the column that ``row`` leaves.

    Gives the row, -1 if there is none, and how many rows of ``seen`` were visited; ``taken``
    holds the column that each of them would take.
    """
    column, num_seen, at = partner[row], 0, 0
    while True:
        for e in range(column_starts[column], column_starts[column + 1]):
            mover = rows[e]
            if mover <= row or taken[mover] != NONE or weights[e] + u[mover] + v[column] != 0:
                continue
            if partner[mover] == column:
                continue
            taken[mover] = column
            seen[num_seen] = mover
            num_seen += 1
            if partner[mover] == NONE or v[partner[mover]] == 0:
                return mover, num_seen
        if at == num_seen:
            return NONE, num_seen
        column = partner[seen[at]]
        at += 1


@njit(cache=True, nogil=True)
def _move_forward(
    partner: Array, owner: Array, taker: Array, row: int, target: int, last: int, place: int
) -> None:
    """Let the rows found by `_search_forward` move, then ``row`` take ``target``."""
    while last != NONE:
        left = partner[last]
        partner[last] = place
        if place != NONE:
            owner[place] = last
        if left == target:
            break
        place, last = left, taker[left]
    partner[row], owner[target] = target, row


@njit(cache=True, nogil=True)
def _move_backward(partner: Array, owner: Array, taken: Array, mover: int, hole: int) -> None:
    """Let the rows found by `_search_backward` move until the hole is filled."""
    if partner[mover] != NONE:
        owner[partner[mover]] = NONE
    while True:
        column = taken[mover]
        before = owner[column]
        partner[mover], owner[column] = column, mover
        if column == hole:
            return
        mover = before


@njit(cache=True, nogil=True)
def prefer_first(
    starts: Array,
    columns: Array,
    weights: Array,
    column_starts: Array,
    rows: Array,
    column_weights: Array,
    partner: Array,
    owner: Array,
    u: Array,
    v: Array,
) -> None:
    """Among all best matchings, bring about the one that serves rows in order.

    The edges of a row come in the order in which it prefers them. The first row gets the first
    column that any best matching gives it, then the second of those that remain, and so on.
    """
    num_rows, num_columns = partner.size, owner.size
    taker, seen = np.full(num_columns, NONE), np.empty(num_columns + 1, np.int64)
    taken, seen_rows = np.full(num_rows, NONE), np.empty(num_rows + 1, np.int64)
    for row in range(num_rows):
        for e in range(starts[row], starts[row + 1]):
            target, hole = columns[e], partner[row]
            if target == hole:
                break
            if weights[e] + u[row] + v[target] != 0:
                continue
            last, place, num_seen = _search_forward(
                starts, columns, weights, partner, owner, u, v, row, target, taker, seen
            )
            mover, num_rows_seen = NONE, 0
            is_closed = last >= 0 and place == hole and hole != NONE
            is_open = last != -2 and not is_closed and hole != NONE and v[hole] != 0
            if is_open:
                mover, num_rows_seen = _search_backward(
                    column_starts, rows, column_weights, partner, u, v, row, taken, seen_rows
                )
            is_possible = last != -2 and (not is_open or mover != NONE)
            if is_possible:
                _move_forward(partner, owner, taker, row, target, last, place)
                if is_open:
                    _move_backward(partner, owner, taken, mover, hole)
                elif hole != NONE and not is_closed:
                    owner[hole] = NONE
            taker[seen[:num_seen]] = NONE
            taken[seen_rows[:num_rows_seen]] = NONE
            if is_possible:
                break
