"""Calls in threads, a bounded number ahead, taken in their order."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from volproc.workflows.ahead import map_ahead


def test_results_come_in_the_order_of_the_items_whoever_ends_first() -> None:
    second = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second.wait(30)  # the first ends after the second
        else:
            second.set()
        return 2 * item

    assert list(map_ahead(work, range(9), num_threads=2)) == [(i, 2 * i) for i in range(9)]


def test_items_are_read_only_a_bounded_number_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    results = map_ahead(abs, items(), num_threads=2)
    assert next(results) == (0, 0)
    assert len(taken) == 8
    results.close()  # type: ignore[attr-defined]


def test_an_error_comes_when_it_is_its_turn() -> None:
    results = map_ahead(lambda item: 6 // item, [3, 2, 0, 1], num_threads=2)
    assert [next(results), next(results)] == [(3, 2), (2, 3)]
    with pytest.raises(ZeroDivisionError):
        next(results)
