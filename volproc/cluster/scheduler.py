"""Calls on a Dask scheduler, local or far: one future a call, released when it is consumed."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any
from uuid import uuid4

import dask.config
from distributed import Client, Future
from distributed.scheduler import KilledWorker, NoWorkerError

from volproc.cluster.deaths import Death, find_death, make_blame_plugin
from volproc.cluster.patience import Patience
from volproc.cluster.session import Session
from volproc.cluster.versions import CURE, SameVersions, ask_versions, check_workers, lacks_volproc
from volproc.core.errors import ClusterLostError, VersionError, WorkerDiedError

logger = logging.getLogger(__name__)

DEATH_WAIT_S = 2.0
"""Seconds to wait for a nanny of ours to say how its worker ended; for others, a quarter."""

MEMORY_SHARE = 0.9
"""Part of a worker's memory that a call may plan to use: at 95 % its nanny ends it."""


class DaskExecutor(Session):
    """Runs calls on the workers of a Dask scheduler.

    Parameters
    ----------
    client : distributed.Client
        Connection to the scheduler; closed with this executor.
    cluster : distributed cluster, optional
        What was started for this executor, and ends with it.
    has_dashboard : bool
        Whether the scheduler's dashboard has pages to show.
    environment : dict of str
        Environment variables of this process before the cluster was started. They are put back
        at the end, because a nanny sets those of its workers in its own process too.

    Notes
    -----
    Calls are submitted by explicit keys that never repeat, so that a second attempt is not
    answered from the first one's result. Each future is released as soon as its outcome was
    handed over: results that the client holds on to would stay in a worker's memory. A worker's
    death comes back at once as an error of each call that it held; who is to blame and what is
    tried again is for `volproc.graph.run` to say.
    """

    has_processes = True

    def __init__(
        self,
        client: Client,
        *,
        cluster: Any = None,
        has_dashboard: bool = True,
        environment: dict[str, str | None] | None = None,
    ) -> None:
        self.client = client
        self.dashboard = (client.dashboard_link or "") if has_dashboard else ""
        self._cluster = cluster
        self._environment = environment or {}
        self._ended: queue.SimpleQueue[tuple[str, Any, BaseException | None]] = queue.SimpleQueue()
        self._under_way: dict[str, tuple[str, Future]] = {}
        self._token = uuid4().hex[:8]
        self._numbers = count()
        self._workers: set[str] = set()
        self._trouble = ""
        self._deaths: dict[str, Death] = {}
        self._plugin = make_blame_plugin(self._token)
        client.register_plugin(self._plugin)
        self._patience = Patience(client, lambda: bool(self._under_way), self.give_up)
        if cluster is None:
            self._patience.start()

    @property
    def num_workers(self) -> int:
        """Threads of all workers, now; at least 1.

        Raises
        ------
        VersionError
            If a worker that has joined since the last time has other versions.
        """
        try:
            workers = self.client.nthreads()
            if joined := workers.keys() - self._workers:
                said = self.client.sync(ask_versions, self.client, sorted(joined))
        except (OSError, RuntimeError, AttributeError) as error:  # as a closed client answers
            raise self._lost() from error
        if joined:
            check_workers(said)
        self._workers = set(workers)
        return max(1, sum(workers.values()))

    @property
    def call_memory_bytes(self) -> int | None:
        """Memory that one call may use on any worker, bytes; None where no worker has a limit."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        limits = [worker["memory_limit"] / max(1, worker["nthreads"]) for worker in workers]
        known = [limit for limit in limits if limit]
        return int(MEMORY_SHARE * min(known)) if known else None

    def submit(self, key: str, function: Callable[..., Any], *args: Any) -> None:
        """Begin one call on any worker.

        Raises
        ------
        ClusterError
            If the scheduler is gone.
        """
        name = f"{key}-{self._token}-{next(self._numbers)}"
        if self._trouble or self.client.status != "running":
            raise self._lost()
        future = self.client.submit(SameVersions(function), *args, key=name, pure=False)
        self._under_way[name] = (key, future)
        self.client.loop.add_callback(self._fetch, name, future)

    def completed(self) -> Iterator[tuple[str, Any, BaseException | None]]:
        """Yield (key, result, error) as calls end; a worker that died is an error of its call.

        Raises
        ------
        VersionError
            If a worker that joined has other versions.
        """
        while self._under_way:
            name, result, error = self._ended.get()
            key, future = self._under_way.pop(name)
            future.release()
            yield key, result, None if error is None else self._explain(key, error)

    def give_up(self, why: str) -> None:
        """End all calls under way and refuse further ones, from any thread.

        Parameters
        ----------
        why : str
            What their errors say.
        """
        self._trouble = why
        futures = [Future(key, client=self.client) for key in list(self.client.futures)]
        self.client.cancel(futures, force=True)

    @contextmanager
    def as_current(self) -> Iterator[None]:
        """Let Dask compute on these workers."""
        # Where a scheduler is configured, Dask would not ask for a client. A nanny whose worker
        # needs long to come back, as on a busy machine, would be closed after 15 s.
        chosen = {"scheduler": None, "distributed.deploy.lost-worker-timeout": "1 hour"}
        with dask.config.set(chosen), self.client.as_current():
            yield

    def close(self) -> None:
        """Cancel what is under way, close the connection, stop what was started."""
        self._patience.stop()
        if self.client.status == "running" and self._under_way:
            self.client.cancel([future for _, future in self._under_way.values()], force=True)
        if self._cluster is None and self.client.status == "running":
            with suppress(OSError, TimeoutError):  # the scheduler may be gone by now
                self.client.unregister_scheduler_plugin(self._plugin.name)
        self._under_way.clear()
        self.client.close(timeout=5)
        if self._cluster is not None:
            try:
                self._cluster.close(timeout=30)
            except TimeoutError:  # results are safe: a machine that is busy must not deny them
                logger.warning("the workers did not end within 30 s; they end with this process")
            self._cluster = None
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    async def _fetch(self, name: str, future: Future) -> None:
        """Wait for a call, in the client's own thread, and get its result as soon as there is one.

        Distributed's ``as_completed`` was the other way: each result made the calling thread wait
        for three others, and one that cannot be fetched would never end.
        """
        try:
            self._ended.put((name, await future, None))
        except (Exception, asyncio.CancelledError) as error:  # handed to the caller, who decides
            self._ended.put((name, None, error))

    def _explain(self, key: str, error: BaseException) -> BaseException:
        """Error of a call, as the caller shall see it.

        Raises
        ------
        VersionError
            If it is no fault of the call: each later one would end so too.
        """
        if isinstance(error, KilledWorker):
            return self._killed(key, error)
        if isinstance(error, NoWorkerError):
            return _no_workers(key, error)
        if isinstance(error, CancelledError | asyncio.CancelledError):
            lost = self._lost(key)
            lost.__cause__ = error
            return lost
        if isinstance(error, VersionError):
            raise error
        if lacks_volproc(error):
            msg = f"the cluster has a worker without volproc: {error}. {CURE}"
            raise VersionError(msg) from error
        return error

    def _killed(self, key: str, error: KilledWorker) -> WorkerDiedError:
        """Error of a call whose worker died."""
        worker = error.last_worker.address
        if worker not in self._deaths:
            wait_s = DEATH_WAIT_S if self._cluster is not None else DEATH_WAIT_S / 4
            self._deaths[worker] = find_death(self.client, worker, wait_s=wait_s)
        death = self._deaths[worker]
        msg = (
            f"{key} was under way when its worker at {worker} died: it {death.text}. Run it "
            "again, with smaller chunks or more memory a worker if memory was short."
        )
        died = WorkerDiedError(msg, worker=worker, cause=death.cause, reason=death.text)
        died.__cause__ = error
        return died

    def _lost(self, key: str = "") -> ClusterLostError:
        """Error of a scheduler that went away, or of workers that do not come."""
        if self._trouble:
            return ClusterLostError(self._trouble)
        where = self.client.scheduler.address if self.client.scheduler else "the cluster"
        msg = (
            f"the connection to the scheduler at {where} was lost"
            f"{f' while {key} was under way' if key else ''}. Start the cluster again and run the "
            "same command: finished blocks are not done again."
        )
        return ClusterLostError(msg)


def _no_workers(key: str, error: BaseException) -> ClusterLostError:
    """Error of a call that no worker is left for."""
    msg = (
        f"{key} could not run: no worker is left, and none came back in time. Look for the cause "
        "in the workers' log, start workers, and run the same command again: finished blocks are "
        "not done again."
    )
    gone = ClusterLostError(msg)
    gone.__cause__ = error
    return gone
