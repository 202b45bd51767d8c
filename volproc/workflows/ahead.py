"""Small things that mostly wait for a disk: several at a time, taken in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

NUM_THREADS = 16
"""Files that are read at the same time: what is waited for is mostly a disk of others."""


def map_ahead(
    function: Callable[[A], B], items: Iterable[A], *, num_threads: int = NUM_THREADS
) -> Iterator[tuple[A, B]]:
    """Call a function for each item in threads, a bounded number ahead, and yield in order.

    Parameters
    ----------
    function : callable
        Safe among threads.
    items : iterable
        Read as far as is needed.
    num_threads : int
        Calls at the same time; four times as many items are begun before their turn.

    Yields
    ------
    item, result
        In the order of the items.

    Raises
    ------
    Exception
        That of a call, when it is its turn. Calls that have not begun are dropped then.

    Examples
    --------
    >>> list(map_ahead(abs, [-1, -2]))
    [(-1, 1), (-2, 2)]
    """
    waiting: deque[tuple[A, Future[B]]] = deque()
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="volproc-ahead")
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) >= 4 * num_threads:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
