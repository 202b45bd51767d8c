"""``volproc cryosiam semantic-postprocessing``: small objects leave the predictions."""

from __future__ import annotations

from typing import Any

import click

from volproc.cli.cryosiam_centers import (
    config_option,
    filename_option,
    show_notes,
    show_tomograms,
)
from volproc.cli.options import (
    cluster_options,
    overwrite_option,
    quiet_option,
    run_options,
    write_results,
)


@click.command("semantic-postprocessing")
@config_option
@filename_option
@click.option(
    "-o",
    "--output",
    default="",
    help="Folder of the results; by default they replace the predictions, as with CryoSiam.",
)
@overwrite_option
@cluster_options
@quiet_option
def semantic_postprocessing(config_file: str, filename: str | None, **options: Any) -> int:
    """Remove small objects from the predictions of a folder, class by class.

    Objects of class N, connected across corners too, stay where they have more voxels than number
    N of postprocessing_sizes, counted from 0; -1 leaves a class as it is. Probabilities and
    distances stay in the file, and each file changes all at once.
    """
    from volproc.config.cryosiam import read_cryosiam
    from volproc.workflows.cryosiam_postprocessing import PostprocessingTask, postprocess

    settings, notes = read_cryosiam(
        config_file, "semantic-postprocessing", has_filename=filename is not None
    )
    show_notes(notes)
    sizes = settings.parameters.network.postprocessing_sizes
    assert sizes is not None  # as the names below, it was asked for
    task = PostprocessingTask(
        settings.data_folder or "",
        settings.file_extension or "",
        settings.prediction_folder or "",
        sizes,
        files=settings.files if filename is None else (filename,),
        output=options.pop("output"),
        overwrite=options.pop("overwrite"),
    )
    with run_options(options) as how:
        report = postprocess(task, **how)
    status = show_tomograms(report.entries)
    write_results({"removed": f"{sum(report.removed.values())} objects"})
    return status
