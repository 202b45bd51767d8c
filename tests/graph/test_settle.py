"""Work repeated until nothing changes."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import Any

import pytest

from volproc.core.errors import ClusterError
from volproc.core.executor import SerialExecutor
from volproc.graph.settle import ThreadExecutor, settle


class Chain:
    """Blocks in a row, each of which takes the least value beside it."""

    def __init__(self, values: list[int]) -> None:
        self.values = values
        self.busy: set[int] = set()
        self.lock = Lock()

    def __call__(self, index: tuple[int, ...]) -> list[tuple[int, ...]]:
        (i,) = index
        with self.lock:
            assert i not in self.busy, "a block is worked on twice at a time"
            self.busy.add(i)
        near = [j for j in (i - 1, i + 1) if 0 <= j < len(self.values)]
        least = min([self.values[i], *(self.values[j] for j in near)])
        changed = least < self.values[i]
        self.values[i] = least
        with self.lock:
            self.busy.remove(i)
        return [(j,) for j in near] if changed else []


@pytest.mark.parametrize("make", [SerialExecutor, lambda: ThreadExecutor(3)])
def test_blocks_are_asked_again_until_nothing_changes(make) -> None:
    chain = Chain([9, 8, 7, 6, 5, 1, 5, 5, 9])
    executor = make()
    num_runs = settle([(i,) for i in range(9)], chain, executor=executor)
    executor.close()
    assert chain.values == [1] * 9
    assert num_runs > 9


def test_what_has_settled_is_looked_at_once() -> None:
    assert settle([(i,) for i in range(5)], Chain([1] * 5), executor=SerialExecutor()) == 5


def test_a_block_that_is_asked_for_while_it_runs_runs_again() -> None:
    runs: list[tuple[int, ...]] = []

    class Reverse(SerialExecutor):
        num_workers = 2

    def work(index: tuple[int, ...]) -> list[tuple[int, ...]]:
        runs.append(index)
        return [(1,)] if index == (0,) else []  # (1,) is under way when (0,) ends

    assert settle([(0,), (1,)], work, executor=Reverse()) == 3
    assert runs == [(0,), (1,), (1,)]


def test_the_first_error_ends_it() -> None:
    runs: list[Any] = []

    def work(index: tuple[int, ...]) -> list[tuple[int, ...]]:
        runs.append(index)
        raise ValueError(f"block {index} is broken")

    with pytest.raises(ValueError, match=r"block \(0,\)"):
        settle([(i,) for i in range(5)], work, executor=SerialExecutor())
    assert len(runs) == 1


def test_blocks_that_get_lost_are_missed() -> None:
    class Loses(SerialExecutor):
        def completed(self) -> Iterator[tuple[str, Any, BaseException | None]]:
            yield from ()

    with pytest.raises(ClusterError, match="1 blocks got lost"):
        settle([(0,)], Chain([1]), executor=Loses())
