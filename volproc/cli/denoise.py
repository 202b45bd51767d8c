"""``volproc denoise``: a raw tomogram in, one in which CryoSiam finds things out."""

from __future__ import annotations

from typing import Any

import click

from volproc.cli.dataset import check_resume
from volproc.cli.options import (
    Sizes,
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
    "-o", "--output", required=True, help="Denoised tomogram; its ending names the format."
)
@click.option("-m", "--model", required=True, help="CryoSiam's checkpoint of a denoiser, .ckpt.")
@click.option(
    "--no-invert",
    is_flag=True,
    help="INPUT is white on black already; x becomes -x otherwise.",
)
@click.option(
    "--percentiles",
    type=(float, float),
    default=(0.1, 99.9),
    show_default=True,
    metavar="LOW HIGH",
    help="Percentiles of the whole volume that become 0 and 1; the network clips what is outside.",
)
@click.option(
    "--replace-nonfinite",
    type=float,
    metavar="VALUE",
    help="What NaN and infinite voxels become; they are refused otherwise.",
)
@click.option(
    "--compat",
    type=click.Choice(["none", "cryosiam"]),
    default="none",
    show_default=True,
    help="CryoSiam's patches, instead of what the network gives for the whole volume.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--chunks", type=Sizes(), help="What one tile keeps, z,y,x, rounded up to multiples of 8."
)
@click.option(
    "--resume",
    is_flag=True,
    help="Take a finished tomogram that was made with these settings for the result.",
)
@voxel_size_option
@selection_options
@overwrite_option
@cluster_options
@quiet_option
def denoise(address: str, output: str, model: str, **options: Any) -> None:
    """Denoise INPUT with a denoiser of CryoSiam, for its networks that find classes.

    The tomogram is inverted, scaled by percentiles of the whole volume, and run through the
    network by tiles with a halo, which give what the whole volume would. A killed run goes on
    where it stopped when the same command is given again.
    """
    from volproc.io.copick_address import absolute_address
    from volproc.workflows.denoise import DenoiseTask
    from volproc.workflows.denoise import denoise as run

    selection, resume = pick_selection(options), check_resume(options)
    names = (
        "percentiles", "replace_nonfinite", "compat", "device", "chunks", "voxel_size",
        "override_voxel_size", "overwrite",
    )  # fmt: skip
    task = DenoiseTask(
        absolute_address(address),
        absolute_address(output),
        model,
        is_inverted=not options.pop("no_invert"),
        selection=selection,
        resume=resume,
        host_limit=options["memory_limit"],
        **{name: options.pop(name) for name in names},
    )
    with run_options(options) as how:
        report = run(task, **how)
    write_results(
        {
            "denoised": shown_place(report.output),
            "record": shown_place(str(report.record)),
            "note": "finished before, nothing was done" if report.was_finished else "",
        }
    )
