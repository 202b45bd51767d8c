"""Jobs of SLURM: what one asks for, and its script."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from volproc.cluster.network import Network
from volproc.core.errors import ClusterError

PLACEHOLDER = "tls://SCHEDULER:PORT"
"""Stands in a printed script for the address that the scheduler will have."""

MEMORY_SHARE = 0.95
"""Part of a job's memory that its workers may use. A worker over its limit is ended by its nanny,
which says so; a job over its memory is ended by SLURM, nanny and all."""


@dataclass(frozen=True, slots=True)
class JobPool:
    """Jobs of one kind: how many, and what each asks for.

    Parameters
    ----------
    jobs : int
        Jobs that run at the same time, at most.
    walltime_h : float
        Hours after which SLURM ends a job.
    memory_gib : float
        Memory of one job, GiB.
    cores : int
        Cores of one job, shared by its processes.
    processes : int
        Worker processes of one job, each with one thread for calls. With a GPU it is one.
    gpu_request : str
        How a GPU is asked for, as ``--gres=gpu:1``; empty where none is.
    partition, account : str
        Where jobs are queued, and who pays.
    directives : tuple of str
        Further options of sbatch, as ``--constraint=a100``.
    setup : tuple of str
        Lines of shell before the worker starts, as ``module load cuda``.
    python : str
        Interpreter on the nodes; by default the path of the one that runs here.
    drain_min : float
        Minutes before its end from which a worker takes no new block, so that it can finish the
        one that it has.

    Raises
    ------
    ClusterError
        If a number is impossible, or if a value would not stay on its line of the script.
    """

    jobs: int
    walltime_h: float
    memory_gib: float
    cores: int = 1
    processes: int = 1
    gpu_request: str = ""
    partition: str = ""
    account: str = ""
    directives: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    python: str = ""
    drain_min: float = 10.0

    def __post_init__(self) -> None:
        for name in ("jobs", "walltime_h", "memory_gib", "cores", "processes"):
            if not getattr(self, name) > 0:
                msg = f"{name} of a pool of jobs must be positive, got {getattr(self, name)}."
                raise ClusterError(f"{msg} Give what one job needs.")
        if self.processes > self.cores:
            msg = (
                f"{self.processes} processes share {self.cores} cores in each job. Ask for as "
                "many cores as processes at least."
            )
            raise ClusterError(msg)
        if self.gpu_request and self.processes > 1:
            msg = (
                f"{self.processes} processes would share one GPU in each job. Set processes to 1, "
                "and jobs to the number of GPUs."
            )
            raise ClusterError(msg)
        for field in fields(self):
            value = getattr(self, field.name)
            lines = value if isinstance(value, tuple) else (value,)
            if any(isinstance(line, str) and "\n" in line for line in lines):
                msg = (
                    f"{field.name} of a pool of jobs holds a line break, got {value!r}. Remove it."
                )
                raise ClusterError(msg)

    @property
    def num_workers(self) -> int:
        """Calls that run at the same time when all jobs run."""
        return self.jobs * self.processes

    @property
    def walltime_s(self) -> int:
        """Seconds after which SLURM ends a job."""
        return max(1, round(self.walltime_h * 3600))

    @property
    def stagger_s(self) -> int:
        """Seconds by which lifetimes differ up and down, so that workers do not leave together."""
        return round(min(600.0, 0.05 * self.walltime_s))

    @property
    def lifetime_s(self) -> int:
        """Seconds from the start of a job after which its worker leaves, give or take the stagger.

        The latest still leaves before SLURM would end it.
        """
        return self.walltime_s - self.stagger_s - round(min(120.0, 0.05 * self.walltime_s))

    @property
    def drain_s(self) -> float:
        """Seconds before a worker leaves from which it takes no new block."""
        return min(60.0 * self.drain_min, 0.5 * self.lifetime_s)

    @property
    def worker_bytes(self) -> int:
        """Memory of one worker process, bytes."""
        return int(self.memory_gib * 2**30 * MEMORY_SHARE / self.processes)


def job_script(
    pool: JobPool,
    *,
    name: str,
    job_name: str,
    log_folder: Path,
    environment: Mapping[str, str],
    scheduler: str = PLACEHOLDER,
    network: Network | None = None,
) -> str:
    """Write the script of one job.

    Parameters
    ----------
    pool : JobPool
        What a job asks for.
    name : str
        Name of the worker, which tells the job by the worker.
    job_name : str
        Name of the job in the queue, the same for the whole pool.
    log_folder : path
        Where SLURM writes what the job says, as ``JOB_NAME-ID.log``.
    environment : mapping of str to str
        Variables that the workers find.
    scheduler : str
        Address to which the worker connects.
    network : Network
        Certificates and interface of the worker.

    Raises
    ------
    ClusterError
        If dask-jobqueue is not installed.

    Notes
    -----
    The lifetime is counted from the start of the job, not of the worker, because loading modules
    and environments may take minutes of the walltime.
    """
    network = network or Network()
    lifetime = f'"$(({pool.lifetime_s} - SECONDS)) s"'
    options = ["--lifetime", lifetime, "--lifetime-stagger", f'"{pool.stagger_s} s"']
    if network.interface:
        options += ["--interface", shlex.quote(network.interface)]
    if network.has_certificates:
        paths = {"ca-file": network.ca_file, "cert": network.cert_file, "key": network.key_file}
        options += ["--protocol", "tls://"]
        for option, path in paths.items():
            options += [f"--tls-{option}", shlex.quote(str(Path(path).expanduser().resolve()))]
    exports = [f"export {key}={shlex.quote(value)}" for key, value in environment.items()]
    job = _load_job_type()(
        scheduler,
        name=name,
        cores=pool.processes,  # threads of its workers, one each
        processes=pool.processes,
        memory=pool.worker_bytes * pool.processes,
        nanny=True,
        death_timeout=120,
        worker_extra_args=options,
        job_extra_directives=_directives(pool, log_folder),
        job_script_prologue=[*exports, *pool.setup],
        shebang="#!/usr/bin/env bash",
        python=shlex.quote(pool.python or sys.executable),
        job_name=job_name,
        queue=pool.partition or None,
        account=pool.account or None,
        walltime=_clock(pool.walltime_s),
        job_cpu=pool.cores,
        job_mem=f"{max(1, round(pool.memory_gib * 1024))}M",
    )
    return job.job_script()


def _load_job_type() -> Any:
    """Import the job of dask-jobqueue, whose import takes Ctrl-C for itself: it is put back."""
    name = "dask_jobqueue.slurm"
    if name in sys.modules:
        return sys.modules[name].SLURMJob
    if find_spec("dask_jobqueue") is None:
        msg = (
            "scripts for SLURM need dask-jobqueue, which is not installed. Install it "
            '(pip install "volproc[slurm]").'
        )
        raise ClusterError(msg)
    if threading.current_thread() is not threading.main_thread():
        msg = (
            "dask-jobqueue can be loaded in the main thread only, because it handles signals. "
            "Connect there, or import dask_jobqueue there before."
        )
        raise ClusterError(msg)
    before = signal.getsignal(signal.SIGINT)
    try:
        return import_module(name).SLURMJob
    finally:
        signal.signal(signal.SIGINT, before)


def _directives(pool: JobPool, log_folder: Path) -> list[str]:
    """Options of sbatch that dask-jobqueue has no word for."""
    log = str(log_folder / "%x-%j.log")
    chosen = [f'-o "{log}"' if " " in log else f"-o {log}", "--open-mode=append"]
    return chosen + [pool.gpu_request] * bool(pool.gpu_request) + list(pool.directives)


def _clock(seconds: int) -> str:
    """Time as SLURM has it, ``D-HH:MM:SS``.

    >>> _clock(90061)
    '1-01:01:01'
    """
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    return f"{day}-{hour:02}:{minute:02}:{second:02}"
