"""Watershed as an image-foresting transform: one answer, whatever is relaxed first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.reduce.forest_kernels import (
    CLOSED,
    FROZEN,
    OPEN,
    enter_costs,
    relax_on,
    trace_ends,
)
from volproc.reduce.watershed import check_flood, check_heights, neighbour_steps

Costs = npt.NDArray[Any]
"""Cost of the cheapest way from a marker to each voxel, of type `COST`."""

COST = np.dtype([("level", np.uint64), ("hops", np.uint32)])
"""Key of the highest level on the way, and the steps since it was reached."""

UNREACHED = np.array((2**64 - 1, 2**32 - 1), COST)
"""Cost of a voxel that no way leads to."""

FIRST_ROOM = 2**14
"""Voxels that the queue has room for at least."""


def height_keys(heights: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Give each height a number of 64 bits, in the same order, equal where they are equal.

    >>> height_keys(np.array([-1.5, -0.0, 0.0, np.inf])).argsort(kind="stable").tolist()
    [0, 1, 2, 3]
    """
    if heights.dtype.kind == "u":
        return heights.astype(np.uint64)
    if heights.dtype.kind == "i":
        return heights.astype(np.int64).view(np.uint64) ^ np.uint64(2**63)
    # Adding zero turns -0 into 0. Negative numbers count down, positive ones up from 2⁶³.
    bits = (heights.astype(np.float64) + 0.0).view(np.uint64)
    return np.where(bits >> np.uint64(63), ~bits, bits | np.uint64(2**63))


def begin_costs(
    heights: npt.NDArray[Any],
    markers: npt.NDArray[Any],
    inside: npt.NDArray[np.bool_],
    *,
    connectivity: int,
) -> Costs:
    """Costs of a block as if there were no others.

    Parameters
    ----------
    heights : ndarray of int or float, (z, y, x) or (y, x)
        What is flooded, without a halo.
    markers : ndarray of int, same shape
        Voxels to begin at are those that are not 0 and inside.
    inside : ndarray of bool, same shape
        Voxels to flood.
    connectivity : int
        1 (faces), 2 (edges) or 3 (corners).

    Returns
    -------
    costs : ndarray of `COST`, same shape

    Raises
    ------
    NonFiniteError
        If a height inside is NaN.
    """
    check_heights(heights, inside)
    keys = np.pad(height_keys(heights), 1)
    area = np.pad(np.where(inside, OPEN, CLOSED).astype(np.uint8), 1)
    places = np.flatnonzero(np.pad((markers != 0) & inside, 1))
    level = np.full(keys.shape, UNREACHED["level"])
    hops = np.full(keys.shape, UNREACHED["hops"])
    level.reshape(-1)[places] = keys.reshape(-1)[places]
    hops.reshape(-1)[places] = 0
    _relax(places, keys, level, hops, area, connectivity)
    return _pack(level, hops)


def lower_costs(
    heights: npt.NDArray[Any],
    around: Costs,
    inside: npt.NDArray[np.bool_],
    *,
    connectivity: int,
) -> Costs:
    """Lower the costs of a block by what is known around it.

    Parameters
    ----------
    heights : ndarray of int or float, (z, y, x) or (y, x)
        Of the block, without a halo.
    around : ndarray of `COST`
        Costs of the block with one voxel around it; `UNREACHED` beyond the volume.
    inside : ndarray of bool, shape of ``heights``
        Voxels to flood.
    connectivity : int
        As in `begin_costs`.

    Returns
    -------
    costs : ndarray of `COST`, shape of ``heights``
        None is higher than before. Repeated over all blocks until nothing changes, in any order,
        this ends at the costs of the whole volume.
    """
    keys, level, hops, area = _frame(heights, around, inside)
    steps = neighbour_steps(keys.shape, connectivity)
    flat = [a.reshape(-1) for a in (keys, level, hops, area)]
    places = enter_costs(*flat, steps)
    if len(places):
        _relax(places, keys, level, hops, area, connectivity)
    return _pack(level, hops)


@dataclass(frozen=True, slots=True, eq=False)
class Traced:
    """Where the water of a block's voxels comes from."""

    source: npt.NDArray[np.uint32]
    """Number of the way's beginning in this block, from 1, for each voxel; 0 where it is dry."""

    labels: npt.NDArray[Any]
    """Label of each beginning, by its number: that of a marker, or 0 where the way comes from
    another block; [0] is 0."""

    coming: npt.NDArray[np.int64]
    """Numbers of the beginnings whose way comes from another block."""

    entries: npt.NDArray[np.int64]
    """Voxels of the other blocks that these ways come from, (n, d), counted from the first voxel
    of this block, so that -1 lies before it."""


def trace_block(
    heights: npt.NDArray[Any],
    markers: npt.NDArray[Any],
    around: Costs,
    inside: npt.NDArray[np.bool_],
    *,
    connectivity: int,
) -> Traced:
    """Follow the cheapest ways in a block back to markers, or to where they enter the block.

    Parameters
    ----------
    heights, markers, inside, connectivity
        As in `begin_costs`.
    around : ndarray of `COST`
        Final costs of the block with one voxel around it.
    """
    keys, level, hops, area = _frame(heights, around, inside)
    steps = neighbour_steps(keys.shape, connectivity)
    roots = np.flatnonzero(np.pad((markers != 0) & inside, 1))
    flat = [a.reshape(-1) for a in (keys, level, hops, area)]
    ends = trace_ends(*flat, roots.astype(np.int32), steps)
    core = (slice(1, -1),) * heights.ndim
    used = np.zeros(len(ends), bool)
    own = ends.reshape(keys.shape)[core]
    used[own[own >= 0]] = True
    places = np.flatnonzero(used)
    numbers = np.zeros(len(ends) + 1, np.uint32)  # ends of -1 look at the last, which is 0
    numbers[places] = np.arange(1, len(places) + 1)
    is_root = area.reshape(-1)[places] == OPEN
    labels = np.zeros(len(places) + 1, markers.dtype)
    labels[1:] = np.where(is_root, np.pad(markers, 1).reshape(-1)[places], 0)
    entries = np.column_stack(np.unravel_index(places[~is_root], keys.shape)) - 1
    return Traced(numbers[own], labels, np.flatnonzero(~is_root) + 1, entries)


def flood_forest(
    heights: npt.NDArray[Any],
    markers: npt.NDArray[Any],
    mask: npt.NDArray[Any] | None = None,
    *,
    connectivity: int = 1,
) -> npt.NDArray[Any]:
    """Flood a whole array along cheapest ways: what the blocks of a volume add up to.

    Parameters
    ----------
    heights, markers, mask, connectivity
        As in `volproc.reduce.watershed.flood`, but that heights are compared exactly.

    Returns
    -------
    labels : ndarray, type of ``markers``
        Label of the marker at which the cheapest way to each voxel begins.

    Raises
    ------
    ConfigError, DtypeError, NonFiniteError, ShapeError
        As `volproc.reduce.watershed.flood`.

    Notes
    -----
    A way costs its highest level, then the number of steps since it was reached. Costs grow with
    every step, so that they are the same whatever is looked at first [1]_. Of several
    neighbours on cheapest ways the first is the parent of a voxel: nearer ones first, then in
    raster order; a voxel has the label that its forefather has.

    References
    ----------
    .. [1] A. Falcão, J. Stolfi, R. Lotufo, "The image foresting transform: theory, algorithms,
       and applications", IEEE Transactions on Pattern Analysis and Machine Intelligence 26,
       19-29 (2004).

    Examples
    --------
    >>> flood_forest(np.array([[0, 2, 2, 2, 1, 0]]), np.array([[1, 0, 0, 0, 0, 7]]))
    array([[1, 1, 1, 7, 7, 7]])
    """
    check_flood(heights.shape, heights.dtype, markers.shape, markers.dtype, connectivity)
    inside = np.ones(heights.shape, bool) if mask is None else mask != 0
    costs = begin_costs(heights, markers, inside, connectivity=connectivity)
    around = np.full([n + 2 for n in heights.shape], UNREACHED)
    around[(slice(1, -1),) * heights.ndim] = costs
    traced = trace_block(heights, markers, around, inside, connectivity=connectivity)
    return np.take(traced.labels, traced.source)


def _frame(
    heights: npt.NDArray[Any], around: Costs, inside: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.uint32], Any]:
    """Arrays of a block with one frozen voxel around it."""
    area = np.pad(np.where(inside, OPEN, CLOSED).astype(np.uint8), 1, constant_values=FROZEN)
    level, hops = around["level"].copy(), around["hops"].copy()
    area[(area == FROZEN) & (hops == UNREACHED["hops"])] = CLOSED
    return np.pad(height_keys(heights), 1), level, hops, area


def _pack(level: npt.NDArray[np.uint64], hops: npt.NDArray[np.uint32]) -> Costs:
    core = (slice(1, -1),) * level.ndim
    costs = np.empty([n - 2 for n in level.shape], COST)
    costs["level"], costs["hops"] = level[core], hops[core]
    return costs


def _relax(
    places: npt.NDArray[np.int64],
    keys: npt.NDArray[np.uint64],
    level: npt.NDArray[np.uint64],
    hops: npt.NDArray[np.uint32],
    area: npt.NDArray[np.uint8],
    connectivity: int,
) -> None:
    """Run the compiled relaxation, with a queue that doubles when it is full."""
    state, steps = np.zeros(2, np.int64), neighbour_steps(keys.shape, connectivity)
    flat = [a.reshape(-1) for a in (keys, level, hops, area)]
    kinds = (np.uint64, np.uint32, np.int64)
    queue = [np.empty(FIRST_ROOM, kind) for kind in kinds]
    while not relax_on(state, *queue, places, *flat, steps):
        queue = [np.concatenate([part, np.empty_like(part)]) for part in queue]
