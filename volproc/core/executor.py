"""Who runs a task: the protocol between graph (what to run) and cluster (where)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Protocol


class Executor(Protocol):
    """Runs calls somewhere: here, in threads, in processes, on a cluster."""

    @property
    def num_workers(self) -> int:
        """Calls that run at the same time."""
        ...

    def submit(self, key: str, function: Callable[..., Any], *args: Any) -> None:
        """Begin one call; its outcome comes from `completed` under ``key``."""
        ...

    def completed(self) -> Iterator[tuple[str, Any, BaseException | None]]:
        """Yield (key, result, error) of the calls under way as they end.

        It yields until nothing is under way; calls submitted meanwhile are included.
        """
        ...

    def close(self) -> None:
        """Stop what this executor started."""
        ...


def pool_of(executor: Executor, kind: Literal["gpu", "cpu"]) -> Executor:
    """Part of an executor that is meant for work with a network, or for work without.

    Parameters
    ----------
    executor : Executor
        One that has several kinds of workers names them in ``pools``.
    kind : {"gpu", "cpu"}
        Whether the work needs a network.

    Returns
    -------
    part : Executor
        The executor itself where all its workers are alike.

    Examples
    --------
    >>> executor = SerialExecutor()
    >>> pool_of(executor, "cpu") is executor
    True
    """
    pools: Mapping[str, Executor] = getattr(executor, "pools", {})
    return pools.get(kind, executor)


def memory_of_call(executor: Executor) -> int | None:
    """Memory that one call may use on its worker, bytes; None where no limit is known.

    >>> memory_of_call(SerialExecutor()) is None
    True
    """
    limit: int | None = getattr(executor, "call_memory_bytes", None)
    return limit


class SerialExecutor:
    """Runs each call at once, in this thread: for small work and for debugging.

    >>> executor = SerialExecutor()
    >>> executor.submit("double", lambda x: 2 * x, 21)
    >>> list(executor.completed())
    [('double', 42, None)]
    """

    num_workers = 1

    def __init__(self) -> None:
        self._waiting: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = []

    def submit(self, key: str, function: Callable[..., Any], *args: Any) -> None:
        """Queue one call."""
        self._waiting.append((key, function, args))

    def completed(self) -> Iterator[tuple[str, Any, BaseException | None]]:
        """Run the queued calls in order, yielding each outcome."""
        while self._waiting:
            key, function, args = self._waiting.pop(0)
            try:
                result = function(*args)
            except Exception as error:  # handed to the caller, who decides
                yield key, None, error
            else:
                yield key, result, None

    def close(self) -> None:
        """Forget what was queued."""
        self._waiting.clear()
