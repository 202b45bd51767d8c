"""Blocks that wait, begin, begin again, or are given up."""

from __future__ import annotations

from volproc.core.types import Index
from volproc.graph.block_queue import BlockQueue

INDICES: list[Index] = [(i,) for i in range(5)]


def chain(index: Index) -> list[Index]:
    return [(index[0] - 1,)] if index[0] else []


def drain(queue: BlockQueue) -> list[Index]:
    found = []
    while (index := queue.next_ready()) is not None:
        found.append(index)
    return found


def test_blocks_come_in_order_and_finished_ones_not_at_all() -> None:
    assert drain(BlockQueue(INDICES, {(1,), (3,)}, None)) == [(0,), (2,), (4,)]


def test_a_block_that_is_put_back_is_the_next_one() -> None:
    queue = BlockQueue(INDICES, set(), None)
    first = queue.next_ready()
    assert first == (0,)
    queue.again(first)
    assert drain(queue) == INDICES


def test_a_block_comes_when_the_one_it_needs_is_finished() -> None:
    queue = BlockQueue(INDICES, set(), chain)
    assert drain(queue) == [(0,)]
    assert queue.waiting() == INDICES[1:]
    queue.finish((0,))
    assert drain(queue) == [(1,)]


def test_those_that_need_a_failed_block_are_given_up_with_its_name() -> None:
    queue = BlockQueue(iter(INDICES), set(), chain)
    assert queue.next_ready() == (0,)
    queue.fail((0,))
    assert drain(queue) == []
    assert queue.take_unmet() == [((1,), (0,)), ((2,), (1,)), ((3,), (2,)), ((4,), (3,))]
    assert queue.take_unmet() == []
    assert queue.waiting() == []
