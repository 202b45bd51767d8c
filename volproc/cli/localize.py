"""``volproc localize``: a class map in, particle centres out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from volproc.cli.dataset import (
    check_resume,
    find_inputs,
    input_options,
    resume_option,
    show_dataset,
)
from volproc.cli.localize_options import (
    class_options,
    project_options,
    score_options,
    spell_method,
    take_project,
    take_threads,
)
from volproc.cli.options import (
    Named,
    cluster_options,
    overwrite_option,
    pick_selection,
    quiet_option,
    run_options,
    say,
    selection_options,
    shown_place,
    voxel_size_option,
    write_results,
)
from volproc.cli.particle_options import (
    PROBABILITIES,
    map_options,
    min_voxels_option,
    nms_scale_option,
    size_options,
)

if TYPE_CHECKING:
    from volproc.workflows.localize_project import ProjectPicking
    from volproc.workflows.particle_task import LocalizeTask

FINISHED = ("done", "skipped")
"""What is said of maps whose picks are there."""


@click.command()
@click.argument("inputs", metavar="[CLASSES]...", nargs=-1)
@click.option(
    "-o",
    "--output",
    help="Picks to write: .csv, .star or CONFIG.json:RUN/:USER/SESSION. CLASSES_picks.csv here by "
    "default. For many maps a folder, or a template with {name} and {folder}; the run may be *.",
)
@project_options
@input_options
@class_options
@click.option(
    "--radius",
    "radii",
    multiple=True,
    type=Named(float, "NAME=Å"),
    help="Radius of a particle class, Å; once a class.",
)
@click.option(
    "--class",
    "class_values",
    multiple=True,
    type=Named(int, "NAME=VALUE"),
    help="Value of a class in the map; once a class.",
)
@click.option(
    "-m",
    "--method",
    type=click.Choice(
        ["watershed", "com", "centre-of-mass", "erosion", "peaks"], case_sensitive=False
    ),
    default="watershed",
    show_default=True,
    help="Split objects at their necks, or take connected voxels as they are; com is "
    "centre-of-mass with Octopi's largest particle. Erosion: what one erosion leaves, connected "
    "across corners too, as CryoSiam has it; it needs no radius. Peaks: CLASSES are maps of "
    "probabilities, whose local maxima are the particles.",
)
@click.option(
    "-rmin",
    "--radius-min-scale",
    type=click.FloatRange(min=0),
    default=0.5,
    show_default=True,
    help="Smallest particle: a ball of this part of the radius; --min-voxels or --min-size stand "
    "for it.",
)
@click.option(
    "-rmax",
    "--radius-max-scale",
    type=click.FloatRange(min=0),
    show_default="1.0; 1.5 for centre-of-mass and erosion",
    help="Largest particle: a ball of this part of the radius; --max-size stands for it.",
)
@click.option(
    "-fs",
    "--filter-size",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Watershed: side of the window, in voxels, in which a particle's middle is the thickest "
    "place.",
)
@click.option(
    "--ties",
    type=click.Choice(["scikit-image", "raster"]),
    default="scikit-image",
    show_default=True,
    help="Watershed: order of equally thick places, as scikit-image floods the whole volume, or by "
    "place, which needs less memory.",
)
@click.option(
    "--border",
    type=click.FloatRange(min=0, max=0.5, max_open=True),
    show_default="0.005; 0 for erosion",
    help="Part of the volume's size in which particles are left out.",
)
@click.option(
    "--max-object-voxels",
    type=click.IntRange(min=1),
    default=2**28,
    show_default=True,
    help="Watershed: largest box of an object that is split.",
)
@click.option(
    "--connectivity",
    type=click.IntRange(1, 3),
    show_default="1; 3 for erosion",
    help="Centres of mass and erosion: voxels that belong together share a face (1), an edge (2) "
    "or a corner (3).",
)
@min_voxels_option
@size_options
@nms_scale_option
@score_options
@map_options
@click.option(
    "--convention",
    type=click.Choice(["corner", "centered"]),
    help="Coordinates of a STAR file: pixels from the first voxel, or Å from the middle.",
)
@click.option(
    "--pixel-size",
    type=click.FloatRange(min=0, min_open=True),
    help="Å per pixel of the tilt series, for a STAR file.",
)
@click.option(
    "--combined",
    default="",
    metavar="FILE",
    help="Also write the picks of all maps into one table: .csv, or .star for RELION 5, in Å from "
    "the middle of each tomogram.",
)
@voxel_size_option
@selection_options
@overwrite_option
@resume_option
@cluster_options
@quiet_option
def localize(
    inputs: tuple[str, ...],
    output: str | None,
    radii: tuple[tuple[str, float], ...],
    class_values: tuple[tuple[str, int], ...],
    convention: str | None,
    pixel_size: float | None,
    combined: str,
    **options: Any,
) -> int:
    """Find particle centres in class maps.

    Objects are connected voxels of one class, split at their necks where particles touch; those
    of a particle's size are kept: by its radius, or by --min-voxels, --min-size and --max-size,
    which need none. Radii and values of the classes come from the copick project,
    or from the record or log that "volproc segment semantic" left, where they are not given. Many
    maps are given, and go on after a kill, as with "volproc segment semantic".

    With --config PROJECT.json the flags are those of "octopi localize": segmentations of all runs
    are localized, and the picks written into the project. A class that has no particles now gets
    an empty file where an earlier one had some.
    """
    from volproc.workflows.particle_task import LocalizeTask

    picking = take_project(options, inputs)
    if picking is None and not inputs and not options["lists"]:
        msg = "Missing argument 'CLASSES': give a class map, or --config PROJECT.json."
        raise click.UsageError(msg)
    take_threads(options)
    spell_method(options)
    if options["weight_by"] == PROBABILITIES:
        options["weight_by"] = options["probabilities"]
        if not options["weight_by"]:
            msg = "--weight-by probabilities needs --probabilities MAP."
            raise click.UsageError(msg)
    resume = check_resume(options)
    formats = {"convention": convention, "pixel_size": pixel_size}
    given: dict[str, Any] = {
        "radii": dict(radii),
        "class_values": dict(class_values),
        "min_voxels": dict(options.pop("min_voxels")),
        "selection": pick_selection(options),
        "options": {key: value for key, value in formats.items() if value is not None},
    }
    addresses, is_dataset = ([], True) if picking else find_inputs(inputs, options)
    with run_options(options) as how:
        if combined:
            from volproc.workflows.combined_picks import refuse_combined

            refuse_combined(combined, overwrite=options["overwrite"] or resume)
        common = LocalizeTask("", **given, **options)
        if picking is not None:
            return _in_project(common, picking, output, resume, how, combined)
        tasks = _tasks(common, addresses, output, is_dataset=is_dataset)
        if is_dataset:
            from volproc.workflows.dataset import run_dataset

            report = run_dataset(tasks, resume=resume, **how)
            _combine(combined, [one.output for one in report.entries if one.status in FINISHED])
            return show_dataset(report)
        return _one(replace(tasks[0], resume=resume), how, combined)


def _tasks(
    common: LocalizeTask, addresses: list[str], output: str | None, *, is_dataset: bool
) -> list[LocalizeTask]:
    """One task a class map, each with its output."""
    from volproc.io.copick_address import absolute_address
    from volproc.workflows.dataset_outputs import fill_template, make_template
    from volproc.workflows.picking import map_name

    template = make_template(output, usual="{name}_picks.csv", is_many=is_dataset)
    tasks = []
    for address in addresses:
        maps: dict[str, Any] = {
            name: fill_template(getattr(common, name), address, name_of=map_name)
            for name in ("probabilities", "variance", "weight_by")
        }
        place = absolute_address(fill_template(template, address, name_of=map_name))
        tasks.append(replace(common, address=address, output=place, **maps))
    return tasks


def _combine(path: str, outputs: list[str]) -> None:
    """Write the picks of all maps into one table, where there shall be one."""
    if not path or not outputs:
        return
    from volproc.workflows.combined_picks import combine_picks

    combine_picks(outputs, path)
    say(f"picks of {len(outputs)} maps in {shown_place(path)}")


def _one(task: LocalizeTask, how: dict[str, Any], combined: str) -> int:
    """Localize in one class map."""
    from volproc.workflows.dataset_outputs import make_folders
    from volproc.workflows.picking import pick

    make_folders(task.output)
    report = pick(task, **how)
    _combine(combined, [report.output])
    write_results(dict(report.counts))
    places = {"picks": report.output, "record": report.record}
    write_results({name: shown_place(str(place)) for name, place in places.items()})
    return 0


def _in_project(
    common: LocalizeTask,
    picking: ProjectPicking,
    output: str | None,
    resume: bool,
    how: dict[str, Any],
    combined: str,
) -> int:
    """Localize in the runs of a project, and leave Octopi's log there."""
    from volproc.workflows.dataset import run_dataset
    from volproc.workflows.localize_project import log_picking, project_tasks

    if output is not None:
        msg = "with --config the picks go into the project: leave out --output."
        raise click.UsageError(msg)
    if common.method == "peaks" and not common.probabilities:
        msg = 'with --config peaks need --probabilities "FOLDER/{name}_probabilities.zarr".'
        raise click.UsageError(msg)
    # Octopi's bounds are those of its own methods: a ball of the radius is the largest particle.
    largest = 1.0 if common.radius_max_scale is None else common.radius_max_scale
    tasks = project_tasks(replace(common, radius_max_scale=largest), picking)
    report = run_dataset(tasks, resume=resume, **how)
    _combine(combined, [one.output for one in report.entries if one.status in FINISHED])
    counts = log_picking(picking, tasks, report.entries)
    status = show_dataset(report)
    write_results(dict(counts))
    return status
