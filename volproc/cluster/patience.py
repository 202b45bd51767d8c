"""Ends a wait for workers that do not come back, where the scheduler itself would wait for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from distributed import Client

NO_WORKERS_S = 300.0
"""Seconds without a worker after which calls under way are given up: on a busy machine workers
that were killed need a minute to come back."""

PERIOD_S = 2.0
"""Seconds between two looks."""


class Patience(threading.Thread):
    """Looks for workers of a scheduler that somebody else has started.

    Schedulers that this package starts are told themselves how long to wait.

    Parameters
    ----------
    client : distributed.Client
        Connection to the scheduler.
    is_waiting : callable
        Whether calls are under way.
    give_up : callable
        Takes the reason, once.
    """

    def __init__(
        self, client: Client, is_waiting: Callable[[], bool], give_up: Callable[[str], None]
    ) -> None:
        super().__init__(name="volproc-patience", daemon=True)
        self._client = client
        self._is_waiting = is_waiting
        self._give_up = give_up
        self._stopped = threading.Event()

    def run(self) -> None:
        """Look until there has been no worker for too long, or until stopped."""
        last_s = time.monotonic()
        while not self._stopped.wait(min(PERIOD_S, NO_WORKERS_S / 4)):
            try:
                has_workers = bool(self._client.scheduler_info(n_workers=-1)["workers"])
            except (OSError, RuntimeError, AttributeError):
                return  # the connection is gone, and calls end with it
            if has_workers or not self._is_waiting():
                last_s = time.monotonic()
            elif time.monotonic() - last_s > NO_WORKERS_S:
                self._give_up(
                    f"no worker is left, and none came back within {NO_WORKERS_S:g} s. Look for "
                    "the cause in the workers' log, start workers, and run the same command "
                    "again: finished blocks are not done again."
                )
                return

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
