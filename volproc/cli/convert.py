"""``volproc convert``: any volume format to any other."""

from __future__ import annotations

from typing import Any

import click

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
@click.argument("output")
@click.option(
    "--labels",
    is_flag=True,
    help="Voxels are labels or classes: a pyramid takes the nearest one, not the mean.",
)
@voxel_size_option
@selection_options
@overwrite_option
@cluster_options
@quiet_option
def convert(address: str, output: str, labels: bool, **options: Any) -> None:
    """Copy a volume into another format, block by block.

    INPUT is read as by "volproc info". The ending of OUTPUT names its format: .mrc, .zarr,
    .ome.zarr, .tif, .h5:/DATASET, .npy, or CONFIG.json:RUN/TOMOGRAM@VOXEL of a copick project.
    """
    from volproc.io.copick_address import absolute_address
    from volproc.workflows.convert import convert as run

    selection = pick_selection(options)
    with run_options(options) as how:
        sink = run(
            absolute_address(address),
            absolute_address(output),
            kind="labels" if labels else "intensity",
            selection=selection,
            **options,
            **how,
        )
    write_results({"volume": shown_place(sink.address)})
