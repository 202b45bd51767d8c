"""Executors of this process, and what every executor of this room can do besides."""

from __future__ import annotations

import os
import queue
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar

import dask.config

from volproc.core.executor import SerialExecutor

THREADS = "OMP_NUM_THREADS"
"""Variable that sizes torch's pool of threads, read when torch is loaded."""

Self = TypeVar("Self", bound="Session")


class Session(ABC):
    """An executor that ends with its ``with`` block.

    Its methods are those of `volproc.core.executor.Executor`. Lazy arrays that are computed inside
    the block run where its calls run.
    """

    dashboard: str = ""
    """Address of the page that shows the work under way; empty where there is none."""

    has_processes: bool = False
    """Whether calls run in other processes than this one."""

    @property
    @abstractmethod
    def num_workers(self) -> int:
        """Calls that run at the same time."""

    @abstractmethod
    def submit(self, key: str, function: Callable[..., Any], *args: Any) -> None:
        """Begin one call; its outcome comes from `completed` under ``key``."""

    @abstractmethod
    def completed(self) -> Iterator[tuple[str, Any, BaseException | None]]:
        """Yield (key, result, error) as calls end, until nothing is under way."""

    @abstractmethod
    def close(self) -> None:
        """Stop what this executor started."""

    @abstractmethod
    def as_current(self) -> AbstractContextManager[Any]:
        """Let Dask compute lazy arrays here, inside a ``with`` block."""

    def __enter__(self: Self) -> Self:
        self._stack = ExitStack()
        self._stack.callback(self.close)
        self._stack.enter_context(self.as_current())
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


class HereExecutor(SerialExecutor, Session):
    """Runs each call at once, in this thread.

    >>> with HereExecutor() as executor:
    ...     executor.submit("half", lambda x: x / 2, 21)
    ...     list(executor.completed())
    [('half', 10.5, None)]
    """

    def as_current(self) -> AbstractContextManager[Any]:
        """Let Dask compute in this thread."""
        return dask.config.set(scheduler="synchronous")


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_cores(num_calls: int) -> Callable[[], None]:
    """Give each of some calls in threads of this process its share of the cores.

    Torch is told if it is loaded; else the variable that it reads when it is loaded is set. One
    that the user has set is kept.

    Parameters
    ----------
    num_calls : int
        Calls that run at the same time.

    Returns
    -------
    restore : callable
        Takes it back.
    """
    if THREADS in os.environ:
        return lambda: None
    share = max(1, count_cores() // num_calls)
    torch: Any = sys.modules.get("torch")  # loaded by whoever needs it, not by this room
    before = torch.get_num_threads() if torch else None
    if torch:
        torch.set_num_threads(share)
    else:
        os.environ[THREADS] = str(share)

    def restore() -> None:
        if before is not None:
            torch.set_num_threads(before)
        else:
            os.environ.pop(THREADS, None)

    return restore


class ThreadExecutor(Session):
    """Runs calls in threads of this process.

    Threads share memory and one copy of a model, and use several cores as far as the code inside
    releases the interpreter's lock.

    Parameters
    ----------
    num_workers : int
        Calls that run at the same time.

    Notes
    -----
    Until it is closed, torch shares the cores between the calls, unless OMP_NUM_THREADS is set.
    """

    def __init__(self, num_workers: int) -> None:
        self._num_workers = num_workers
        self._restore_threads = share_cores(num_workers)
        self._pool = ThreadPoolExecutor(num_workers, thread_name_prefix="volproc")
        self._ended: queue.SimpleQueue[tuple[str, Future[Any]]] = queue.SimpleQueue()
        self._num_under_way = 0

    @property
    def num_workers(self) -> int:
        """Number of threads."""
        return self._num_workers

    def submit(self, key: str, function: Callable[..., Any], *args: Any) -> None:
        """Begin one call as soon as a thread is free."""
        future = self._pool.submit(function, *args)
        self._num_under_way += 1
        future.add_done_callback(lambda done: self._ended.put((key, done)))

    def completed(self) -> Iterator[tuple[str, Any, BaseException | None]]:
        """Yield (key, result, error) as calls end."""
        while self._num_under_way:
            key, future = self._ended.get()
            self._num_under_way -= 1
            if future.cancelled():
                continue
            error = future.exception()
            yield key, None if error else future.result(), error

    def as_current(self) -> AbstractContextManager[Any]:
        """Let Dask compute in these threads."""
        return dask.config.set(scheduler="threads", pool=self._pool)

    def close(self) -> None:
        """Drop the calls that wait, and wait for those that run."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._restore_threads()
