"""How workers end: told by their nannies, asked for by the client whose call they ran."""

from __future__ import annotations

import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client, Nanny, Status
from distributed.diagnostics.plugin import SchedulerPlugin

from volproc.core.errors import DeathCause

EXIT_TOPIC = "volproc-worker-exit"
"""Events of `WatchedNanny`: one an ended worker process."""

MEMORY_TOPIC = "worker-restart-memory"
"""Events of Dask's nannies: one a worker that is ended at its memory limit."""

MAX_STARTS = 3
"""Times that a worker process is started, if it is killed before it has come up."""

KERNEL_COUNTS = Path("/proc/vmstat")
"""Where Linux counts the processes that it ended for want of memory."""


@dataclass(frozen=True, slots=True)
class Death:
    """How one worker ended."""

    cause: DeathCause
    """What is known of it."""

    text: str
    """The same for people, after "its worker"."""


class WatchedNanny(Nanny):
    """Nanny that tells the scheduler how its worker process ended.

    Dask's own one keeps the exit status to itself; without it a crash of the code inside looks
    like a kill from outside.
    """

    _kernel_kills = 0

    async def instantiate(self) -> Status:
        """Start the worker process; again, if it is killed while it starts."""
        self._kernel_kills = count_kernel_kills()
        status = await super().instantiate()
        for _ in range(MAX_STARTS - 1):
            if status != Status.stopped:
                break
            status = await super().instantiate()
        return status

    def _on_worker_exit_sync(self, exitcode: int) -> None:
        if self.status == Status.running:
            is_kernel = count_kernel_kills() > self._kernel_kills
            event = {"worker": self.worker_address, "exitcode": exitcode, "kernel": is_kernel}
            self.log_event(EXIT_TOPIC, event)
        super()._on_worker_exit_sync(exitcode)


def count_kernel_kills() -> int:
    """Processes that the kernel of this machine has ended for want of memory; 0 if not told."""
    try:
        found = re.search(r"^oom_kill (\d+)$", KERNEL_COUNTS.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def find_death(client: Client, worker: str, *, wait_s: float) -> Death:
    """Ask the scheduler what the nannies said of a worker that died.

    Parameters
    ----------
    client : distributed.Client
        Connection to the scheduler.
    worker : str
        Address of the worker.
    wait_s : float
        Seconds to wait for the nanny's word, which comes on another way than the death.
    """
    deadline = time.monotonic() + wait_s
    while True:
        if event := _last_event(client, MEMORY_TOPIC, worker):
            return Death(
                "memory", f"came to {event['rss'] / 1e9:.2f} GB, too near its memory limit"
            )
        if event := _last_event(client, EXIT_TOPIC, worker):
            return judge_exit(event["exitcode"], is_kernel=event["kernel"])
        if time.monotonic() > deadline:
            return Death("unknown", "was lost")
        time.sleep(0.05)


def judge_exit(exitcode: int, *, is_kernel: bool) -> Death:
    """Say what an exit status means.

    >>> judge_exit(-11, is_kernel=False)
    Death(cause='crash', text='crashed (SIGSEGV)')
    >>> judge_exit(-9, is_kernel=False).cause, judge_exit(-9, is_kernel=True).cause
    ('killed', 'memory')
    """
    if exitcode >= 0:
        return Death("crash", f"ended by itself, with exit status {exitcode}")
    name = signal.Signals(-exitcode).name
    if -exitcode == signal.SIGKILL and is_kernel:
        return Death("memory", "was ended by the kernel, as the machine's memory was full")
    if -exitcode in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        return Death("killed", f"was killed ({name})")
    return Death("crash", f"crashed ({name})")


def make_blame_plugin(token: str) -> SchedulerPlugin:
    """Make what lets the scheduler give a call back at the first death of its worker.

    Lazy arrays keep the scheduler's own bound of deaths (``allowed-failures``), since nobody else
    counts for them.

    Parameters
    ----------
    token : str
        Part of the keys of the calls.

    Notes
    -----
    The class is defined here so that it travels by value: a scheduler needs no volproc.
    """

    class FirstDeath(SchedulerPlugin):
        name = f"volproc-first-death-{token}"

        def update_graph(self, scheduler: Any, *, keys: Any, **others: Any) -> None:
            for key in keys:
                if token in str(key) and key in scheduler.tasks:
                    scheduler.tasks[key].suspicious = scheduler.allowed_failures

    return FirstDeath()


def _last_event(client: Client, topic: str, worker: str) -> dict[str, Any]:
    """Last word on a worker; empty if there is none."""
    events = client.get_events(topic) or ()
    return next((said for _, said in reversed(list(events)) if said["worker"] == worker), {})
