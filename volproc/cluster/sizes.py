"""How many calls a cluster would run at the same time, and in what memory, before it is started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from volproc.cluster.jobs import JobPool
from volproc.cluster.local import count_gpus
from volproc.cluster.scheduler import MEMORY_SHARE
from volproc.cluster.session import count_cores


class CallSizes(NamedTuple):
    """What a run would find."""

    num_workers: int
    """Calls at the same time."""

    memory_bytes: int | None
    """Memory that one of them may use; None where no limit is known."""


def expect_sizes(
    spec: str,
    *,
    num_workers: int | None = None,
    threads_per_worker: int = 1,
    memory_limit: int | None = None,
    pools: Mapping[str, JobPool] | None = None,
) -> CallSizes | None:
    """Sizes of what `volproc.cluster.connect` would start for work with a network.

    Parameters are those of `volproc.cluster.connect`; ``memory_limit`` in bytes.

    Returns
    -------
    sizes : CallSizes or None
        None of a scheduler that runs already: it has to be asked.

    Examples
    --------
    >>> expect_sizes("local", num_workers=3, threads_per_worker=2).num_workers
    6
    >>> pools = {"gpu": JobPool(jobs=4, walltime_h=1, memory_gib=32)}
    >>> expect_sizes("slurm", pools=pools)
    CallSizes(num_workers=4, memory_bytes=29377576304)
    """
    if spec in ("serial", "synchronous"):
        return CallSizes(num_workers or 1, None)
    if spec == "threads":
        return CallSizes(num_workers or count_cores(), None)
    if spec in ("local", "cuda"):
        threads = threads_per_worker if spec == "local" else 1
        found = max(1, count_cores() // threads) if spec == "local" else count_gpus() or 1
        limit = int(MEMORY_SHARE * memory_limit / threads) if memory_limit else None
        return CallSizes((num_workers or found) * threads, limit)
    if spec == "slurm" and pools:
        pool = pools["gpu"] if "gpu" in pools else next(iter(pools.values()))
        return CallSizes(num_workers or pool.num_workers, int(MEMORY_SHARE * pool.worker_bytes))
    return None
