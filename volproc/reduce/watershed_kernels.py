"""Compiled loops that flood: a queue of voxels by height, then by time of entry.

The loops run over padded arrays, laid flat, so that a neighbour is an addition and no edge has to
be looked for. They stand in one file because numba's cache does not notice a change elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]

OBJECT, IS_BEGUN, SIZE, AGE = 0, 1, 2, 3
"""State of an interrupted flood: object under way, whether its markers are in the queue, voxels in
the queue, time of the last entry."""


@njit(cache=True, nogil=True)
def _push(keys: Array, places: Array, size: int, key: np.uint64, place: int) -> None:
    """Put a voxel into a binary heap of ``size`` voxels, above none that is equal."""
    at = size
    while at > 0:
        above = (at - 1) >> 1
        if keys[above] <= key:
            break
        keys[at], places[at] = keys[above], places[above]
        at = above
    keys[at], places[at] = key, place


@njit(cache=True, nogil=True)
def _drop(keys: Array, places: Array, size: int) -> None:
    """Take the first voxel out of a heap; ``size`` voxels remain, the last of which moves."""
    key, place = keys[size], places[size]
    at, below = 0, 1
    while below < size:
        if below + 1 < size and keys[below + 1] < keys[below]:
            below += 1
        if keys[below] >= key:
            break
        keys[at], places[at] = keys[below], places[below]
        at, below = below, 2 * below + 1
    keys[at], places[at] = key, place


@njit(cache=True, nogil=True)
def flood_on(
    state: Array,
    keys: Array,
    places: Array,
    levels: Array,
    dry: Array,
    origins: Array,
    markers: Array,
    starts: Array,
    steps: Array,
) -> bool:
    """Flood object by object until all are flooded, or the queue is full (False).

    The queue, ``keys`` and ``places``, holds level and time of entry in one number. ``dry`` has
    the object of each voxel and becomes 0 where it is flooded. ``markers`` are the places of the
    marker voxels, those of object ``k`` from ``starts[k - 1]`` to ``starts[k]``. ``origins`` gets
    the number of the marker voxel, from 1, that each voxel is flooded from.
    """
    half = np.uint64(32)
    k, is_begun, size, age = state[OBJECT], state[IS_BEGUN], state[SIZE], state[AGE]
    while k < starts.size:
        if not is_begun:
            if starts[k] - starts[k - 1] > keys.size:
                state[OBJECT], state[IS_BEGUN], state[SIZE], state[AGE] = k, 0, 0, 0
                return False
            for i in range(starts[k - 1], starts[k]):
                place = markers[i]
                dry[place] = 0
                origins[place] = i + 1
                _push(keys, places, size, np.uint64(levels[place]) << half, place)
                size += 1
            is_begun, age = 1, 0
        while size > 0:
            if size + steps.size > keys.size:
                state[OBJECT], state[IS_BEGUN], state[SIZE], state[AGE] = k, 1, size, age
                return False
            level = keys[0] >> half
            place = places[0]
            size -= 1
            _drop(keys, places, size)
            for step in steps:
                near = place + step
                if dry[near] == k:
                    age += 1
                    dry[near] = 0
                    origins[near] = origins[place]
                    key = (max(np.uint64(levels[near]), level) << half) | np.uint64(age)
                    _push(keys, places, size, key, near)
                    size += 1
        k += 1
        is_begun = 0
    return True
