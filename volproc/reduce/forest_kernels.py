"""Compiled loops of the image-foresting transform: cheapest ways from markers, and their trees.

They run over padded arrays, laid flat, so that a neighbour is an addition. A cost is a level and
the number of steps since it was reached. They stand in one file because numba's cache does not
notice a change elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]

CLOSED, OPEN, FROZEN = 0, 1, 2
"""Voxels that no way leads through; that it may; that belong to another block, whose cost counts
but is not for this one to change."""


@njit(cache=True, nogil=True)
def enter_costs(keys: Array, level: Array, hops: Array, area: Array, steps: Array) -> Array:
    """Lower the costs of open voxels beside frozen ones; gives the places of those lowered."""
    touched = np.zeros(area.size, np.bool_)
    for place in range(area.size):
        if area[place] != FROZEN or hops[place] == np.uint32(0xFFFFFFFF):
            continue
        for step in steps:
            near = place + step
            if near < 0 or near >= area.size or area[near] != OPEN:
                continue
            new_level, new_hops = level[place], hops[place] + np.uint32(1)
            if keys[near] > new_level:
                new_level, new_hops = keys[near], np.uint32(0)
            if new_level < level[near] or (new_level == level[near] and new_hops < hops[near]):
                level[near], hops[near] = new_level, new_hops
                touched[near] = True
    return np.flatnonzero(touched)


@njit(cache=True, nogil=True)
def _push(
    levels: Array, counts: Array, places: Array, size: int, level: int, hops: int, place: int
) -> None:
    """Put a voxel into a binary heap of ``size`` voxels."""
    at = size
    while at > 0:
        above = (at - 1) >> 1
        if levels[above] < level or (levels[above] == level and counts[above] <= hops):
            break
        levels[at], counts[at], places[at] = levels[above], counts[above], places[above]
        at = above
    levels[at], counts[at], places[at] = level, hops, place


@njit(cache=True, nogil=True)
def _drop(levels: Array, counts: Array, places: Array, size: int) -> None:
    """Take the first voxel out of a heap; ``size`` voxels remain, the last of which moves."""
    level, hops, place = levels[size], counts[size], places[size]
    at, below = 0, 1
    while below < size:
        other = below + 1
        if other < size and (
            levels[other] < levels[below]
            or (levels[other] == levels[below] and counts[other] < counts[below])
        ):
            below = other
        if levels[below] > level or (levels[below] == level and counts[below] >= hops):
            break
        levels[at], counts[at], places[at] = levels[below], counts[below], places[below]
        at, below = below, 2 * below + 1
    levels[at], counts[at], places[at] = level, hops, place


@njit(cache=True, nogil=True)
def relax_on(
    state: Array,
    queue_level: Array,
    queue_hops: Array,
    queue_place: Array,
    places: Array,
    keys: Array,
    level: Array,
    hops: Array,
    area: Array,
    steps: Array,
) -> bool:
    """Spread the costs of some voxels to all that they lower, or until the queue is full (False).

    ``state`` holds how many of ``places`` have been queued, and the size of the queue.
    """
    room = queue_place.size - steps.size
    begun, size = state[0], state[1]
    while begun < places.size or size > 0:
        if size > room:
            state[0], state[1] = begun, size
            return False
        if begun < places.size:
            place = places[begun]
            _push(queue_level, queue_hops, queue_place, size, level[place], hops[place], place)
            begun += 1
            size += 1
            continue
        own_level, own_hops, place = queue_level[0], queue_hops[0], queue_place[0]
        size -= 1
        _drop(queue_level, queue_hops, queue_place, size)
        if own_level != level[place] or own_hops != hops[place]:
            continue  # found a cheaper way since it was queued
        for step in steps:
            near = place + step
            if area[near] != OPEN:
                continue
            new_level, new_hops = own_level, own_hops + np.uint32(1)
            if keys[near] > new_level:
                new_level, new_hops = keys[near], np.uint32(0)
            if new_level < level[near] or (new_level == level[near] and new_hops < hops[near]):
                level[near], hops[near] = new_level, new_hops
                _push(queue_level, queue_hops, queue_place, size, new_level, new_hops, near)
                size += 1
    return True


@njit(cache=True, nogil=True)
def trace_ends(
    keys: Array, level: Array, hops: Array, area: Array, roots: Array, steps: Array
) -> Array:
    """Where the way of each open voxel begins: a root's place, a frozen voxel's, or -1.

    Of several neighbours that explain a voxel's cost, the first in the order of ``steps`` is
    its parent.
    """
    ends = np.full(area.size, -1, np.int32)
    ends[roots] = roots
    for place in range(area.size):
        if area[place] != OPEN or ends[place] >= 0 or hops[place] == np.uint32(0xFFFFFFFF):
            continue
        for step in steps:
            near = place + step
            if area[near] == CLOSED or hops[near] == np.uint32(0xFFFFFFFF):
                continue
            new_level, new_hops = level[near], hops[near] + np.uint32(1)
            if keys[place] > new_level:
                new_level, new_hops = keys[place], np.uint32(0)
            if new_level == level[place] and new_hops == hops[place]:
                ends[place] = near
                if area[near] == FROZEN:
                    ends[near] = near
                break
    for place in range(area.size):
        if ends[place] < 0:
            continue
        end = place
        while ends[end] != end:
            ends[end] = ends[ends[end]]
            end = ends[end]
        ends[place] = end
    return ends
