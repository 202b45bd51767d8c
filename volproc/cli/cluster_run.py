"""What runs the work of a command: from ``--cluster`` and its like to a session."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from volproc.cli.cluster import job_pools, network_of
from volproc.cluster import connect
from volproc.cluster.session import Session

if TYPE_CHECKING:
    from volproc.config.cluster import ClusterConfig

HERE = ("serial", "synchronous")
"""Clusters that are none: calls run one after another in this thread."""


def cluster_settings(where: str | None, config: ClusterConfig | None = None) -> ClusterConfig:
    """Settings of what runs the work.

    Parameters
    ----------
    where : str
        Value of ``--cluster``: a word or address, which wins over a file, or a YAML file, which
        takes its place.
    config : ClusterConfig
        What a file says.

    Raises
    ------
    ConfigError
        If the YAML file is wrong.
    """
    from volproc.config.cluster import ClusterConfig
    from volproc.config.loading import load

    if where is not None and where.endswith((".yaml", ".yml")):
        return load(where, ClusterConfig)
    settings = config or ClusterConfig()
    return settings if where is None else settings.model_copy(update={"cluster": where})


def _is_here(where: str | None, config: ClusterConfig | None) -> bool:
    """Whether no settings have to be read: that takes a tenth of a small command's time."""
    return config is None and where in (None, *HERE)


def check_sizes(
    where: str | None,
    *,
    workers: int | None,
    memory_limit: int | None,
    config: ClusterConfig | None,
    plans_memory: bool,
) -> None:
    """Refuse sizes of workers where there are none: they would be ignored.

    Parameters
    ----------
    where, workers, memory_limit, config
        As `open_cluster` takes them.
    plans_memory : bool
        Whether the command keeps to a limit of memory without worker processes too.

    Raises
    ------
    click.UsageError
        If it is so; the message names the option that is missing.
    """
    settings = None if _is_here(where, config) else cluster_settings(where, config)
    is_serial = settings is None or settings.cluster in HERE
    if settings is not None and is_serial and where is None and workers is None:
        workers = settings.num_workers
    if is_serial and workers is not None and workers > 1:
        msg = (
            f"--workers {workers} needs something that runs several blocks at a time; without it "
            "they run one after another in this process. Add --cluster local (processes) or "
            "--cluster threads, or leave --workers out."
        )
        raise click.UsageError(msg)
    if (
        memory_limit is not None
        and not plans_memory
        and (settings is None or settings.cluster in (*HERE, "threads"))
    ):
        msg = (
            "--memory-limit is the memory of one worker process, and here are none. Add --cluster "
            "local, or leave it out."
        )
        raise click.UsageError(msg)


@contextmanager
def open_cluster(
    where: str | None = None,
    *,
    workers: int | None = None,
    memory_limit: int | None = None,
    config: ClusterConfig | None = None,
) -> Iterator[Session]:
    """Start or reach what runs the work, and stop it at the end.

    Parameters
    ----------
    where : str
        Value of ``--cluster``.
    workers : int
        Value of ``--workers``.
    memory_limit : int
        Value of ``--memory-limit``, bytes.
    config : ClusterConfig
        What a file says; options win over it, and so does a YAML file given as ``where``.

    Raises
    ------
    ClusterError, ConfigError
        If it cannot be started or reached, or the file is wrong.
    """
    if _is_here(where, config):
        with connect(where or HERE[0], num_workers=workers, memory_limit=memory_limit) as session:
            yield session
        return
    settings = cluster_settings(where, config)
    with connect(
        settings.cluster,
        num_workers=workers or settings.num_workers,
        threads_per_worker=settings.threads_per_worker,
        memory_limit=memory_limit or settings.memory_limit_bytes,
        dashboard_address=settings.dashboard_address,
        timeout_s=settings.timeout_s,
        network=network_of(settings),
        pools=job_pools(settings),
        log_folder=settings.log_folder,
        period_s=settings.period_s,
    ) as session:
        # What fails on a cluster comes back as the error of a block; its own log would only
        # repeat that between the progress bars.
        for name in ("distributed", "distributed.client", "distributed.nanny"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield session
