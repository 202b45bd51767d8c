"""Clusters on this machine: processes on its cores, or one process a GPU."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

import dask.config
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster

from volproc.cluster.deaths import WatchedNanny
from volproc.cluster.network import Network
from volproc.cluster.patience import NO_WORKERS_S
from volproc.cluster.scheduler import DaskExecutor
from volproc.core.errors import ClusterError

E = TypeVar("E", bound=DaskExecutor)

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
"""Environment variables that size the thread pools inside NumPy, SciPy, numba and torch."""

TCP_TIMEOUT = "30 s"
"""After so long without an answer of the other machine's kernel, a connection is cut."""

WORKER_TTL = "10 minutes"
"""After so long without a sign of life from a worker's process, it is given up. Code that holds the
interpreter's lock keeps a healthy worker silent for minutes."""

ALLOCATOR_VARIABLES = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
}
"""Bytes from which the C library asks the kernel for a piece of memory by itself, and from which it
gives free memory back. These are what it comes to by itself where nobody sets them. Dask sets
65536 for the second, which fixes the first at 131072: then each tensor of a network is mapped,
cleared and unmapped by the kernel, a third of the time of a prediction."""

GPU_DRIVER = Path("/proc/driver/nvidia/gpus")
"""One entry a GPU where NVIDIA's kernel driver is loaded."""


OPEN = (
    "the scheduler listens to other machines without TLS: whoever reaches it can run code as you. "
    "Give ca_file, cert_file and key_file, or leave host and interface out."
)

logger = logging.getLogger(__name__)


def settings(num_threads: int, *, allowed_failures: int) -> dict[str, Any]:
    """Configure scheduler and workers for long tasks that keep nothing in memory.

    Parameters
    ----------
    num_threads : int
        Threads that the libraries inside one call may use.
    allowed_failures : int
        Workers that may die under one task of a lazy array before it is given up. A call comes
        back at the first death, see `volproc.cluster.scheduler.DaskExecutor`.

    Notes
    -----
    A worker gets one call at a time (saturation 1.0), so that a worker that dies blames the one
    call that it ran. Results are small tables: spilling and pausing would only delay what ends
    in being terminated, and a paused worker that has nothing to free would never go on.

    For developers each connection keeps its last messages, a thousand by default, with the calls
    that they hold: a hundred are enough.
    """
    pools = dict.fromkeys(THREAD_VARIABLES, str(num_threads))
    return {
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.allowed-failures": allowed_failures,
        "distributed.scheduler.worker-ttl": WORKER_TTL,
        "distributed.scheduler.no-workers-timeout": f"{NO_WORKERS_S:g} s",
        "distributed.admin.low-level-log-length": 100,
        "distributed.comm.timeouts.tcp": TCP_TIMEOUT,
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.multiprocessing-method": "spawn",
        "distributed.worker.profile.enabled": False,
        "distributed.nanny.pre-spawn-environ": ALLOCATOR_VARIABLES | pools,
    }


def start_processes(
    *,
    num_workers: int | None,
    threads_per_worker: int,
    memory_limit: int | str | None,
    dashboard_address: str | None,
    allowed_failures: int,
    network: Network,
) -> DaskExecutor:
    """Start worker processes on this machine, reachable from this machine only.

    Parameters are those of `volproc.cluster.connect`.

    Raises
    ------
    ClusterError
        If the processes cannot be started.
    """
    workers = num_workers or max(1, CPU_COUNT // threads_per_worker)
    return launch(
        LocalCluster,
        worker_class=WatchedNanny,
        num_threads=max(1, CPU_COUNT // (workers * threads_per_worker)),
        allowed_failures=allowed_failures,
        n_workers=workers,
        threads_per_worker=threads_per_worker,
        memory_limit=memory_limit or 0,
        dashboard_address=choose_dashboard(dashboard_address),
        network=network,
    )


def start_gpus(
    *,
    num_workers: int | None,
    memory_limit: int | str | None,
    dashboard_address: str | None,
    allowed_failures: int,
    network: Network,
) -> DaskExecutor:
    """Start one process with one thread for each visible GPU.

    Nothing stays on a GPU between calls but the model, so neither spilling from the device nor a
    second memory pool is set up. Parameters are those of `volproc.cluster.connect`.

    Raises
    ------
    ClusterError
        If there is no GPU, if dask-cuda is not installed, or if it cannot start.
    """
    lacks = []
    if not count_gpus():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        lacks.append(
            "no NVIDIA GPU is visible"
            + (f" (CUDA_VISIBLE_DEVICES is {visible!r})" if visible is not None else "")
        )
    if find_spec("dask_cuda") is None:
        lacks.append('dask-cuda is not installed (pip install "volproc[cuda]")')
    if lacks:
        msg = (
            f"a cluster of GPUs cannot be started: {', and '.join(lacks)}. Use --cluster local "
            "for processes on the CPU, or run on a machine with a GPU."
        )
        raise ClusterError(msg)
    asked: dict[str, Any] = {} if num_workers is None else {"n_workers": num_workers}
    return launch(
        import_module("dask_cuda").LocalCUDACluster,
        worker_class=WatchedNanny,
        num_threads=max(1, CPU_COUNT // (num_workers or count_gpus())),
        allowed_failures=allowed_failures,
        threads_per_worker=1,
        memory_limit=memory_limit or 0,
        device_memory_limit=0,
        dashboard_address=choose_dashboard(dashboard_address),
        network=network,
        **asked,
    )


def count_gpus() -> int:
    """NVIDIA GPUs that are there and not hidden, found without loading CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        chosen = [name for name in visible.split(",") if name.strip() not in ("", "-1")]
        if not chosen:
            return 0
    else:
        chosen = []
    entries = list(GPU_DRIVER.iterdir()) if GPU_DRIVER.is_dir() else []
    # Where the driver has no folder (WSL), its own tool tells that there is one.
    found = len(entries) or int(shutil.which("nvidia-smi") is not None)
    return min(len(chosen), found) if chosen and found else found


def choose_dashboard(address: str | None) -> str:
    """Address of the dashboard: a free port of this machine by default.

    Raises
    ------
    ClusterError
        If one was asked for and bokeh is not installed.
    """
    if address is not None and not _has_bokeh():
        msg = (
            f"a dashboard at {address} needs bokeh, which is not installed. Install it "
            "(pip install bokeh), or leave the dashboard's address out."
        )
        raise ClusterError(msg)
    return address or "127.0.0.1:0"


def _has_bokeh() -> bool:
    return find_spec("bokeh") is not None


def launch(
    make: Any,
    *,
    num_threads: int,
    allowed_failures: int,
    network: Network,
    changes: Mapping[str, Any] | None = None,
    executor_type: Callable[..., E] = DaskExecutor,  # type: ignore[assignment]
    **arguments: Any,
) -> E:
    """Start a cluster and connect to it.

    Parameters
    ----------
    make : callable
        Makes the cluster from ``arguments``, ``host`` or ``interface``, and certificates.
    num_threads, allowed_failures : int
        See `settings`.
    network : Network
        Where its scheduler listens.
    changes : mapping
        Settings other than `settings`.
    executor_type : callable
        Makes the executor.
    **arguments
        Further ones of ``make``.

    Raises
    ------
    ClusterError
        If it cannot be started.
    """
    where: dict[str, Any] = {**network.listens}
    if network.has_certificates:
        where |= {"security": network.security(), "protocol": "tls://"}
    elif network.is_open:
        logger.warning(OPEN)
    chosen = settings(num_threads, allowed_failures=allowed_failures) | dict(changes or {})
    names = chosen["distributed.nanny.pre-spawn-environ"]
    before = {name: os.environ.get(name) for name in names}
    executor = None
    try:
        with dask.config.set(chosen), _hold_interrupts():
            cluster = make(**where, silence_logs=logging.CRITICAL, **arguments)
            client = Client(cluster, set_as_default=False)
            executor = executor_type(
                client, cluster=cluster, has_dashboard=_has_bokeh(), environment=before
            )
    except KeyboardInterrupt:
        if executor is not None:
            executor.close()
        raise
    except (RuntimeError, OSError, TimeoutError, ValueError) as error:
        msg = (
            f"the cluster could not be started: {error}. If this is a script, keep its work under "
            'if __name__ == "__main__":, because each worker process imports the script.'
        )
        raise ClusterError(msg) from error
    return executor


@contextmanager
def _hold_interrupts() -> Iterator[None]:
    """Let Ctrl-C wait for the end of a start, and keep it from the workers.

    A cluster that is interrupted while it starts cannot be closed. A terminal sends Ctrl-C to
    workers too, which would die in the middle of a block before this process can stop them; the
    thread and the processes that are started meanwhile inherit that the signal is blocked.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    # Python's own tracker of shared resources leaves the signal unblocked in the thread that starts
    # it, which would be the one that starts the workers.
    resource_tracker.ensure_running()
    seen: list[int] = []
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, lambda n, _: seen.append(n)) for number in signals}
    blocks = hasattr(signal, "pthread_sigmask")
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if blocks else set()
    try:
        yield
    finally:
        if blocks:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
    if seen:
        handler = before[seen[0]]
        if callable(handler):
            handler(seen[0], None)
        raise KeyboardInterrupt(seen[0])
