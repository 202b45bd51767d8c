"""Cheapest ways: those of a brute-force search, for every cut and every order."""

from __future__ import annotations

import heapq
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.core.errors import ConfigError, DtypeError, NonFiniteError, ShapeError
from volproc.plan.blocks import ChunkGrid
from volproc.reduce import forest as module
from volproc.reduce.forest import (
    UNREACHED,
    begin_costs,
    flood_forest,
    height_keys,
    lower_costs,
)

SHAPE = (3, 5, 6)

Cost = tuple[float, int]


def search(heights, markers, mask, connectivity) -> tuple[np.ndarray, dict]:
    """Labels and costs by Dijkstra's algorithm on a dictionary, voxel by voxel."""
    steps = [
        s for s in product((-1, 0, 1), repeat=heights.ndim) if 0 < sum(map(abs, s)) <= connectivity
    ]
    steps.sort(key=lambda s: (sum(map(abs, s)), s))

    def around(voxel):
        for step in steps:
            near = tuple(int(a) + b for a, b in zip(voxel, step, strict=True))
            if all(0 <= a < n for a, n in zip(near, heights.shape, strict=True)) and mask[near]:
                yield near

    def onward(cost: Cost, voxel) -> Cost:
        return (heights[voxel], 0) if heights[voxel] > cost[0] else (cost[0], cost[1] + 1)

    costs = {tuple(map(int, v)): (heights[tuple(v)], 0) for v in np.argwhere((markers != 0) & mask)}
    queue = [(*cost, voxel) for voxel, cost in costs.items()]
    heapq.heapify(queue)
    while queue:
        level, hops, voxel = heapq.heappop(queue)
        if costs[voxel] != (level, hops):
            continue
        for near in around(voxel):
            cost = onward((level, hops), near)
            if near not in costs or cost < costs[near]:
                costs[near] = cost
                heapq.heappush(queue, (*cost, near))
    labels = np.zeros_like(markers)
    for voxel in sorted(costs, key=costs.get):
        if markers[voxel]:
            labels[voxel] = markers[voxel]
            continue
        parents = (
            n for n in around(voxel) if n in costs and onward(costs[n], voxel) == costs[voxel]
        )
        labels[voxel] = labels[next(parents)]
    return labels, costs


def scene(seed: int, shape: tuple[int, ...] = SHAPE) -> tuple[np.ndarray, ...]:
    """Heights with plateaus, few markers, and a mask that is full at times."""
    rng = np.random.default_rng(seed)
    heights = rng.integers(-3, 3, shape) if seed % 2 else rng.random(shape).round(1) - 0.5
    markers = np.where(rng.random(shape) < 0.05, rng.integers(1, 9, shape), 0)
    return heights, markers, rng.random(shape) < rng.choice([0.5, 0.8, 1])


@settings(max_examples=12)
@given(st.integers(0, 9999), st.sampled_from([1, 2, 3]))
def test_labels_are_those_of_a_brute_force_search(seed, connectivity) -> None:
    heights, markers, mask = scene(seed)
    expected, _ = search(heights, markers, mask, connectivity)
    found = flood_forest(heights, markers, mask, connectivity=connectivity)
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=12)
@given(st.integers(0, 9999), st.sampled_from([1, 2]))
def test_a_micrograph_is_flooded_too(seed, connectivity) -> None:
    heights, markers, mask = scene(seed, (9, 13))
    expected, _ = search(heights, markers, mask, connectivity)
    found = flood_forest(heights, markers, mask, connectivity=connectivity)
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=12)
@given(
    st.integers(0, 9999), st.sampled_from([1, 2, 3]), st.tuples(*[st.integers(1, n) for n in SHAPE])
)
def test_blocks_end_at_the_same_costs_in_any_order(seed, connectivity, chunks) -> None:
    heights, markers, mask = scene(seed)
    _, expected = search(heights, markers, mask, connectivity)
    grid = ChunkGrid(SHAPE, chunks)
    around = np.full([n + 2 for n in SHAPE], UNREACHED)
    core = around[1:-1, 1:-1, 1:-1]
    for block in grid:
        core[block.write] = begin_costs(
            heights[block.write], markers[block.write], mask[block.write], connectivity=connectivity
        )
    order = np.random.default_rng(seed).permutation(len(grid))
    blocks = [list(grid)[i] for i in order]
    before = None
    while before is None or (before != core).any():
        before = core.copy()
        for block in blocks:
            ring = tuple(slice(s.start, s.stop + 2) for s in block.write)
            core[block.write] = lower_costs(
                heights[block.write], around[ring], mask[block.write], connectivity=connectivity
            )
    reached = core["hops"] != UNREACHED["hops"]
    assert reached.sum() == len(expected)
    for voxel, (level, hops) in expected.items():
        assert core[voxel]["hops"] == hops
        assert core[voxel]["level"] == height_keys(np.array([level]).astype(heights.dtype))[0]


def test_plateaus_are_shared_by_distance_and_ties_by_the_first_neighbour() -> None:
    heights = np.zeros((1, 8), int)
    markers = np.array([[3, 0, 0, 0, 0, 0, 5, 0]])
    assert flood_forest(heights, markers).tolist() == [[3, 3, 3, 3, 5, 5, 5, 5]]
    heights[0, 2] = 4  # behind a wall, what leads over it waits
    assert flood_forest(heights, markers).tolist() == [[3, 3, 3, 5, 5, 5, 5, 5]]


@pytest.mark.parametrize(
    "values",
    [
        np.array([-(2**63), -1, 0, 2**53, 2**53 + 1, 2**63 - 1]),
        np.array([0, 2**63, 2**64 - 1], np.uint64),
        np.array([-np.inf, -1e300, -1e-300, 0.0, 1e-300, 1.0, np.inf]),
        np.array([-np.inf, -0.5, 0.0, 0.25, np.inf], np.float16),
        np.array([-3, 0, 200], ">i4"),
    ],
)
def test_keys_keep_the_order_of_all_numbers(values) -> None:
    keys = height_keys(values)
    assert keys.dtype == np.uint64
    assert (keys[1:] > keys[:-1]).all()


def test_zero_has_one_key() -> None:
    assert len(set(height_keys(np.array([0.0, -0.0])).tolist())) == 1


def test_a_queue_that_is_full_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    heights, markers, mask = scene(11, (6, 7, 8))
    expected = flood_forest(heights, markers, mask, connectivity=3)
    monkeypatch.setattr(module, "FIRST_ROOM", 27)
    found = flood_forest(heights, markers, mask, connectivity=3)
    np.testing.assert_array_equal(found, expected)
    assert found.any()


def test_without_markers_all_stays_dry() -> None:
    heights, markers, mask = scene(4)
    assert not flood_forest(heights, np.zeros_like(markers), mask).any()
    assert not flood_forest(heights, markers, np.zeros_like(mask)).any()


@pytest.mark.parametrize("dtype", ["u1", ">i2", "i8", "u8"])
def test_labels_have_the_type_of_the_markers(dtype) -> None:
    heights, markers, mask = scene(5)
    labels = flood_forest(heights, markers.astype(dtype), mask)
    assert labels.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(labels, flood_forest(heights, markers, mask))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"connectivity": 0}, ConfigError, "connectivity is 1"),
        ({"markers": np.zeros(SHAPE)}, DtypeError, "got float64"),
        ({"heights": np.full(SHAPE, np.nan)}, NonFiniteError, "NaN at 90 voxels"),
        ({"markers": np.zeros((3, 5, 7), int)}, ShapeError, "differ in shape"),
    ],
)
def test_what_cannot_be_flooded_is_refused(change, error, text) -> None:
    arguments = {"heights": np.zeros(SHAPE), "markers": np.zeros(SHAPE, int)}
    with pytest.raises(error, match=text):
        flood_forest(**(arguments | change))
