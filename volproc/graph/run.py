"""Runs the blocks of a stage on an executor, each once, in an order that their needs allow."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Any, Protocol

from volproc.core.errors import ClusterError, ClusterLostError
from volproc.core.events import Event, Observer, ignore
from volproc.core.executor import Executor
from volproc.core.types import Index
from volproc.graph.block_queue import BlockQueue
from volproc.graph.retries import MAX_ATTEMPTS, Retries, Work

ASK_EVERY_S = 1.0
"""Seconds for which a number of workers is taken for true: to ask a scheduler for each block would
cost more than to submit it."""


class Keeper(Protocol):
    """Knows what is done: `volproc.graph.ledger.Ledger`, or `volproc.graph.sidecars.Sidecars`."""

    def done(self, stage: str) -> set[Index]:
        """Blocks of a stage that are finished."""
        ...

    def result(self, stage: str, index: Index) -> Any:
        """What is kept of a finished block; None if it is not finished."""
        ...

    def keep(self, stage: str, index: Index, result: Any) -> None:
        """Mark a block as finished, with what is kept of its result."""
        ...


@dataclass(frozen=True, slots=True)
class Committed:
    """Work that leaves a marker when it is done."""

    work: Work
    ledger: Keeper
    stage: str

    def __call__(self, index: Index) -> Any:
        """Do the work of a block, then mark it.

        A block that is marked is not done again: a worker that died after it, with the answer
        still in its hands, makes a scheduler run the call once more.
        """
        if (kept := self.ledger.result(self.stage, index)) is not None:
            return kept
        result = self.work(index)
        self.ledger.keep(self.stage, index, result)
        return result


@dataclass(frozen=True, slots=True)
class Noted:
    """Work whose errors say in which block they arose."""

    work: Work
    stage: str

    def __call__(self, index: Index) -> Any:
        """Do the work of a block."""
        try:
            return self.work(index)
        except Exception as error:
            error.add_note(f"in block {index} of {self.stage}")
            raise


def run_stage(
    stage: str,
    indices: Iterable[Index],
    work: Work,
    *,
    executor: Executor,
    observe: Observer = ignore,
    ledger: Keeper | None = None,
    needs: Callable[[Index], Iterable[Index]] | None = None,
    collect: Callable[[Index, Any], None] | None = None,
    on_failure: Callable[[Index, BaseException], None] | None = None,
    max_attempts: int = MAX_ATTEMPTS,
    total: int = 0,
) -> None:
    """Run one stage.

    Parameters
    ----------
    stage : str
        Name, for people and for the ledger.
    indices : iterable of index
        Blocks, in raster order.
    work : callable
        Does one block; see `volproc.graph.retries.Work` for what it may offer besides.
    executor : Executor
        Where.
    observe : callable
        Takes events.
    ledger : Ledger or Sidecars
        Knows finished blocks, and marks those that finish now. A `Ledger` keeps dicts only.
    needs : callable
        Blocks that must be finished before a given one; they come earlier in ``indices``.
    collect : callable
        Takes (index, result) as each block finishes, in any order. Blocks that the ledger knows
        already are not handed over.
    on_failure : callable
        Takes (index, error) of a block that failed, and the other blocks go on; blocks that need
        it are handed over too. Without it, the first error ends the stage.
    max_attempts : int
        Workers that a block may take down while nothing else runs, by its memory or by crashing,
        before it is given up; see `volproc.graph.retries`.
    total : int
        Number of blocks, for the observer.

    Raises
    ------
    Exception
        The first error of a block, with a note that names the block, unless ``on_failure`` took
        it. Blocks under way end first; their markers stand.
    WorkerDiedError
        The same, of a block that took its workers down.
    ClusterLostError
        If the cluster goes away, or loses a block.
    ClusterError
        If blocks wait for others that are not there.

    Notes
    -----
    At most two blocks a worker are under way: a scheduler blames every call that a dead worker
    held, and calls here are long. A block that is tried alone waits until all others have ended.
    """
    done = ledger.done(stage) if ledger else set()
    observe(Event("stage", stage, total=total))
    for index in done:
        observe(Event("skip", stage, block=index))
    run = _Run(
        stage,
        BlockQueue(indices, done, needs),
        Retries(work, stage, max_attempts=max_attempts),
        executor,
        observe,
        ledger,
        collect or _leave,
        on_failure,
    )
    run.go()
    observe(Event("done", stage))


@dataclass(slots=True)
class _Run:
    """One stage while it runs."""

    stage: str
    queue: BlockQueue
    retries: Retries
    executor: Executor
    observe: Observer
    ledger: Keeper | None
    collect: Callable[[Index, Any], None]
    on_failure: Callable[[Index, BaseException], None] | None
    under_way: dict[str, Index] = field(default_factory=dict)
    suspects: deque[Index] = field(default_factory=deque)
    is_alone: bool = False
    failure: BaseException | None = None
    most: int = 0
    asked_s: float = -inf

    def go(self) -> None:
        """Run until nothing is left, or until the first failure that nobody takes."""
        self._refill()
        while self.under_way:
            num_ended = 0
            for key, result, error in self.executor.completed():
                if key not in self.under_way:
                    continue  # of a stage that was broken off
                num_ended += 1
                index = self.under_way.pop(key)
                if error is None:
                    self._finish(index, result)
                else:
                    self._judge(index, error)
                self._refill()
            if not num_ended:
                msg = f"{_count(self.under_way.values(), self.stage)} got lost on the way. "
                raise ClusterLostError(f"{msg}Run it again: finished blocks are not done again.")
        if self.failure is not None:
            raise self.failure
        if stuck := self.queue.waiting():
            msg = f"{_count(stuck, self.stage)} wait for blocks that are not part of the stage."
            raise ClusterError(msg)

    def _refill(self) -> None:
        """Begin as many blocks as may be under way; a suspect only while nothing else is."""
        if self.failure is not None or (self.under_way and (self.is_alone or self.suspects)):
            return
        self.is_alone = bool(self.suspects)
        if self.suspects:
            self._submit(self.suspects.popleft())
            return
        most = self._window()
        while len(self.under_way) < most and (index := self.queue.next_ready()) is not None:
            self._submit(index)
        for index, needed in self.queue.take_unmet():
            self._fail(index, _unmet(index, needed, self.stage))

    def _window(self) -> int:
        """Blocks that may be under way; the executor is asked for its workers once in a while."""
        now_s = monotonic()
        if now_s - self.asked_s >= ASK_EVERY_S:
            self.most, self.asked_s = 2 * self.executor.num_workers, now_s
        return self.most

    def _submit(self, index: Index) -> None:
        key = f"{self.stage}-{'.'.join(map(str, index))}"
        task: Work = Noted(self.retries.work(index), self.stage)
        if self.ledger:
            task = Committed(task, self.ledger, self.stage)
        self.under_way[key] = index
        self.executor.submit(key, task, index)

    def _finish(self, index: Index, result: Any) -> None:
        self.retries.succeed(index)
        self.queue.finish(index)
        self.collect(index, result)
        facts = result if isinstance(result, dict) else {}
        self.observe(Event("block", self.stage, facts=facts, block=index))

    def _judge(self, index: Index, error: BaseException) -> None:
        """Try a block again, or give it up."""
        if isinstance(error, ClusterLostError):
            raise error  # no block is to blame
        verdict = self.retries.judge(index, error, was_alone=self.is_alone)
        if verdict.error is not None:
            self._fail(index, verdict.error)
            self.queue.fail(index)
            return
        self.observe(Event("retry", self.stage, text=verdict.text, block=index))
        if verdict.again == "alone":
            self.suspects.append(index)
        else:
            self.queue.again(index)

    def _fail(self, index: Index, error: BaseException) -> None:
        if self.on_failure is not None:
            self.observe(Event("failed", self.stage, text=str(error), block=index))
            self.on_failure(index, error)
        else:
            self.failure = self.failure or error


def _leave(index: Index, result: Any) -> None:
    """Collect nothing."""


def _unmet(index: Index, needed: Index, stage: str) -> ClusterError:
    msg = f"block {index} of {stage} needs block {needed}, which failed. See the error of that one."
    return ClusterError(msg)


def _count(indices: Iterable[Index], stage: str) -> str:
    found = list(indices)
    return f"{len(found)} block{'s' * (len(found) > 1)} of {stage}, {found[0]},"
