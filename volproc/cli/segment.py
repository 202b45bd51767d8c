"""``volproc segment semantic``: its options, which ``volproc plan`` shares."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from volproc.cli.dataset import (
    check_resume,
    find_inputs,
    input_options,
    resume_option,
    show_dataset,
)
from volproc.cli.main import LazyGroup
from volproc.cli.options import (
    Sizes,
    cluster_options,
    overwrite_option,
    quiet_option,
    run_options,
    selection_options,
    shown_place,
    trust_option,
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
    """Segment volumes."""


SEGMENT_OPTIONS = (
    click.argument("inputs", metavar="[INPUT]...", nargs=-1),
    click.option(
        "-o", "--output", help="Class map; its ending names the format. INPUT_classes.zarr "
        "here by default. For many inputs a folder, or a template with {name} and {folder}, the "
        "input's and its folder's names.",
    ),
    input_options,
    click.option("--config", type=click.Path(), help="YAML file with these settings."),
    click.option(
        "-m", "--model", help="Model file, or the name of embedded weights (default)."
    ),
    trust_option,
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
    click.option(
        "--checksums", is_flag=True,
        help="Keep a checksum of what is stored of each block: a run that goes on and \"volproc "
        "verify\" compare it. OME-Zarr only.",
    ),
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
@resume_option
def semantic(**options: Any) -> int:
    """Give every voxel of each INPUT a class.

    Inputs are volumes, patterns in quotes ("data/*.mrc"), lists (@FILE) and runs of a copick
    project ("config.json:*/wbp@10"). Of many inputs one that fails does not stop the others: a
    table at the end and run.json beside the outputs say what became of each, and the exit status
    is 1 if any failed.

    A killed run goes on where it stopped when the same command is run again.
    """
    from volproc.workflows.dataset import run_dataset
    from volproc.workflows.dataset_outputs import make_folders
    from volproc.workflows.segment import segment as run

    resume = check_resume(options)
    tasks, config, is_dataset = make_tasks(options)
    with run_options({**options, "config_run": config.run}, plans_memory=True) as how:
        if is_dataset:
            return show_dataset(run_dataset(tasks, resume=resume, **how))
        (task,) = tasks
        make_folders(task.output, task.probabilities_output)
        report = run(replace(task, resume=resume), **how)
    write_results(
        {
            "classes": shown_place(report.output),
            "probabilities": shown_place(report.probabilities),
            "record": shown_place(str(report.record)),
            "note": "finished before, nothing was done" if report.was_finished else "",
        }
    )
    return 0


def make_tasks(options: dict[str, Any]) -> tuple[list[SegmentTask], SegmentConfig, bool]:
    """Make the tasks of options over a config file over defaults, one an input.

    Returns
    -------
    tasks : list of SegmentTask
    config : SegmentConfig
        What is common to them.
    is_dataset : bool
        Whether the inputs were given as many, even if only one was found.

    Raises
    ------
    VolprocError
        If a setting is wrong, or there are no inputs.
    """
    from volproc.config.loading import resolve
    from volproc.config.segment import SegmentConfig
    from volproc.io.copick_address import absolute_address
    from volproc.workflows.dataset_outputs import fill_template, make_template

    if not options["inputs"] and not options["lists"] and options["config"] is None:
        msg = "Missing argument 'INPUT': give a volume, or a --config that names one."
        raise click.UsageError(msg)
    flags = {key: options[key] for key in SegmentConfig.model_fields if key in options}
    flags["voxel_size_angstrom"] = options["voxel_size"]
    if options["inputs"] or options["lists"]:
        flags["input"] = options["inputs"] or tuple(f"@{path}" for path in options["lists"])
    if options["ntta"] is not None:
        flags["tta"] = NTTA[int(options["ntta"])]
    for flag in ("overwrite", "override_voxel_size", "trust_model", "checksums"):
        flags[flag] = options[flag] or None  # a switch that is not given leaves the file its say
    config = resolve(SegmentConfig, path=options["config"], flags=flags)
    words = (config.input,) if isinstance(config.input, str) else config.input
    if not options["inputs"]:
        options["lists"] = ()  # they are in the words
    addresses, is_dataset = find_inputs(words, options)
    template = make_template(config.output or None, usual="{name}_classes.zarr", is_many=is_dataset)
    beside = config.probabilities_output and make_template(
        config.probabilities_output, usual="{name}_probabilities.zarr", is_many=is_dataset
    )
    common = _common_task(config, options["memory_limit"])
    tasks = [
        replace(
            common,
            address=address,
            output=absolute_address(fill_template(template, address)),
            probabilities_output=absolute_address(fill_template(beside, address)),
        )
        for address in addresses
    ]
    return tasks, config, is_dataset


def _common_task(config: SegmentConfig, memory_limit: int | None) -> SegmentTask:
    """Task without input and output."""
    from volproc.graph.predict import Settings
    from volproc.models.loading import DEFAULT_MODEL
    from volproc.workflows.segment import SegmentTask

    return SegmentTask(
        "",
        "",
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
        selection={key: getattr(config, key) for key in ("t", "c", "level", "dataset")},
        probabilities=config.probabilities,
        chunks=config.chunks,
        host_limit=memory_limit or config.run.memory_limit_bytes,
        overwrite=config.overwrite,
        checksums=config.checksums,
        trust_model=config.trust_model,
    )
