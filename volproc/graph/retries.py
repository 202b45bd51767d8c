"""Who is to blame when workers die: blocks are suspects, and poison only if they kill alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from volproc.core.errors import DeathCause, WorkerDiedError
from volproc.core.types import Index

Work = Callable[[Index], Any]
"""What is done for one block; pickled to workers. A dict that it returns is its facts.

It may have ``smaller()``, which returns the same work with less memory, or None where there is
no less; and ``place(index)``, which says for people where a block is."""

MAX_ATTEMPTS = 3
"""Workers that a block may take down alone, by its memory or by crashing."""

MAX_KILLS = 11
"""Workers that may be lost under a block alone for no reason known: ten kills by somebody else
fail no run, and a block that has itself killed is not tried for ever."""

CURES: dict[DeathCause, str] = {
    "memory": "Use smaller chunks (--chunks), a smaller batch (--batch-size), fewer workers, or "
    "more memory for each (--memory-limit).",
    "crash": "What it runs crashes on this block: look into the workers' log, and at the voxels "
    "of the block.",
    "killed": "Most often that is the memory of the whole machine: use fewer workers or smaller "
    "chunks (--chunks), or find out in the system's log who killed them.",
    "unknown": "Most often that is memory: use smaller chunks (--chunks), fewer workers or more "
    "memory for each (--memory-limit), or look for the cause in the workers' log.",
}
"""What people can do, by how the workers ended."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a block after an error."""

    again: Literal["together", "alone", "never"]
    """Tried again beside others, tried again while nothing else runs, or given up."""

    text: str = ""
    """Why it is tried again, for people."""

    error: BaseException | None = None
    """Why it was given up."""


class Retries:
    """Score of the blocks of one stage, and the work of each.

    Parameters
    ----------
    work : callable
        Does one block.
    stage : str
        Name of the stage, for messages.
    max_attempts : int
        Workers that a block may take down alone, by its memory or by crashing.

    Notes
    -----
    A scheduler blames every call that a dead worker held. So a death beside others makes a block
    a suspect only: it is tried again, from its second death on while nothing else runs. Only then
    deaths count against it.
    """

    def __init__(self, work: Work, stage: str, *, max_attempts: int = MAX_ATTEMPTS) -> None:
        self._usual = work
        self._stage = stage
        self._max_attempts = max_attempts
        self._works: dict[Index, Work] = {}
        self._num_deaths: Counter[Index] = Counter()
        self._num_alone: Counter[tuple[Index, DeathCause]] = Counter()

    def work(self, index: Index) -> Work:
        """Work of a block: the usual one, or a smaller one after it ran out of memory."""
        return self._works.get(index, self._usual)

    def succeed(self, index: Index) -> None:
        """Forget a block; what was small enough for it is used for all that follow."""
        self._usual = self._works.pop(index, self._usual)
        self._num_deaths.pop(index, None)

    def judge(self, index: Index, error: BaseException, *, was_alone: bool) -> Verdict:
        """Say what becomes of a block after an error."""
        is_death = isinstance(error, WorkerDiedError)
        if not is_death and not isinstance(error, MemoryError):
            return Verdict("never", error=error)
        cause: DeathCause = error.cause if isinstance(error, WorkerDiedError) else "memory"
        reason = f"its worker {error.reason}" if isinstance(error, WorkerDiedError) else str(error)
        if cause == "memory" and (smaller := _smaller(self.work(index))) is not None:
            self._works[index] = smaller
            return Verdict("together", f"{reason}, and its batch is halved")
        self._num_deaths[index] += 1
        if was_alone:
            self._num_alone[index, cause] += 1
            limit = self._max_attempts if cause in ("memory", "crash") else MAX_KILLS
            # A call that says itself that memory is short says the same the next time.
            if self._num_alone[index, cause] >= limit or not is_death:
                return Verdict("never", error=self._poison(index, error, cause))
        if self._num_deaths[index] > 1 or not is_death:
            return Verdict("alone", f"{reason}, and it waits until nothing else runs")
        return Verdict("together", reason)

    def _poison(self, index: Index, error: BaseException, cause: DeathCause) -> BaseException:
        """Error of a block that fails alone."""
        if not isinstance(error, WorkerDiedError):
            error.add_note(f"also while nothing else ran. {CURES['memory']}")
            return error
        number = self._num_alone[index, cause]
        msg = (
            f"block {index} of {self._stage}{self._place(index)} took {number} "
            f"worker{'s' * (number > 1)} down while nothing else ran: the last one, "
            f"{error.worker or 'of unknown address'}, {error.reason}. {CURES[cause]}"
        )
        poison = WorkerDiedError(msg, worker=error.worker, cause=cause, reason=error.reason)
        poison.__cause__ = error
        return poison

    def _place(self, index: Index) -> str:
        place = getattr(self.work(index), "place", None)
        return f", {place(index)}," if place else ""


def _smaller(work: Work) -> Work | None:
    smaller = getattr(work, "smaller", None)
    return smaller() if smaller else None
