"""Boxes of boxes: each part in one box, each side of a box seen by the parts that make it."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.plan.superblocks import FAN_IN, NUM_BLOCKS, Level, plan_superblocks

grids = st.lists(st.integers(1, 19), min_size=2, max_size=3).map(tuple)


@given(grids)
def test_each_part_lies_in_one_box_up_to_one_that_holds_all(numblocks) -> None:
    levels = plan_superblocks(numblocks)
    parts = numblocks
    for level in levels:
        assert level.parts == parts
        found = [part for box in level.indices() for part in level.children(box)]
        assert sorted(found) == sorted(set(found))
        assert len(found) == prod(parts)
        for box in level.indices():
            children = level.children(box)
            assert [level.parent(child) for child in children] == [
                (box, place) for place in range(len(children))
            ]
        parts = level.boxes
    assert prod(parts) == 1


@given(grids)
def test_parts_on_a_side_of_a_box_have_its_bit(numblocks) -> None:
    level = plan_superblocks(numblocks)[0]
    lead = 3 - len(numblocks)
    for box in level.indices():
        children = level.children(box)
        for child, bits in zip(children, level.outer_sides(box), strict=True):
            for axis, at in enumerate(child):
                along = [c[axis] for c in children]
                assert bool(bits >> 2 * (lead + axis) & 1) == (at == min(along))
                assert bool(bits >> 2 * (lead + axis) + 1 & 1) == (at == max(along))


@pytest.mark.parametrize("numblocks", [(22, 22, 22), (1, 100, 100), (1000, 1, 1), (40, 300)])
def test_the_tree_is_small_beside_the_blocks(numblocks) -> None:
    levels = plan_superblocks(numblocks)
    assert all(prod(level.box) <= NUM_BLOCKS for level in levels[:1])
    assert all(prod(level.box) <= FAN_IN for level in levels[1:])
    assert sum(prod(level.boxes) for level in levels) < 0.11 * prod(numblocks)


def test_the_smallest_boxes_are_flat() -> None:
    assert Level((8, 8, 8), plan_superblocks((8, 8, 8))[0].box) == Level((8, 8, 8), (1, 4, 4))
