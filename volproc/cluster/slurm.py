"""Workers that are jobs of SLURM: one pool with a GPU each, one without."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from distributed import LocalCluster

from volproc.cluster.drain import Drain
from volproc.cluster.jobs import PLACEHOLDER, JobPool, job_script
from volproc.cluster.local import choose_dashboard, launch, settings
from volproc.cluster.network import Network, make_certificates
from volproc.cluster.scheduler import MEMORY_SHARE, DaskExecutor
from volproc.cluster.session import Session
from volproc.cluster.slurm_queue import SlurmQueue
from volproc.cluster.supervisor import Supervisor, Wishes
from volproc.core.errors import ClusterError

KINDS = ("gpu", "cpu")
"""Pools that there may be; the first that is there runs what does not choose."""


class PoolExecutor(DaskExecutor):
    """Runs calls on the workers of one pool, for which jobs are asked when there are calls.

    Parameters
    ----------
    client, cluster, has_dashboard, environment
        As of `volproc.cluster.scheduler.DaskExecutor`.
    pool : JobPool
        What to ask for.
    """

    def __init__(self, client: Any, *, pool: JobPool, cluster: Any, **arguments: Any) -> None:
        super().__init__(client, cluster=cluster, **arguments)
        self.pool = pool
        self._scheduler = cluster.scheduler
        self._supervisor: Supervisor | None = None
        client.register_plugin(Drain(pool.drain_s))

    @property
    def num_workers(self) -> int:
        """Calls that run at the same time when all jobs run, or now, whatever is more."""
        return max(super().num_workers, self.pool.num_workers)

    @property
    def call_memory_bytes(self) -> int:
        """Memory that one call may use, whether its job runs yet or not."""
        return int(MEMORY_SHARE * self.pool.worker_bytes)

    def supervise(
        self, wishes: Wishes, queue: SlurmQueue, write_script: Callable[..., str]
    ) -> None:
        """Begin to ask for jobs whenever there are calls."""
        self._supervisor = Supervisor(
            wishes,
            queue,
            write_script=lambda name: write_script(name=name, scheduler=self._scheduler.address),
            count_calls=lambda: len(self._scheduler.tasks),
            list_workers=lambda: {str(w.name) for w in list(self._scheduler.workers.values())},
            give_up=lambda error: self.give_up(str(error)),
        )
        self._supervisor.start()

    def submit(self, key: str, function: Callable[..., Any], *args: Any) -> None:
        """Begin one call on any worker of the pool, as soon as there is one.

        Raises
        ------
        ClusterLostError
            If the scheduler is gone, or no worker can be had.
        """
        super().submit(key, function, *args)
        if self._supervisor is not None:
            self._supervisor.wake()

    def close(self) -> None:
        """Cancel what is under way, end the jobs and the scheduler."""
        try:
            super().close()
        finally:
            if self._supervisor is not None:
                self._supervisor.stop()


class SlurmSession(Session):
    """Pools of jobs behind one executor.

    What does not choose a pool runs in the first; see `volproc.core.executor.pool_of`.

    Parameters
    ----------
    pools : mapping of str to PoolExecutor
        ``gpu``, ``cpu`` or both.
    certificates : path, optional
        Folder of certificates that were made for this session; removed at the end.
    """

    has_processes = True

    def __init__(self, pools: Mapping[str, PoolExecutor], certificates: Path | None = None) -> None:
        self.pools = dict(pools)
        self._first = next(self.pools[kind] for kind in KINDS if kind in self.pools)
        self._certificates = certificates
        shown = [f"{pool.dashboard} ({kind})" for kind, pool in pools.items() if pool.dashboard]
        self.dashboard = ", ".join(shown) if len(shown) > 1 else self._first.dashboard

    @property
    def client(self) -> Any:
        """Connection to the scheduler of the first pool."""
        return self._first.client

    @property
    def num_workers(self) -> int:
        """Calls that run at the same time in the first pool."""
        return self._first.num_workers

    @property
    def call_memory_bytes(self) -> int:
        """Memory that one call may use in the first pool."""
        return self._first.call_memory_bytes

    def submit(self, key: str, function: Callable[..., Any], *args: Any) -> None:
        """Begin one call in the first pool."""
        self._first.submit(key, function, *args)

    def completed(self) -> Iterator[tuple[str, Any, BaseException | None]]:
        """Yield (key, result, error) of the first pool's calls as they end."""
        return self._first.completed()

    def as_current(self) -> AbstractContextManager[Any]:
        """Let Dask compute in the first pool."""
        return self._first.as_current()

    def close(self) -> None:
        """End all pools, and remove their certificates."""
        with ExitStack() as stack:
            if self._certificates is not None:
                stack.callback(shutil.rmtree, self._certificates, ignore_errors=True)
            for pool in self.pools.values():
                stack.callback(pool.close)


def start_slurm(
    pools: Mapping[str, JobPool],
    *,
    network: Network,
    log_folder: str | Path,
    dashboard_address: str | None,
    allowed_failures: int,
    period_s: float,
) -> SlurmSession:
    """Start a scheduler here for each pool, and ask SLURM for workers whenever there are calls.

    Parameters are those of `volproc.cluster.connect`.

    Raises
    ------
    ClusterError
        If a pool is missing, if SLURM or dask-jobqueue is not there, if other machines could not
        reach the scheduler, or if the schedulers cannot be started.

    Notes
    -----
    Two schedulers, because one that places calls by annotations of theirs loses, spreads or does
    not queue them. Connections are encrypted and both sides show certificates, because other
    users of the cluster reach the scheduler too, and whoever is let in can run code.
    """
    check_pools(pools, network)
    queue = SlurmQueue()
    folder = Path(log_folder).expanduser().resolve()
    token = uuid4().hex[:8]
    for kind, pool in pools.items():  # refuses what cannot be written before anything is started
        write_script(pool, kind, folder, network)
    try:
        folder.mkdir(parents=True, exist_ok=True)  # SLURM ends a job at once that cannot log
    except OSError as error:
        msg = f"the logs of jobs cannot be written into {folder}: {error}. Give another log_folder."
        raise ClusterError(msg) from error
    with ExitStack() as stack:
        made = None
        if not network.has_certificates:
            made = folder / f"certificates-{token}"
            network = make_certificates(made, network)
            stack.callback(shutil.rmtree, made, ignore_errors=True)
        started: dict[str, PoolExecutor] = {}
        for kind in (kind for kind in KINDS if kind in pools):
            pool, job_name = pools[kind], f"volproc-{kind}-{token}"
            started[kind] = launch(
                LocalCluster,
                num_threads=pool.cores // pool.processes,
                allowed_failures=allowed_failures,
                network=network,
                changes={"distributed.scheduler.no-workers-timeout": None},
                executor_type=partial(PoolExecutor, pool=pool),
                n_workers=0,
                dashboard_address=choose_dashboard(None if started else dashboard_address),
            )
            stack.callback(started[kind].close)
            started[kind].supervise(
                Wishes(job_name, pool.jobs, pool.processes, folder, period_s),
                queue,
                partial(write_script, pool, kind, folder, network, job_name=job_name),
            )
        stack.pop_all()
    return SlurmSession(started, made)


def check_pools(pools: Mapping[str, JobPool], network: Network) -> None:
    """Refuse pools of which no worker could come.

    Raises
    ------
    ClusterError
        If there is none, one of another kind, or if the scheduler would listen on loopback only.
    """
    if not pools or set(pools) - set(KINDS):
        msg = (
            f"a cluster of SLURM needs pools of jobs, gpu or cpu or both, got "
            f"{', '.join(pools) or 'none'}. Begin with configs/cluster-slurm.yaml."
        )
        raise ClusterError(msg)
    if not (network.host or network.interface):
        msg = (
            "jobs of SLURM run on other machines, and the scheduler would listen on 127.0.0.1 "
            "only. Give interface, the name of the network that nodes share (as ib0), or host."
        )
        raise ClusterError(msg)


def write_script(
    pool: JobPool,
    kind: str,
    log_folder: Path,
    network: Network,
    *,
    name: str = "NAME",
    job_name: str = "",
    scheduler: str = PLACEHOLDER,
) -> str:
    """Write the script of a job, with the variables that its workers need.

    Raises
    ------
    ClusterError
        If dask-jobqueue is not installed.
    """
    chosen = settings(pool.cores // pool.processes, allowed_failures=0)
    environment = dict(chosen.pop("distributed.nanny.pre-spawn-environ"))
    for key, value in chosen.items():
        if key.startswith(("distributed.worker.", "distributed.comm.")):
            variable = key.upper().replace(".", "__").replace("-", "_")
            environment[f"DASK_{variable}"] = str(value)
    return job_script(
        pool,
        name=name,
        job_name=job_name or f"volproc-{kind}",
        log_folder=log_folder,
        environment=environment,
        scheduler=scheduler,
        network=network,
    )
