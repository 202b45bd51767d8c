"""Runs the blocks of a stage on an executor, each once, in an order that their needs allow."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from volproc.core.errors import ClusterError
from volproc.core.events import Event, Observer, ignore
from volproc.core.executor import Executor
from volproc.core.types import Index
from volproc.graph.ledger import Ledger

LOOKAHEAD = 4096
"""Blocks that may wait for others before no further one is looked at."""

Work = Callable[[Index], Any]
"""What is done for one block; pickled to workers. A dict that it returns is its facts."""


@dataclass(frozen=True, slots=True)
class Committed:
    """Work that leaves a marker when it is done."""

    work: Work
    ledger: Ledger
    stage: str

    def __call__(self, index: Index) -> Any:
        """Do the work of a block, then mark it."""
        result = self.work(index)
        self.ledger.commit(self.stage, index, result if isinstance(result, dict) else {})
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
    ledger: Ledger | None = None,
    needs: Callable[[Index], Iterable[Index]] | None = None,
    collect: Callable[[Index, Any], None] | None = None,
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
        Does one block.
    executor : Executor
        Where.
    observe : callable
        Takes events.
    ledger : Ledger
        Knows finished blocks, and marks those that finish now.
    needs : callable
        Blocks that must be finished before a given one; they come earlier in ``indices``.
    collect : callable
        Takes (index, result) as each block finishes, in any order. Blocks that the ledger knows
        give no result.
    total : int
        Number of blocks, for the observer.

    Raises
    ------
    Exception
        The first error of a block, with a note that names the block. Blocks under way end
        first; their markers stand.
    ClusterError
        If the executor loses a block, or if blocks wait for others that are not there.

    Notes
    -----
    At most two blocks a worker are under way: a scheduler blames every task that a dead worker
    held, and tasks here are long.
    """
    done = ledger.done(stage) if ledger else set()
    task: Work = Noted(work, stage)
    if ledger:
        task = Committed(task, ledger, stage)
    observe(Event("stage", stage, total=total))
    queue = _Queue(indices, done, needs)
    for _ in queue.skipped():
        observe(Event("skip", stage))
    under_way: dict[str, Index] = {}

    def refill() -> None:
        while len(under_way) < 2 * executor.num_workers:
            index = queue.next_ready()
            if index is None:
                return
            key = f"{stage}-{'.'.join(map(str, index))}"
            under_way[key] = index
            executor.submit(key, task, index)

    failure: BaseException | None = None
    refill()
    while under_way:
        num_ended = 0
        for key, result, error in executor.completed():
            num_ended += 1
            index = under_way.pop(key)
            if error is not None:
                failure = failure or error
            else:
                queue.finish(index)
                if collect:
                    collect(index, result)
                observe(Event("block", stage, facts=result if isinstance(result, dict) else {}))
            if failure is None:
                refill()
        if not num_ended:
            msg = f"{_count(under_way.values(), stage)} got lost on the way. Run it again."
            raise ClusterError(msg)
    if failure is not None:
        raise failure
    if stuck := queue.waiting():
        msg = f"{_count(stuck, stage)} wait for blocks that are not part of the stage."
        raise ClusterError(msg)
    observe(Event("done", stage))


def _count(indices: Iterable[Index], stage: str) -> str:
    found = list(indices)
    return f"{len(found)} block{'s' * (len(found) > 1)} of {stage}, {found[0]},"


class _Queue:
    """Blocks that wait, are ready, or are finished."""

    def __init__(
        self,
        indices: Iterable[Index],
        done: set[Index],
        needs: Callable[[Index], Iterable[Index]] | None,
    ) -> None:
        self._all = iter(indices)
        self._done = set(done)
        self._known = frozenset(done)
        self._needs = needs
        self._ready: deque[Index] = deque()
        self._missing: dict[Index, int] = {}
        self._unlocks: dict[Index, list[Index]] = {}

    def skipped(self) -> Iterable[Index]:
        return self._known

    def next_ready(self) -> Index | None:
        while not self._ready and len(self._missing) < LOOKAHEAD:
            index = next(self._all, None)
            if index is None:
                return None
            if index in self._known:
                continue
            missing = [i for i in self._needs(index) if i not in self._done] if self._needs else []
            if not missing:
                self._ready.append(index)
            else:
                self._missing[index] = len(missing)
                for other in missing:
                    self._unlocks.setdefault(other, []).append(index)
        return self._ready.popleft() if self._ready else None

    def waiting(self) -> list[Index]:
        return list(self._missing)

    def finish(self, index: Index) -> None:
        self._done.add(index)
        for other in self._unlocks.pop(index, ()):
            self._missing[other] -= 1
            if not self._missing[other]:
                del self._missing[other]
                self._ready.append(other)
