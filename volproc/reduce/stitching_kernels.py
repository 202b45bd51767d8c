"""Compiled loops of stitching, in one file: see `volproc.reduce.geometry_kernels` for why."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def write_numbers(labels: Array, keys: Array, places: Array, out: Array) -> None:
    """Write each voxel's object number, 1 more than its place in a hash table of labels.

    The table is that of `volproc.reduce.geometry_kernels.measure_any`; it holds every label.
    """
    mask = np.uint64(keys.size - 1)
    last, number = np.uint64(0), np.int64(0)
    for i in range(labels.size):
        key = np.uint64(labels[i])
        if key == 0:
            continue
        if key != last:
            slot = ((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
            while keys[slot] != key:
                slot = (slot + np.uint64(1)) & mask
            last, number = key, places[slot] + 1
        out[i] = number


@njit(cache=True, nogil=True)
def count_pairs(one: Array, other: Array) -> Array:
    """Runs of voxels with the same two numbers, both above 0: (n, 3) of number, number, voxels."""
    num_runs = 0
    a = b = np.uint32(0)
    for i in range(one.size):
        if one[i] != a or other[i] != b:
            a, b = one[i], other[i]
            num_runs += a != 0 and b != 0
    runs = np.empty((num_runs, 3), np.int64)
    row = -1
    a = b = np.uint32(0)
    for i in range(one.size):
        if one[i] != a or other[i] != b:
            a, b = one[i], other[i]
            if a != 0 and b != 0:
                row += 1
                runs[row, 0], runs[row, 1], runs[row, 2] = a, b, 0
        if a != 0 and b != 0:
            runs[row, 2] += 1
    return runs


@njit(cache=True, nogil=True)
def write_owners(pieces: Array, labels: Array, owners: Array) -> None:
    """Note the label that each piece is a part of."""
    for i in range(pieces.size):
        owners[pieces[i]] = labels[i]


@njit(cache=True, nogil=True)
def unite_claims(one: Array, other: Array, block: Array) -> Array:
    """Unite claims pair by pair, but never two claims of one block; first member of each set.

    The first pairs are the strongest: a pair is passed over if its union would say that two
    objects which one block told apart are the same.
    """
    size = block.size
    root = np.arange(size)
    following = np.full(size, -1)  # members of a set are a chain from its first one
    last = np.arange(size)
    for i in range(one.size):
        a, b = root[one[i]], root[other[i]]
        if a == b:
            continue
        if b < a:
            a, b = b, a
        is_free = True
        member = a
        while member >= 0 and is_free:
            rival = b
            while rival >= 0 and is_free:
                is_free = block[member] != block[rival]
                rival = following[rival]
            member = following[member]
        if not is_free:
            continue
        following[last[a]] = b
        last[a] = last[b]
        member = b
        while member >= 0:
            root[member] = a
            member = following[member]
    return root


@njit(cache=True, nogil=True)
def drop_covered(count: Array, starts: Array, others: Array, overlap: Array, share: float) -> Array:
    """Which of some masks stand, taken by priority: those that stand cover ``share`` at most.

    ``others[starts[i]:starts[i + 1]]`` are the masks that overlap mask ``i``, by how many voxels
    says ``overlap``.
    """
    stands = np.zeros(count.size, np.bool_)
    for i in range(count.size):
        covered = 0
        for j in range(starts[i], starts[i + 1]):
            if others[j] < i and stands[others[j]]:
                covered += overlap[j]
        stands[i] = covered <= share * count[i]
    return stands


@njit(cache=True, nogil=True)
def paint_lowest(labels: Array, ranks: Array, out: Array) -> None:
    """Write the rank of each voxel's label where it is lower than what is there; 0 is none."""
    for i in range(labels.size):
        rank = ranks[labels[i]]
        if rank != 0 and (out[i] == 0 or rank < out[i]):
            out[i] = rank
