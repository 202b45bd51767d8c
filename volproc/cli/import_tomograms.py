"""``volproc import``: a folder of tomograms into a copick project."""

from __future__ import annotations

from typing import Any

import click

from volproc.cli.options import cluster_options, overwrite_option, quiet_option, run_options, say


@click.command("import")
@click.option(
    "-p",
    "--path",
    "paths",
    multiple=True,
    required=True,
    metavar="FOLDER",
    help="Folder of .mrc, .mrcs, .rec or .map files, or files of any format, also as a pattern; "
    "may be given again.",
)
@click.option(
    "-c", "--config", required=True, metavar="PROJECT.json", help="The project they go to."
)
@click.option(
    "-alg",
    "--tomo-alg",
    "tomogram",
    default="denoised",
    show_default=True,
    help="Type that the tomograms get.",
)
@click.option(
    "-ivs",
    "--input-voxel-size",
    "voxel_size",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Å per voxel of the files; a header that says otherwise is an error.",
)
@click.option(
    "-ovs",
    "--output-voxel-size",
    "coarser",
    type=click.FloatRange(min=0, min_open=True),
    help="Å per voxel of the tomograms: coarser ones, by cropping the Fourier transform.",
)
@click.option(
    "--override-voxel-size", is_flag=True, help="Trust --input-voxel-size against a header."
)
@click.option(
    "--resume", is_flag=True, help="Leave tomograms that were imported so before, do the rest."
)
@overwrite_option
@cluster_options
@quiet_option
def import_tomograms(paths: tuple[str, ...], **options: Any) -> int:
    """Import tomograms into a copick project, as OME-Zarr with a pyramid.

    The run of a file is its name up to the first dot, and is made where it is missing. Files that
    cannot be read are named, and the others imported. Coarser voxels keep the mean and the
    amplitude of what they can show; sides are rounded, and one less where that is odd, so that a
    tomogram ends up to 1.5 voxels before the file does. The record says how large the voxels are.
    """
    from volproc.cli.dataset import table_lines
    from volproc.workflows.import_tomograms import ImportTask, find_files, import_tomograms

    with run_options(options) as how:
        task = ImportTask(**options)
        entries = import_tomograms(find_files(paths), task, **how)
    for line in table_lines(entries):
        say(line)
    failed = sum(entry.status == "failed" for entry in entries)
    say(f"{len(entries)} tomograms: {len(entries) - failed} in the project, {failed} failed")
    return 1 if failed else 0
