"""``volproc lamella``: a predicted lamella in, one clean slab out."""

from __future__ import annotations

from typing import Any

import click

from volproc.cli.dataset import check_resume
from volproc.cli.options import (
    cluster_options,
    overwrite_option,
    pick_selection,
    quiet_option,
    run_options,
    selection_options,
    shown_place,
    voxel_size_option,
    write_results,
)


@click.command()
@click.argument("address", metavar="INPUT")
@click.option(
    "-o",
    "--output",
    required=True,
    help="Mask to write, 0 and 1: .h5 (dataset labels), .mrc, .zarr, or CONFIG.json:RUN/NAME:USER/"
    "SESSION@VOXEL.",
)
@click.option(
    "-t",
    "--threshold",
    type=click.FloatRange(min=0, max=1),
    help="Probability above which a voxel is lamella; 0.5 by default. Of whole numbers the "
    "greatest of their type counts as 1, but only where this is given.",
)
@click.option(
    "--class",
    "class_value",
    type=click.IntRange(min=1),
    metavar="VALUE",
    help="INPUT is a class map, and this value is the lamella.",
)
@click.option(
    "--smooth",
    "smooth_nm",
    type=click.FloatRange(min=0),
    metavar="NM",
    help="Standard deviation of the Gaussian that the mask is smoothed with; 3 by default. What is "
    "thinner than 1.35 of it goes.",
)
@click.option(
    "--min-size",
    "min_size_nm3",
    type=click.FloatRange(min=0),
    metavar="NM³",
    help="Volume that the largest part needs after smoothing; 0 by default.",
)
@click.option(
    "--hull",
    type=click.Choice(["slice", "plane", "none", "volume"]),
    default="slice",
    show_default=True,
    help="Fill the convex hull of each slice, or all between two planes that are fitted to the "
    "faces, or nothing; volume is CryoSiam's 3d_postprocessing, with --compat.",
)
@click.option(
    "--empty",
    type=click.Choice(["error", "keep-empty"]),
    default="error",
    show_default=True,
    help="What becomes of a map in which no lamella is found.",
)
@click.option(
    "--compat",
    type=click.Choice(["cryosiam"]),
    help="CryoSiam's postprocessing of probabilities, voxel by voxel: smoothing of 10, 5 and 5 "
    "voxels; slices without the largest part keep what is above the threshold.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Take a finished mask that was made with these settings for the result.",
)
@voxel_size_option
@selection_options
@overwrite_option
@cluster_options
@quiet_option
def lamella(address: str, output: str, **options: Any) -> None:
    """Make one clean slab of a predicted lamella: its largest part, smoothed and filled.

    INPUT is a map of probabilities, a mask of 0 and 1, or a class map, read as by "volproc info".
    All outside of the slab is removed. The mask appears when it is whole; a run that was killed
    begins anew when it is given again.
    """
    from volproc.io.copick_address import absolute_address
    from volproc.workflows.lamella import LamellaTask, clean_map

    selection, resume = pick_selection(options), check_resume(options)
    names = (
        "threshold", "class_value", "smooth_nm", "min_size_nm3", "hull", "empty", "compat",
        "voxel_size", "override_voxel_size", "overwrite",
    )  # fmt: skip
    task = LamellaTask(
        absolute_address(address),
        absolute_address(output),
        selection=selection,
        resume=resume,
        **{name: options.pop(name) for name in names},
    )
    with run_options(options) as how:
        report = clean_map(task, **how)
    found = "finished before"
    if report.num_voxels is not None and report.part is not None:
        found = f"{report.num_voxels} voxels, {100 * report.part:.1f} % of the volume"
    write_results(
        {
            "mask": shown_place(report.output),
            "lamella": found,
            "record": shown_place(str(report.record)),
        }
    )
