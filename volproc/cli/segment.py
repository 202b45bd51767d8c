"""``volproc segment semantic`` and ``volproc plan``: the same options, one does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from volproc.cli.localize import stem
from volproc.cli.main import LazyGroup
from volproc.cli.options import (
    Sizes,
    cluster_options,
    overwrite_option,
    quiet_option,
    run_options,
    selection_options,
    voxel_size_option,
    write_results,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from volproc.config.segment import SegmentConfig
    from volproc.workflows.segment import SegmentTask

F = TypeVar("F", bound="Callable[..., Any]")

NTTA = {1: "none", 4: "octopi4", 8: "octopi8", 16: "all16"}
"""Octopi's number of views → name of the set."""


@click.group(
    cls=LazyGroup,
    lazy={
        "semantic": (
            "volproc.cli.segment:semantic",
            "A class for every voxel, by a sliding network.",
        )
    },
)
def segment() -> None:
    """Segment a volume."""


SEGMENT_OPTIONS = (
    click.argument("input", metavar="[INPUT]", required=False),
    click.option(
        "-o", "--output", help="Class map; its ending names the format. INPUT_classes.zarr "
        "here by default.",
    ),
    click.option("--config", type=click.Path(), help="YAML file with these settings."),
    click.option(
        "-m", "--model", help="Model file, or the name of embedded weights (default)."
    ),
    click.option(
        "--tta", metavar="VIEWS",
        help="Views of each patch: none (default), rot4, octopi4, octopi8, all16.",
    ),
    click.option(
        "-ntta", "--ntta", type=click.Choice([str(n) for n in NTTA]),
        help="The same by number, as Octopi has it.",
    ),
    click.option(
        "--overlap", type=float, help="Part of a patch shared with the next; 0.25."
    ),
    click.option(
        "-swbs", "--batch-size", "--sliding-window-batch-size", type=int,
        help="Patches that go through the network at once; 1.",
    ),
    click.option("--device", help="auto (default), cpu, cuda or cuda:N."),
    click.option("--chunks", type=Sizes(), help="Block of one task, z,y,x."),
    click.option(
        "--pad", is_flag=True, default=None,
        help="Pad a volume that is smaller than one patch, with its mean.",
    ),
    click.option(
        "--replace-nonfinite", type=float, metavar="VALUE",
        help="What NaN and infinite voxels become; they are refused otherwise.",
    ),
    click.option(
        "--probabilities", type=click.Choice(["none", "float16", "uint8"]),
        help="Also store a probability per class.",
    ),
    click.option("--probabilities-output", help="Where; beside the class map by default."),
    voxel_size_option,
    selection_options,
    overwrite_option,
    cluster_options,
    quiet_option,
)  # fmt: skip
"""What a segmentation takes; one that is not given leaves a config file its say."""


def segment_options(function: F) -> F:
    """Add `SEGMENT_OPTIONS` to a command."""
    for option in reversed(SEGMENT_OPTIONS):
        function = option(function)
    return function


@click.command()
@segment_options
def semantic(**options: Any) -> None:
    """Give every voxel of INPUT a class.

    A killed run goes on where it stopped when the same command is run again.
    """
    from volproc.workflows.segment import segment as run

    task, config = make_task(options)
    with run_options({**options, "config_run": config.run}) as how:
        report = run(task, **how)
    write_results(
        {
            "classes": report.output,
            "probabilities": report.probabilities,
            "record": report.record,
        }
    )


@click.command()
@segment_options
def plan(**options: Any) -> None:
    """Say what "volproc segment semantic" would take, from heads of files alone.

    Prints blocks, patches, bytes read, peak memory and size of the output. The exit status is 1
    if it cannot fit.
    """
    from volproc.workflows.segment import plan_segment

    task, config = make_task(options)
    workers = options["workers"] or config.run.num_workers or 1
    found = plan_segment(task, num_workers=workers)
    click.echo(found.explain())
    found.validate()


def make_task(options: dict[str, Any]) -> tuple[SegmentTask, SegmentConfig]:
    """Make the task of options over a config file over defaults.

    Raises
    ------
    ConfigError
        If a setting is wrong.
    """
    from volproc.config.loading import resolve
    from volproc.config.segment import SegmentConfig
    from volproc.graph.predict import Settings
    from volproc.models.loading import DEFAULT_MODEL
    from volproc.workflows.segment import SegmentTask

    if options["input"] is None and options["config"] is None:
        msg = "Missing argument 'INPUT': give a volume, or a --config that names one."
        raise click.UsageError(msg)
    flags = {key: options[key] for key in SegmentConfig.model_fields if key in options}
    flags["voxel_size_angstrom"] = options["voxel_size"]
    if options["ntta"] is not None:
        flags["tta"] = NTTA[int(options["ntta"])]
    for flag in ("overwrite", "override_voxel_size"):
        flags[flag] = options[flag] or None  # a switch that is not given leaves the file its say
    config = resolve(SegmentConfig, path=options["config"], flags=flags)
    selection = {key: getattr(config, key) for key in ("t", "c", "level", "dataset")}
    task = SegmentTask(
        config.input,
        config.output or f"{stem(config.input)}_classes.zarr",
        model=config.model or DEFAULT_MODEL,
        settings=Settings(
            tta=config.tta,
            overlap=config.overlap,
            batch_size=config.batch_size,
            blend=config.blend,
            window=config.window,
            device=config.device,
            pad=config.pad,
            replace_nonfinite=config.replace_nonfinite,
        ),
        voxel_size=config.voxel_size_angstrom,
        override_voxel_size=config.override_voxel_size,
        selection=selection,
        probabilities=config.probabilities,
        probabilities_output=config.probabilities_output,
        chunks=config.chunks,
        host_limit=options["memory_limit"] or config.run.memory_limit_bytes,
        overwrite=config.overwrite,
    )
    return task, config
