"""Any tree of super-blocks gives scipy's ids, and only what shows outside goes up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi

from volproc.core.errors import ShapeError
from volproc.core.types import Index
from volproc.plan.blocks import ChunkGrid
from volproc.plan.superblocks import Level
from volproc.reduce.components import BlockComponents, label_block
from volproc.reduce.faces import join_faces, upper_directions
from volproc.reduce.superblocks import (
    Outside,
    SuperBlock,
    closed_sets,
    deliver_ids,
    join_parts,
    outside_of_block,
    rank_beginnings,
)

SHAPE = (6, 7, 11)


def blocks_of(mask: np.ndarray, grid: ChunkGrid, connectivity: int) -> dict[Index, BlockComponents]:
    return {
        b.index: label_block(
            mask[b.write],
            offset=tuple(s.start for s in b.write),
            shape=mask.shape,
            connectivity=connectivity,
        )
        for b in grid
    }


def outsides_of(found: dict[Index, BlockComponents], connectivity: int) -> dict[Index, Outside]:
    outsides = {}
    for index, block in found.items():
        beside = {
            step: found[at].faces
            for step in upper_directions(len(index), connectivity)
            if (at := tuple(i + d for i, d in zip(index, step, strict=True))) in found
        }
        links = join_faces(block.faces, beside, connectivity=connectivity)
        outsides[index] = outside_of_block(block.first, block.faces, links)
    return outsides


def climb(outsides: dict[Index, Outside], boxes: Sequence[Index], numblocks: Index):
    """Join level by level; the last box holds all."""
    levels, steps, parts = [], [], numblocks
    for box in (*boxes, numblocks):
        level = Level(parts, box)
        joined = {
            at: join_parts([outsides[c] for c in level.children(at)], level.outer_sides(at))
            for at in level.indices()
        }
        levels.append(level)
        steps.append(joined)
        outsides, parts = {at: s.outside for at, s in joined.items()}, level.boxes
    return levels, steps


def ids_of_blocks(levels: list[Level], steps: list[dict[Index, SuperBlock]]) -> dict:
    smallest = [s.beginnings for s in steps[0].values()]
    absorbed = [s.absorbed for step in steps[1:] for s in step.values()]
    ranks = rank_beginnings(smallest, absorbed)
    reached: dict[Index, np.ndarray] = {(0,) * len(levels[0].parts): np.zeros(0, np.int64)}
    for level, joined in zip(levels[::-1], steps[::-1], strict=True):
        below = {}
        for at, block in joined.items():
            heads = np.concatenate([np.zeros(0, np.int64), *block.heads])
            still_open = block.outside.sets
            closed = np.searchsorted(ranks, closed_sets(heads, still_open)) + 1
            ids = deliver_ids(heads, still_open, closed, reached[at])
            cuts = np.cumsum([len(part) for part in block.heads])[:-1]
            below |= dict(zip(level.children(at), np.split(ids, cuts), strict=True))
        reached = below
    return reached


@given(
    st.integers(0, 9999),
    st.sampled_from([1, 2, 3]),
    st.tuples(*[st.integers(1, 4)] * 3),
    st.lists(st.tuples(*[st.integers(1, 3)] * 3), max_size=2),
    st.sampled_from([0.1, 0.35, 0.6, 1.0]),
)
def test_any_tree_gives_scipys_ids(seed, connectivity, chunks, boxes, part) -> None:
    mask = np.random.default_rng(seed).random(SHAPE) < part
    grid = ChunkGrid(SHAPE, chunks)
    found = blocks_of(mask, grid, connectivity)
    levels, steps = climb(outsides_of(found, connectivity), boxes, grid.numblocks)
    top = next(iter(steps[-1].values()))
    assert len(top.outside.names) == len(top.outside.links) == 0
    ids = ids_of_blocks(levels, steps)
    expected, _ = ndi.label(mask, ndi.generate_binary_structure(3, connectivity))
    for block in grid:
        table = np.concatenate([[0], ids[block.index]])
        np.testing.assert_array_equal(table[found[block.index].labels], expected[block.write])


def test_only_components_on_the_outer_sides_go_up() -> None:
    mask = np.zeros((4, 4, 8), bool)
    mask[1, 1, 1] = True  # inside the first block
    mask[2, 2, 1:3] = True  # over the face within the super-block
    mask[0, 0, 3:5] = True  # over its outer side
    grid = ChunkGrid(mask.shape, (4, 4, 2))
    found = blocks_of(mask, grid, 1)
    _, steps = climb(outsides_of(found, 1), [(1, 1, 2)], grid.numblocks)
    lower, upper = steps[0].values()
    name = np.ravel_multi_index((0, 0, 3), mask.shape)
    assert lower.outside.names.tolist() == lower.outside.sets.tolist() == [name]
    assert lower.outside.links.tolist() == [[name, name + 1]]
    assert upper.outside.names.tolist() == [name + 1]
    assert len(lower.beginnings) == 3
    top = next(iter(steps[1].values()))
    assert top.absorbed.tolist() == [name + 1]


def test_a_contact_found_through_a_neighbour_within_is_not_lost() -> None:
    # Two objects of the first block touch the second block's one, only the lower touches the third
    # block, which lies outside of the super-block: their common set must be found from there.
    mask = np.zeros((1, 4, 4), bool)
    mask[0, 0, :3] = True
    mask[0, :3, 2] = True
    mask[0, 1, 0:2] = True
    mask[0, 1:4, 1] = True
    mask[0, 0, 0:2] = [True, False]
    grid = ChunkGrid(mask.shape, (1, 2, 2))
    found = blocks_of(mask, grid, 2)
    levels, steps = climb(outsides_of(found, 2), [(1, 1, 2)], grid.numblocks)
    ids = ids_of_blocks(levels, steps)
    expected, _ = ndi.label(mask, ndi.generate_binary_structure(3, 2))
    for block in grid:
        table = np.concatenate([[0], ids[block.index]])
        np.testing.assert_array_equal(table[found[block.index].labels], expected[block.write])


def test_parts_without_their_sides_are_refused() -> None:
    none = np.zeros(0, np.int64)
    empty = Outside(none, none, np.zeros(0, np.uint8), np.zeros((0, 2), np.int64))
    with pytest.raises(ShapeError, match="2 sides for 1 parts"):
        join_parts([empty], [0, 0])
    assert len(join_parts([empty], [0]).beginnings) == 0


def test_ids_of_another_super_block_are_refused() -> None:
    none = np.zeros(0, np.int64)
    with pytest.raises(ShapeError, match="1 ids for 2 objects"):
        deliver_ids(np.array([3, 5]), none, np.array([1]), none)
