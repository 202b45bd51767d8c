"""``volproc localize``: a class map in, particle centres out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from volproc.cli.dataset import (
    check_resume,
    find_inputs,
    input_options,
    resume_option,
    show_dataset,
)
from volproc.cli.options import (
    Named,
    cluster_options,
    overwrite_option,
    pick_selection,
    quiet_option,
    run_options,
    selection_options,
    voxel_size_option,
    write_results,
)


@click.command()
@click.argument("inputs", metavar="[CLASSES]...", nargs=-1)
@click.option(
    "-o",
    "--output",
    help="Picks to write: .csv, .star or CONFIG.json:RUN/:USER/SESSION. CLASSES_picks.csv here by "
    "default. For many maps a folder, or a template with {name} and {folder}; the run may be *.",
)
@input_options
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
    type=click.Choice(["watershed", "centre-of-mass"]),
    default="watershed",
    show_default=True,
    help="Split objects at their necks, or take connected voxels as they are.",
)
@click.option(
    "-rmin",
    "--radius-min-scale",
    type=click.FloatRange(min=0),
    default=0.5,
    show_default=True,
    help="Smallest particle: a ball of this part of the radius.",
)
@click.option(
    "-rmax",
    "--radius-max-scale",
    type=click.FloatRange(min=0),
    show_default="1.0 for a watershed, 1.5 for centres of mass",
    help="Largest particle: a ball of this part of the radius.",
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
    default=0.005,
    show_default=True,
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
    default=1,
    show_default=True,
    help="Centres of mass: voxels that belong together share a face (1), an edge (2) or a corner "
    "(3).",
)
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
    **options: Any,
) -> int:
    """Find particle centres in class maps.

    Objects are connected voxels of one class, split at their necks where particles touch; those
    of a particle's size are kept. Radii and values of the classes come from the copick project,
    or from the record that "volproc segment semantic" left beside the map, where they are not
    given. Many maps are given, and go on after a kill, as with "volproc segment semantic".
    """
    from volproc.workflows.dataset import run_dataset
    from volproc.workflows.dataset_outputs import fill_template, make_folders, make_template
    from volproc.workflows.particles import LocalizeTask
    from volproc.workflows.picking import map_name, pick

    if not inputs and not options["lists"]:
        msg = "Missing argument 'CLASSES': give a class map."
        raise click.UsageError(msg)
    resume = check_resume(options)
    addresses, is_dataset = find_inputs(inputs, options)
    template = make_template(output, usual="{name}_picks.csv", is_many=is_dataset)
    formats = {"convention": convention, "pixel_size": pixel_size}
    selection = pick_selection(options)
    with run_options(options) as how:
        common = LocalizeTask(
            "",
            radii=dict(radii),
            class_values=dict(class_values),
            selection=selection,
            options={key: value for key, value in formats.items() if value is not None},
            **options,
        )
        tasks = [
            replace(common, address=a, output=fill_template(template, a, name_of=map_name))
            for a in addresses
        ]
        if is_dataset:
            return show_dataset(run_dataset(tasks, resume=resume, **how))
        (task,) = tasks
        make_folders(task.output)
        report = pick(replace(task, resume=resume), **how)
    write_results(dict(report.counts))
    write_results({"picks": report.output, "record": report.record})
    return 0
