"""``volproc plan``: what segmentations would take, with the options of ``segment semantic``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from volproc.cli.options import Sizes, run_options
from volproc.cli.segment import make_tasks, segment_options

if TYPE_CHECKING:
    from volproc.config.segment import SegmentConfig
    from volproc.workflows.plan import Rate, SegmentPlan
    from volproc.workflows.segment import SegmentTask

NOWHERE = "volume"
"""What a volume is called that only has a shape."""


@click.command()
@segment_options
@click.option(
    "--shape",
    type=Sizes(),
    help="Plan for a volume of this size that need not exist, z,y,x; without an INPUT.",
)
@click.option("--dtype", help="Type of the voxels of such a volume; float32.")
@click.option("--storage-chunks", type=Sizes(), help="Storage chunks of such a volume, z,y,x; 128.")
@click.option(
    "--calibrate",
    is_flag=True,
    help="Run a few blocks of the data through the network, on --cluster and --workers, and say "
    "how long the whole takes. Nothing is kept.",
)
def plan(**options: Any) -> int:
    """Say what "volproc segment semantic" would take, from heads of files alone.

    Prints blocks, patches, tasks, bytes read and written, scratch, and peak memory, for the workers
    that --cluster would have, or as many as --workers says. Of many inputs each head is read once
    and each kind of volume is planned once. The exit status is 1 if it cannot be done.
    """
    made_up = {name: options.pop(name) for name in ("shape", "dtype", "storage_chunks")}
    wants_rate = options.pop("calibrate")
    if made_up["shape"] is not None:
        return _plan_shape(options, made_up, wants_rate=wants_rate)
    for name in ("dtype", "storage_chunks"):
        if made_up[name] is not None:
            flag = f"--{name.replace('_', '-')}"
            msg = f"{flag} describes a volume that does not exist: give its --shape too."
            raise click.UsageError(msg)
    tasks, config, is_dataset = make_tasks(options)
    num_workers, memory = _sizes(options, config)
    tasks = [replace(task, host_limit=task.host_limit or memory) for task in tasks]
    if is_dataset:
        return _plan_many(tasks, config, options, num_workers, wants_rate=wants_rate)
    from volproc.workflows.segment import plan_segment

    (task,) = tasks
    found = plan_segment(task, num_workers=num_workers)
    rate = None
    if wants_rate:
        found.validate()
        rate = _measure(task, found, config, options)
    click.echo(found.explain(rate))
    found.validate()
    return 0


def _plan_many(
    tasks: list[SegmentTask],
    config: SegmentConfig,
    options: dict[str, Any],
    num_workers: int,
    *,
    wants_rate: bool,
) -> int:
    """Plan a dataset; the kind that takes most is what is measured."""
    from volproc.workflows.plan_dataset import plan_dataset

    found = plan_dataset(tasks, num_workers=num_workers)
    rate = None
    if wants_rate and found.kinds and not found.largest.error:
        rate = _measure(found.largest.task, found.largest.plan, config, options)
    click.echo(found.explain(rate))
    return 0 if found.is_possible else 1


def _plan_shape(options: dict[str, Any], made_up: dict[str, Any], *, wants_rate: bool) -> int:
    """Plan for a volume of which nothing is known but its size."""
    import numpy as np

    from volproc.core.errors import ConfigError
    from volproc.workflows.plan import Head, plan_run

    if options["inputs"] or options["lists"] or wants_rate:
        msg = "--shape is for a volume that does not exist: it takes no INPUT and no --calibrate."
        raise click.UsageError(msg)
    (task,), config, _ = make_tasks({**options, "inputs": (NOWHERE,)})
    try:
        dtype = np.dtype(made_up["dtype"] or "float32")
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "iufb":
        msg = f'--dtype "{made_up["dtype"]}" is no type of real voxels. Give float32, int16, uint8.'
        raise ConfigError(msg)
    shape = made_up["shape"]
    if len(shape) != 3:
        msg = f"--shape has three sizes, z,y,x, got {shape}."
        raise ConfigError(msg)
    chunks = tuple(
        min(c, n) for c, n in zip(made_up["storage_chunks"] or (128,) * 3, shape, strict=True)
    )
    head = Head(shape, dtype, chunks, chunks)
    workers, memory = _sizes(options, config)
    task = replace(task, host_limit=task.host_limit or memory)
    found = plan_run(task, task.read_models(), head, num_workers=workers)
    click.echo(found.explain())
    found.validate()
    return 0


def _sizes(options: dict[str, Any], config: SegmentConfig) -> tuple[int, int | None]:
    """Workers that a run would have, and the memory of each where a limit is known."""
    from volproc.cli.cluster import job_pools
    from volproc.cli.cluster_run import HERE, cluster_settings, open_cluster
    from volproc.core.executor import memory_of_call, pool_of

    settings = cluster_settings(options["cluster"], config.run)
    workers = options["workers"] or settings.num_workers
    if settings.cluster in HERE:
        return workers or 1, None
    from volproc.cluster.sizes import expect_sizes  # loads distributed

    found = expect_sizes(
        settings.cluster,
        num_workers=workers,
        threads_per_worker=settings.threads_per_worker,
        memory_limit=settings.memory_limit_bytes,
        pools=job_pools(settings),
    )
    if found is not None:
        return found
    with open_cluster(options["cluster"], config=config.run) as session:
        pool = pool_of(session, "gpu")
        return workers or pool.num_workers, memory_of_call(pool)


def _measure(
    task: SegmentTask, found: SegmentPlan, config: SegmentConfig, options: dict[str, Any]
) -> Rate:
    """Measure the speed where the run would be."""
    from volproc.cli.cluster_run import HERE, cluster_settings
    from volproc.workflows.calibrate import calibrate

    if cluster_settings(options["cluster"], config.run).cluster in HERE:
        # Planned for so many workers, measured in this process.
        config = config.model_copy(
            update={"run": config.run.model_copy(update={"num_workers": None})}
        )
        options = {**options, "workers": None}
    with run_options({**options, "config_run": config.run}, plans_memory=True) as how:
        return calibrate(task, found, **how)
