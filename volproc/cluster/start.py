"""The one way to something that runs tasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volproc.cluster.jobs import JobPool
from volproc.cluster.network import Network
from volproc.cluster.session import HereExecutor, Session, ThreadExecutor, count_cores
from volproc.core.errors import ClusterError, nearest

KINDS = ("serial", "synchronous", "threads", "local", "cuda", "slurm")
"""Words that `connect` knows; anything else is the address of a scheduler."""


def connect(
    spec: str = "serial",
    *,
    num_workers: int | None = None,
    threads_per_worker: int = 1,
    memory_limit: int | str | None = None,
    dashboard_address: str | None = None,
    timeout_s: float = 5.0,
    allowed_failures: int = 10,
    network: Network | None = None,
    pools: Mapping[str, JobPool] | None = None,
    log_folder: str = "slurm-logs",
    period_s: float = 30.0,
) -> Session:
    """Start or reach something that runs tasks.

    Parameters
    ----------
    spec : str
        ``serial`` (or ``synchronous``): in this thread. ``threads``: in threads of this process.
        ``local``: in processes on this machine. ``cuda``: in one process a GPU of this machine.
        ``slurm``: in jobs of SLURM. ``tcp://HOST:PORT`` or ``tls://HOST:PORT``: on a Dask
        scheduler that runs already; or the path of its scheduler file.
    num_workers : int, optional
        Threads of ``threads``, processes of ``local`` and ``cuda``. By default one a core that
        this process may use, one a GPU.
    threads_per_worker : int
        Calls that one process of ``local`` runs at the same time.
    memory_limit : int or str, optional
        Memory of one worker process, in bytes or as ``"8 GiB"``; a worker that comes near it is
        ended and its block tried again. By default there is no limit.
    dashboard_address : str, optional
        Where the dashboard of ``local`` and ``cuda`` listens, ``HOST:PORT``. By default a free
        port of this machine only, and nowhere if bokeh is not installed.
    timeout_s : float
        Seconds to wait for a scheduler at an address, and again for its first worker.
    allowed_failures : int
        Workers of ``local`` and ``cuda`` that may die under one task of a lazy array before it is
        given up. For stages of a run, `volproc.graph.run` keeps count itself.

    Returns
    -------
    executor : Session
        To be used in a ``with`` block, inside which Dask computes lazy arrays there too.

    Raises
    ------
    ClusterError
        If it cannot be started or reached; the message says what to do.

    Notes
    -----
    Thread pools inside NumPy, numba and torch are sized in the worker processes, so that all
    workers together use each core once; variables such as ``OMP_NUM_THREADS`` that are set
    already are kept.

    Examples
    --------
    >>> with connect("threads", num_workers=2) as executor:
    ...     executor.submit("sum", sum, [1, 2, 3])
    ...     list(executor.completed())
    [('sum', 6, None)]
    """
    for name, value in (("num_workers", num_workers), ("threads_per_worker", threads_per_worker)):
        if value is not None and value < 1:
            msg = f"{name} must be at least 1, got {value}. Leave it out to use every core."
            raise ClusterError(msg)
    if spec in ("serial", "synchronous"):
        return HereExecutor()
    if spec == "threads":
        return ThreadExecutor(num_workers or count_cores())
    if spec in ("local", "cuda"):
        return _start_here(
            spec,
            num_workers,
            threads_per_worker,
            memory_limit=memory_limit,
            dashboard_address=dashboard_address,
            allowed_failures=allowed_failures,
            network=network or Network(),
        )
    if num_workers is not None or memory_limit is not None:
        _refuse_sizes(spec)
    if spec == "slurm":
        from volproc.cluster.slurm import start_slurm  # loads distributed

        return start_slurm(
            pools or {},
            network=network or Network(),
            log_folder=log_folder,
            dashboard_address=dashboard_address,
            allowed_failures=allowed_failures,
            period_s=period_s,
        )
    if "://" in spec or spec.endswith(".json") or Path(spec).is_file():
        from volproc.cluster.reach import reach  # loads distributed: only where it is used

        return reach(spec, timeout_s=timeout_s, network=network)
    msg = (
        f'"{spec}" is not a cluster, {nearest(spec, KINDS)} Or give the address of a scheduler as '
        "tcp://HOST:PORT, or the path of its scheduler file."
    )
    raise ClusterError(msg)


def _refuse_sizes(spec: str) -> None:
    """Refuse sizes of workers that are not started here: they would be ignored."""
    if spec == "slurm":
        cure = "Set jobs, processes and memory_gib of its pools"
    elif "://" in spec or Path(spec).is_file():
        cure = "Give them where its workers are started"
    else:
        return  # no cluster at all, which is said in its turn
    msg = (
        f"the number of workers and their memory cannot be chosen here for {spec}. {cure}, and "
        "leave --workers and --memory-limit out."
    )
    raise ClusterError(msg)


def _start_here(
    spec: str, num_workers: int | None, threads_per_worker: int, **arguments: Any
) -> Session:
    """Start processes on this machine."""
    from volproc.cluster.local import start_gpus, start_processes  # loads distributed

    if spec == "cuda":
        return start_gpus(num_workers=num_workers, **arguments)
    return start_processes(
        num_workers=num_workers, threads_per_worker=threads_per_worker, **arguments
    )
