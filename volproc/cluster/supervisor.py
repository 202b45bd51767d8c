"""Keeps as many jobs in SLURM as there is work for: dask-jobqueue asks once and never again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Protocol

from volproc.cluster.slurm_queue import QueueError
from volproc.core.errors import ClusterError

logger = logging.getLogger(__name__)

MAX_FAILED = 3
"""Jobs in a row that end before their worker came, after which it is no accident."""

MAX_SILENT = 20
"""Checks in a row that SLURM's controller may leave unanswered while no worker is there."""

LONGEST_WAIT_S = 600.0
"""Longest time between two attempts to submit."""

SETTLE_S = 0.5
"""Time in which calls that belong together arrive."""

LOG_LINES = 15
"""Last lines of a job's log that an error repeats."""


class Queue(Protocol):
    """What runs jobs; see `volproc.cluster.slurm_queue.SlurmQueue`."""

    def submit(self, script: str) -> str:
        """Submit a job and return its number."""
        ...

    def states(self, job_name: str) -> dict[str, str]:
        """Numbers and states of the jobs of a name that wait or run."""
        ...

    def cancel(self, jobs: list[str]) -> None:
        """End jobs."""
        ...

    def cancel_name(self, job_name: str) -> None:
        """End all jobs of a name."""
        ...


@dataclass(slots=True)
class Job:
    """One job, from its submission to its end."""

    name: str
    """Name of its worker."""

    last_seen: float | None = None
    """When its worker was last connected; None before it came."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a supervisor is to keep.

    Parameters
    ----------
    job_name : str
        Name of the jobs in the queue, of no other run.
    jobs : int
        Jobs at the same time, at most.
    processes : int
        Calls that one job runs at the same time.
    log_folder : path
        Where jobs leave ``JOB_NAME-ID.log``.
    period_s : float
        Time between two checks.
    lost_s : float
        Time for which the worker of a running job may be away before the job is replaced.
    idle_s : float
        Time without any call after which all jobs are given back.
    """

    job_name: str
    jobs: int
    processes: int
    log_folder: Path
    period_s: float = 30.0
    lost_s: float = 120.0
    idle_s: float = 300.0


class Supervisor:
    """Compares jobs that are wanted with jobs that are there, and asks for those that lack.

    Parameters
    ----------
    wishes : Wishes
        What to keep.
    queue : Queue
        Where jobs run.
    write_script : callable
        Name of a worker → script of its job.
    count_calls : callable
        Calls that wait or run: without any, no job is asked for.
    list_workers : callable
        Names of the workers that are connected.
    give_up : callable
        Takes the error when jobs end again and again before a worker came, once.
    clock : callable
        Seconds, for tests.

    Notes
    -----
    A job counts as failed if it ends before its worker ever came. After each the next attempt
    waits longer; after `MAX_FAILED` in a row without any worker there, the run is given up, with
    the end of the last log. Jobs that wait in the queue are never given up.
    """

    def __init__(
        self,
        wishes: Wishes,
        queue: Queue,
        *,
        write_script: Callable[[str], str],
        count_calls: Callable[[], int],
        list_workers: Callable[[], set[str]],
        give_up: Callable[[ClusterError], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.wishes = wishes
        self.jobs: dict[str, Job] = {}
        self.num_submitted = 0
        self._queue = queue
        self._write_script = write_script
        self._count_calls = count_calls
        self._list_workers = list_workers
        self._give_up = give_up
        self._clock = clock
        self._num_failed = 0
        self._num_silent = 0
        self._not_before = float("-inf")
        self._last_call = clock()
        self._is_known_to_wait = False
        self._wake = threading.Event()
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, name=f"volproc-supervisor-{wishes.job_name}", daemon=True
        )

    def start(self) -> None:
        """Begin to check, in a thread of its own."""
        self._thread.start()

    def wake(self) -> None:
        """Check now, if there is no job at all: there is something to run."""
        if not self.jobs:
            self._wake.set()

    def stop(self) -> None:
        """End the checks and all jobs."""
        self._is_stopped.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        if not self.num_submitted:
            return
        try:
            self._queue.cancel(list(self.jobs))
            self._queue.cancel_name(self.wishes.job_name)
        except QueueError as error:
            logger.warning(
                "jobs may go on for two minutes: %s. End them with scancel --name %s",
                error, self.wishes.job_name,
            )  # fmt: skip
        self.jobs.clear()

    def check(self) -> None:
        """Compare once, and act."""
        now, workers = self._clock(), self._list_workers()
        try:
            states = self._queue.states(self.wishes.job_name)
        except QueueError as error:
            self._note_silence(error, has_workers=bool(workers))
            return
        self._num_silent = 0
        for number, job in list(self.jobs.items()):
            self._follow(number, job, states, workers, now)
        num_calls = self._count_calls()
        if num_calls:
            self._last_call = now
        elif now - self._last_call > self.wishes.idle_s and self.jobs:
            logger.info("%d idle jobs are given back", len(self.jobs))
            self._cancel(list(self.jobs))
        wanted = min(self.wishes.jobs, ceil(num_calls / self.wishes.processes))
        while len(self.jobs) < wanted and now >= self._not_before:
            if self._is_stopped.is_set() or not self._submit(now, has_workers=bool(workers)):
                return
        self._say_waiting(states, has_workers=bool(workers))

    def _follow(
        self, number: str, job: Job, states: dict[str, str], workers: set[str], now: float
    ) -> None:
        """Find out what became of a job."""
        is_there = any(name in workers for name in self._names(job))
        if is_there:
            if job.last_seen is None:
                self._num_failed = 0
            job.last_seen = now
        if number not in states and not is_there:
            del self.jobs[number]
            if job.last_seen is None:
                cause = f"job {number} ended before its worker came{self._log(number)}"
                self._note_failure(cause, now, has_workers=bool(workers))
            else:
                logger.info("job %s has ended, another one will be asked for", number)
        elif job.last_seen is not None and states.get(number) == "RUNNING":
            away_s = now - job.last_seen
            if away_s > self.wishes.lost_s:
                logger.warning("the worker of job %s is away for %d s", number, away_s)
                self._cancel([number])

    def _names(self, job: Job) -> list[str]:
        """Names that the workers of a job have."""
        if self.wishes.processes == 1:
            return [job.name]
        return [f"{job.name}-{number}" for number in range(self.wishes.processes)]

    def _cancel(self, numbers: list[str]) -> None:
        """End jobs and forget them; what cannot be ended now is tried again."""
        try:
            self._queue.cancel(numbers)
        except QueueError as error:
            logger.warning("%s", error)
            return
        for number in numbers:
            del self.jobs[number]

    def _submit(self, now: float, *, has_workers: bool) -> bool:
        """Ask for one job."""
        name = f"{self.wishes.job_name}-{self.num_submitted}"
        try:
            number = self._queue.submit(self._write_script(name))
        except QueueError as error:
            self._note_failure(str(error), now, has_workers=has_workers)
            return False
        self.num_submitted += 1
        self.jobs[number] = Job(name)
        logger.info("job %s was submitted", number)
        return True

    def _note_failure(self, cause: str, now: float, *, has_workers: bool) -> None:
        """Wait longer after each failure; give up after several in a row without a worker."""
        self._num_failed += 1
        wait_s = min(self.wishes.period_s * 2 ** (self._num_failed - 1), LONGEST_WAIT_S)
        self._not_before = now + wait_s
        first = cause.splitlines()[0]
        if self._num_failed < MAX_FAILED or has_workers or self.jobs:
            logger.warning("%s; tried again in %.0f s", first, wait_s)
            return
        msg = (
            f"SLURM was asked {self._num_failed} times in a row for a worker of "
            f"{self.wishes.job_name}, and none came. The last time {cause}\nTry the script by "
            "hand (volproc cluster script prints it), correct partition, memory, setup or network, "
            "and run the same command again: finished blocks are not done again."
        )
        self._end(msg)

    def _note_silence(self, error: QueueError, *, has_workers: bool) -> None:
        """Wait for a controller that is down for a while; not for ever, if nothing runs."""
        self._num_silent += 1
        if self._num_silent == 1:
            logger.warning("%s", error)
        if self._num_silent >= MAX_SILENT and not has_workers:
            msg = (
                f"SLURM has not answered {self._num_silent} times in a row, and no worker of "
                f"{self.wishes.job_name} is there. The last time {error}. Run the same command "
                "again when it is back: finished blocks are not done again."
            )
            self._end(msg)

    def _end(self, msg: str) -> None:
        """Give the run up."""
        self._is_stopped.set()
        self._give_up(ClusterError(msg))

    def _log(self, number: str) -> str:
        """Last lines of a job's log, for an error."""
        path = self.wishes.log_folder / f"{self.wishes.job_name}-{number}.log"
        try:
            with path.open("rb") as file:
                file.seek(0, 2)
                file.seek(max(0, file.tell() - 8192))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return f", and left no log at {path}"
        return "\n".join([f"; its log {path} ends with", *lines[-LOG_LINES:]])

    def _say_waiting(self, states: dict[str, str], *, has_workers: bool) -> None:
        """Say once that all jobs wait, lest it looks like a hang."""
        is_waiting = bool(self.jobs) and not has_workers
        is_pending = any(states.get(number) == "PENDING" for number in self.jobs)
        if is_waiting and is_pending and not self._is_known_to_wait:
            logger.warning("%d jobs wait in SLURM's queue; none runs yet", len(self.jobs))
        self._is_known_to_wait = is_waiting and (is_pending or self._is_known_to_wait)

    def _watch(self) -> None:
        """Check now and then, until stopped."""
        while not self._is_stopped.is_set():
            if self._wake.wait(self.wishes.period_s):
                self._wake.clear()
                if self._is_stopped.wait(SETTLE_S):
                    return
            try:
                self.check()
            except Exception as error:  # a thread that ends in silence would let the run hang
                msg = f"the jobs of {self.wishes.job_name} cannot be looked after: {error!r}"
                self._end(msg)
                raise
