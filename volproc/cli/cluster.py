"""``volproc cluster``: what a cluster would be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from volproc.cli.main import LazyGroup

if TYPE_CHECKING:
    from volproc.cluster.jobs import JobPool
    from volproc.cluster.network import Network
    from volproc.config.cluster import ClusterConfig


@click.group(
    cls=LazyGroup,
    lazy={
        "script": ("volproc.cli.cluster:script", "Print the scripts of SLURM jobs, submit none."),
    },
)
def cluster() -> None:
    """Show what a cluster would be asked for."""


@click.command()
@click.argument("config", type=click.Path())
def script(config: str) -> None:
    """Print the scripts of the jobs of CONFIG, a YAML file as configs/cluster-slurm.yaml.

    Nothing is submitted. NAME, RUN and the scheduler's address are filled in for each job when a
    command runs with --cluster CONFIG.
    """
    from pathlib import Path

    from volproc.cluster.network import certificates_in
    from volproc.cluster.slurm import check_pools, write_script
    from volproc.config.cluster import ClusterConfig
    from volproc.config.loading import load
    from volproc.core.errors import ConfigError

    settings = load(config, ClusterConfig)
    if settings.cluster != "slurm":
        msg = (
            f'{config} is for cluster "{settings.cluster}", which needs no jobs. Give a file with '
            "cluster: slurm."
        )
        raise ConfigError(msg)
    pools, network = job_pools(settings), network_of(settings)
    check_pools(pools, network)
    folder = Path(settings.log_folder).expanduser().resolve()
    if not network.has_certificates:
        network = certificates_in(folder / "certificates-RUN", network)
    for kind, pool in pools.items():
        times = f"{pool.jobs} of these" if pool.jobs > 1 else "one of these"
        click.echo(f"# Pool {kind}: {times}\n{write_script(pool, kind, folder, network)}")


def network_of(settings: ClusterConfig) -> Network:
    """Where a scheduler listens, and its certificates, as a file says."""
    from volproc.cluster.network import Network

    return Network(
        host=settings.host,
        interface=settings.interface,
        ca_file=settings.ca_file,
        cert_file=settings.cert_file,
        key_file=settings.key_file,
    )


def job_pools(settings: ClusterConfig) -> dict[str, JobPool]:
    """Pools of jobs that a file asks for."""
    from volproc.cluster.jobs import JobPool

    given = {"gpu": settings.gpu, "cpu": settings.cpu}
    return {kind: JobPool(**pool.model_dump()) for kind, pool in given.items() if pool is not None}
