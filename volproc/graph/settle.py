"""Work that is repeated block by block until nothing changes any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from volproc.core.errors import ClusterError
from volproc.core.executor import Executor
from volproc.core.types import Index

Work = Callable[[Index], list[Index]]
"""What is done for a block: gives the blocks that have to be looked at again because of it."""


def settle(indices: Iterable[Index], work: Work, *, executor: Executor) -> int:
    """Do work on blocks until no block asks for another one.

    Parameters
    ----------
    indices : iterable of index
        Blocks to begin with, in this order.
    work : callable
        Must read what others wrote, lower it only, and end at the same whatever comes first. No
        block is worked on twice at a time; one that is asked for meanwhile is done again.
    executor : Executor
        Runs it.

    Returns
    -------
    num_runs : int
        How often a block was worked on.

    Raises
    ------
    ClusterError
        If the executor loses a block.
    BaseException
        The first error of a block, once what is under way has ended.
    """
    waiting = dict.fromkeys(indices)  # a queue without doubles
    running: dict[str, Index] = {}
    again: set[Index] = set()
    num_runs = 0
    failure: BaseException | None = None

    def refill() -> None:
        while failure is None and waiting and len(running) < executor.num_workers:
            index = next(iter(waiting))
            del waiting[index]
            key = f"settle-{num_runs + len(running)}-{'.'.join(map(str, index))}"
            running[key] = index
            executor.submit(key, work, index)

    refill()
    while running:
        num_before = num_runs
        for key, woken, error in executor.completed():
            index = running.pop(key)
            num_runs += 1
            failure = failure or error
            busy = set(running.values())
            for other in [*(woken or ()), *(again & {index})]:
                if other in busy:
                    again.add(other)
                else:
                    waiting[other] = None
            again.discard(index)
            refill()
        if num_runs == num_before:
            msg = f"{len(running)} blocks got lost on the way. Run it again."
            raise ClusterError(msg)
    if failure is not None:
        raise failure
    return num_runs


class ThreadExecutor:
    """Runs calls in threads of this process, for compiled work that needs no lock.

    >>> executor = ThreadExecutor(2)
    >>> executor.submit("double", lambda x: 2 * x, 21)
    >>> list(executor.completed())
    [('double', 42, None)]
    >>> executor.close()
    """

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers
        self._pool = ThreadPoolExecutor(num_workers, thread_name_prefix="volproc-settle")
        self._calls: dict[Future[Any], str] = {}

    def submit(self, key: str, function: Callable[..., Any], *args: Any) -> None:
        """Begin one call."""
        self._calls[self._pool.submit(function, *args)] = key

    def completed(self) -> Iterator[tuple[str, Any, BaseException | None]]:
        """Yield (key, result, error) of the calls as they end."""
        while self._calls:
            done, _ = wait(self._calls, return_when=FIRST_COMPLETED)
            for call in done:
                key, error = self._calls.pop(call), call.exception()
                yield key, None if error else call.result(), error

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(cancel_futures=True)
