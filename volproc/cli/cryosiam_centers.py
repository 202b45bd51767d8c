"""``volproc cryosiam semantic-to-centers``: a folder of predictions in, tables of centres out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from volproc.cli.dataset import MAX_FAILED, MAX_ROWS, check_resume, resume_option, table_lines
from volproc.cli.options import (
    Named,
    cluster_options,
    overwrite_option,
    quiet_option,
    run_options,
    say,
    shown_place,
    write_results,
)
from volproc.cli.particle_options import size_options

if TYPE_CHECKING:
    from volproc.workflows.dataset_record import Entry

F = TypeVar("F", bound=Callable[..., Any])


def config_option(function: F) -> F:
    """Add ``--config_file``."""
    return click.option(
        "-c",
        "--config_file",
        "--config-file",
        "config_file",
        required=True,
        type=click.Path(),
        help="CryoSiam's yaml file, as it is. Its relative paths are counted from here.",
    )(function)


def filename_option(function: F) -> F:
    """Add ``--filename``."""
    return click.option(
        "--filename",
        metavar="NAME",
        help="Only this tomogram, by its name in data_folder; instead of test_files.",
    )(function)


def show_notes(notes: Sequence[str]) -> None:
    """Say what of a yaml file is ignored, on stderr."""
    for note in notes:
        click.echo(f"note: {note}", err=True)


def show_tomograms(entries: Sequence[Entry]) -> int:
    """Say what became of each tomogram, and return the exit status."""
    failed = [entry for entry in entries if entry.status == "failed"]
    shown = list(entries) if len(entries) <= MAX_ROWS else failed[:MAX_FAILED]
    for line in table_lines(shown):
        say(line)
    done = len(entries) - len(failed)
    say(f"{len(entries)} tomograms: {done} done{f', {len(failed)} failed' if failed else ''}")
    return 1 if failed else 0


@click.command("semantic-to-centers")
@config_option
@click.option(
    "-o",
    "--output",
    default="",
    help="Folder of the tables; the prediction_folder by default, as CryoSiam has it.",
)
@click.option(
    "-vs",
    "--voxel-size",
    type=click.FloatRange(min=0, min_open=True),
    help="Å per voxel, whatever the files say; by default that of the prediction, or else of its "
    "tomogram in data_folder.",
)
@click.option(
    "--compat",
    type=click.Choice(["cryosiam"]),
    help="Write CryoSiam's columns alone, digit for digit; by default further ones follow: class, "
    "scores, edge, Å, nm³. The centres are those of CryoSiam either way, unless other options "
    "change them.",
)
@click.option(
    "--class",
    "class_names",
    multiple=True,
    type=Named(int, "NAME=VALUE"),
    help="Name of a class in particles.csv, STAR and picks; class-N by default.",
)
@click.option(
    "-m",
    "--method",
    type=click.Choice(["erosion", "centre-of-mass", "watershed"]),
    default="erosion",
    show_default=True,
    help="CryoSiam's erosion, connected voxels as they are, or objects split at their necks: "
    "particles that touch come apart.",
)
@size_options
@click.option(
    "--probabilities",
    metavar="MAP",
    default="",
    help="Map that scores come from, {name} is the tomogram; the dataset probs by default.",
)
@click.option(
    "--variance",
    metavar="MAP",
    default="",
    help="Map of the variance of probabilities: a particle's spread. {name} is the tomogram.",
)
@click.option(
    "--weight-by",
    metavar="probs|distances|MAP",
    default="",
    help="What weighs the voxels of a centre: a dataset of the prediction, or a map with {name} "
    "for the tomogram; numbers below 0 count as 0.",
)
@click.option(
    "--relion",
    default="",
    metavar="FILE.star",
    help="Also write all particles for RELION 5, in Å from the middle of each tomogram.",
)
@click.option(
    "--picks",
    default="",
    metavar="CONFIG.json:*/:USER/SESSION",
    help="Also write copick picks, into the run of each tomogram's name. Classes are the objects "
    "with their values as labels, unless --class says otherwise.",
)
@overwrite_option
@resume_option
@cluster_options
@quiet_option
def semantic_to_centers(config_file: str, **options: Any) -> int:
    """Find particle centres in the predictions of a folder, with CryoSiam's rule and numbers.

    Each class is eroded once, objects are connected across corners too, and those of more than
    min_voxels voxels are particles. labels_N.csv and labels_N_particles.star have the columns of
    CryoSiam first; particles.csv holds all of them, with mean and greatest probability where the
    predictions have "probs", and whether they touch the edge. A tomogram that cannot be read
    fails alone. A killed run goes on when the command is given again.
    """
    from volproc.config.cryosiam import read_cryosiam
    from volproc.workflows.cryosiam_centres import find_centres
    from volproc.workflows.cryosiam_picks import project_names
    from volproc.workflows.cryosiam_rule import CentresTask

    settings, notes = read_cryosiam(config_file, "semantic-to-centers")
    show_notes(notes)
    resume = check_resume(options)
    assert settings.prediction_folder is not None  # it was asked for
    names = (
        "output", "voxel_size", "method", "min_size_nm3", "max_size_nm3", "nms_distance", "inside",
        "probabilities", "variance", "weight_by", "relion", "picks", "overwrite",
    )  # fmt: skip
    class_names = dict(options.pop("class_names"))
    if options["picks"] and not class_names:
        class_names = project_names(options["picks"], settings.num_classes)
    task = CentresTask(
        settings.prediction_folder,
        settings.least_voxels,
        tomograms=settings.data_folder or "",
        extension=settings.file_extension or "",
        resume=resume,
        is_compatible=options.pop("compat") is not None,
        class_names=class_names,
        **{name: options.pop(name) for name in names},
    )
    with run_options(options) as how:
        report = find_centres(task, **how)
    status = show_tomograms(report.entries)
    write_results(dict(report.counts))
    write_results(
        {
            "tables": shown_place(str(task.place)) if report.has_tables else "",
            "record": shown_place(str(report.record)),
        }
    )
    return status
