"""``volproc segment semantic``: its options, which ``volproc plan`` shares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
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
from volproc.cli.segment_options import choose_views, octopi_options, take_project
from volproc.cli.tile_options import fill_mask, tile_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from volproc.config.segment import SegmentConfig
    from volproc.workflows.segment import SegmentTask

F = TypeVar("F", bound="Callable[..., Any]")

SETTINGS = (
    *("tta", "tta_grid", "overlap", "batch_size", "blend", "window", "pad"),
    *("compat", "threshold", "intensity"),
)
"""Settings that a preset has, and that override it where they are given."""

STORED = ("none", "float16", "uint8", "float32")
"""Types of probabilities that are stored."""


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
    click.option(
        "--config", type=click.Path(),
        help="YAML file with these settings; or the JSON file of a copick project, whose runs are "
        "segmented, into the project.",
    ),
    click.option(
        "-m", "--model",
        help="Model file, the name of embedded weights (default), or a folder with a model of "
        "Octopi; a comma list of these is an ensemble.",
    ),
    octopi_options,
    tile_options,
    trust_option,
    click.option(
        "--tta", metavar="VIEWS",
        help="Views of each patch: none (default), rot4, octopi2 to octopi8, all16.",
    ),
    click.option(
        "-ntta", "--ntta", type=click.IntRange(min=1),
        help="The same by number, as Octopi has it: 1 to 8; 16 for all16.",
    ),
    click.option(
        "--overlap", type=float,
        help="Part of a patch shared with the next; 0.25, 0.5 with Octopi's presets.",
    ),
    click.option(
        "-swbs", "--batch-size", "--sliding-window-batch-size", type=int,
        help="Patches that go through the network at once; 1, on a GPU 4 with Octopi's presets.",
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
        "--probabilities", type=click.Choice(STORED),
        help="Also store a probability per class.",
    ),
    click.option("--probabilities-output", help="Where; beside the class map by default."),
    click.option(
        "--max-probability", type=click.Choice(STORED),
        help="Also store the probability of each voxel's class, beside the class map.",
    ),
    click.option(
        "--variance", type=click.Choice(STORED),
        help="Also store its variance over views and models; takes memory for each of them.",
    ),
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

    With --config PROJECT.json the flags are those of "octopi segment": tomograms of all runs are
    segmented into the project, and a log is left there with which Octopi localizes too.

    A killed run goes on where it stopped when the same command is run again.
    """
    from volproc.workflows.dataset import run_dataset
    from volproc.workflows.dataset_outputs import make_folders
    from volproc.workflows.segment import segment as run
    from volproc.workflows.segment_project import log_segmenting, preset_for

    resume = check_resume(options)
    tasks, config, is_dataset = make_tasks(options)
    preset = config.preset or preset_for(tasks[0])
    with run_options({**options, "config_run": config.run}) as how:
        if is_dataset:
            found = run_dataset(tasks, resume=resume, **how)
            outcomes = {entry.output: entry.status for entry in found.entries}
            statuses = [outcomes.get(task.output, "left out") for task in tasks]
            log_segmenting(tasks, statuses, preset=preset)
            return show_dataset(found)
        (task,) = tasks
        make_folders(*task.addresses.values())
        report = run(replace(task, resume=resume), **how)
        log_segmenting(tasks, ["done"], preset=preset)
    write_results(
        {
            "classes": shown_place(report.output),
            "probabilities": shown_place(report.probabilities),
            **{kind: shown_place(place) for kind, place in report.maps.items()},
            "tiles": ", ".join(f"{count} {what}" for what, count in report.tiles.items()),
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
    from volproc.io.copick_address import absolute_address
    from volproc.workflows.dataset_outputs import fill_template, make_template
    from volproc.workflows.segment_project import project_tasks

    segmenting = take_project(options)
    config = _resolve(options, project=segmenting.config if segmenting else "")
    common = _common_task(config, options)
    if segmenting is not None:
        runs = project_tasks(common, segmenting)
        return [replace(t, mask=fill_mask(config.mask, t.address)) for t in runs], config, True
    words = (config.input,) if isinstance(config.input, str) else config.input
    if not options["inputs"]:
        options["lists"] = ()  # they are in the words
    addresses, is_dataset = find_inputs(words, options)
    template = make_template(config.output or None, usual="{name}_classes.zarr", is_many=is_dataset)
    beside = config.probabilities_output and make_template(
        config.probabilities_output, usual="{name}_probabilities.zarr", is_many=is_dataset
    )
    tasks = [
        replace(
            common,
            address=address,
            output=absolute_address(fill_template(template, address)),
            probabilities_output=absolute_address(fill_template(beside, address)),
            mask=fill_mask(config.mask, address),
        )
        for address in addresses
    ]
    return tasks, config, is_dataset


def _resolve(options: dict[str, Any], *, project: str) -> SegmentConfig:
    """Lay options over a config file over defaults."""
    from volproc.config.loading import resolve
    from volproc.config.segment import SegmentConfig
    from volproc.models.octopi_config import parse_labels

    if not (options["inputs"] or options["lists"] or options["config"] or project):
        msg = "Missing argument 'INPUT': give a volume, or a --config that names one."
        raise click.UsageError(msg)
    flags = {key: options[key] for key in SegmentConfig.model_fields if key in options}
    flags["voxel_size_angstrom"] = options["voxel_size"]
    flags["input"] = None
    if project:
        flags["input"] = project
    elif options["inputs"] or options["lists"]:
        flags["input"] = options["inputs"] or tuple(f"@{path}" for path in options["lists"])
    if options["labels"] is not None:
        flags["labels"] = parse_labels(options["labels"])
    for flag in ("overwrite", "override_voxel_size", "trust_model", "checksums"):
        flags[flag] = options[flag] or None  # a switch that is not given leaves the file its say
    return resolve(SegmentConfig, path=options["config"], flags=flags)


def _common_task(config: SegmentConfig, options: dict[str, Any]) -> SegmentTask:
    """Task without input and output."""
    from volproc.graph.settings import Settings
    from volproc.models.loading import DEFAULT_MODEL
    from volproc.workflows.segment import SegmentTask
    from volproc.workflows.segment_project import preset_for

    task = SegmentTask(
        "",
        "",
        model=config.model or DEFAULT_MODEL,
        model_config=_absolute_list(config.octopi_config),
        model_weights=_absolute_list(config.octopi_weights),
        labels=config.labels,
        voxel_size=config.voxel_size_angstrom,
        override_voxel_size=config.override_voxel_size,
        selection={key: getattr(config, key) for key in ("t", "c", "level", "dataset")},
        probabilities=config.probabilities,
        maximum=config.max_probability,
        variance=config.variance,
        distances=config.distances,
        chunks=config.chunks,
        host_limit=options["memory_limit"] or config.run.memory_limit_bytes,
        overwrite=config.overwrite,
        checksums=config.checksums,
        trust_model=config.trust_model,
    )
    preset = config.preset or preset_for(task)
    given = {key: getattr(config, key) for key in SETTINGS if key in config.model_fields_set}
    if options["ntta"] is not None:
        given["tta"] = choose_views(options["ntta"], preset)
    given["replace_nonfinite"] = config.replace_nonfinite
    settings = Settings.preset(preset, device=config.device).changed(given)
    return replace(task, settings=settings)


def _absolute_list(paths: str) -> str:
    """A comma list of paths that workers find too, whatever their current folder is."""
    text = paths.strip().removeprefix("[").removesuffix("]")
    parts = [Path(part.strip()).expanduser() for part in text.split(",") if part.strip()]
    return ",".join(str(part.absolute()) for part in parts)
