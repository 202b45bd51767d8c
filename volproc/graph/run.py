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
    on_failure: Callable[[Index, BaseException], None] | None = None,
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
    on_failure : callable
        Takes (index, error) of a block that failed, and the other blocks go on; blocks that need
        it are handed over too. Without it, the first error ends the stage.
    total : int
        Number of blocks, for the observer.

    Raises
    ------
    Exception
        The first error of a block, with a note that names the block, unless ``on_failure`` took
        it. Blocks under way end first; their markers stand.
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
    for index in queue.skipped():
        observe(Event("skip", stage, block=index))
    under_way: dict[str, Index] = {}

    def refill() -> None:
        while len(under_way) < 2 * executor.num_workers:
            index = queue.next_ready()
            if index is None:
                return
            key = f"{stage}-{'.'.join(map(str, index))}"
            under_way[key] = index
            executor.submit(key, task, index)

    def give_up_unmet() -> None:
        for index, needed in queue.take_unmet():
            observe(Event("failed", stage, block=index))
            if on_failure is not None:
                on_failure(index, _unmet(index, needed, stage))

    failure: BaseException | None = None
    refill()
    while under_way:
        num_ended = 0
        for key, result, error in executor.completed():
            num_ended += 1
            index = under_way.pop(key)
            if error is not None:
                observe(Event("failed", stage, text=str(error), block=index))
                if on_failure is None:
                    failure = failure or error
                else:
                    on_failure(index, error)
                    queue.fail(index)
            else:
                queue.finish(index)
                if collect:
                    collect(index, result)
                facts = result if isinstance(result, dict) else {}
                observe(Event("block", stage, facts=facts, block=index))
            if failure is None:
                refill()
            give_up_unmet()
        if not num_ended:
            msg = f"{_count(under_way.values(), stage)} got lost on the way. Run it again."
            raise ClusterError(msg)
    if failure is not None:
        raise failure
    if stuck := queue.waiting():
        msg = f"{_count(stuck, stage)} wait for blocks that are not part of the stage."
        raise ClusterError(msg)
    observe(Event("done", stage))


def _unmet(index: Index, needed: Index, stage: str) -> ClusterError:
    msg = f"block {index} of {stage} needs block {needed}, which failed. See the error of that one."
    return ClusterError(msg)


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
        self._failed: set[Index] = set()
        self._unmet: list[tuple[Index, Index]] = []

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
            failed = next((i for i in missing if i in self._failed), None)
            if failed is not None:
                self._give_up(index, failed)
            elif not missing:
                self._ready.append(index)
            else:
                self._missing[index] = len(missing)
                for other in missing:
                    self._unlocks.setdefault(other, []).append(index)
        return self._ready.popleft() if self._ready else None

    def waiting(self) -> list[Index]:
        return list(self._missing)

    def fail(self, index: Index) -> None:
        """Give up the blocks that need one that failed."""
        self._failed.add(index)
        for other in self._unlocks.pop(index, ()):
            if self._missing.pop(other, None) is not None:
                self._give_up(other, index)

    def take_unmet(self) -> list[tuple[Index, Index]]:
        """Blocks that were given up since the last call, each with the one that it needs."""
        unmet, self._unmet = self._unmet, []
        return unmet

    def _give_up(self, index: Index, needed: Index) -> None:
        self._unmet.append((index, needed))
        self.fail(index)

    def finish(self, index: Index) -> None:
        self._done.add(index)
        for other in self._unlocks.pop(index, ()):
            if other not in self._missing:
                continue  # it was given up
            self._missing[other] -= 1
            if not self._missing[other]:
                del self._missing[other]
                self._ready.append(other)
