"""``volproc demo``: the main job on phantoms, from nothing to scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from volproc.cli.options import (
    Sizes,
    cluster_options,
    overwrite_option,
    quiet_option,
    run_options,
    say,
    write_results,
)

if TYPE_CHECKING:
    import pandas as pd


@click.command()
@click.option(
    "-o", "--output", default="demo", show_default=True, help="Folder for everything; made."
)
@click.option("--shape", type=Sizes(), help="Size of each phantom, z,y,x.")
@click.option(
    "--noise", type=click.FloatRange(min=0), help="Noise, where a particle has density 1."
)
@click.option("-m", "--model", help="Model file, or the name of embedded weights.")
@overwrite_option
@cluster_options
@quiet_option
def demo(output: str, **options: Any) -> None:
    """Make tomograms with known truth, segment them, find particles, and score what was found.

    Leaves a copick project with tomograms, segmentations and picks, scores.json, and a page with
    pictures.
    """
    from volproc.workflows.demo import DemoTask
    from volproc.workflows.demo import demo as run

    with run_options(options) as how:
        given = {key: value for key, value in options.items() if value is not None}
        report = run(DemoTask(output, **given), **how)
    show_scores(report.table)
    say()
    write_results(
        {
            "project": report.project,
            "segmentations": ", ".join(report.segmentations),
            "picks": ", ".join(sorted({str(path.parent) for path in report.picks})),
            "scores": report.scores,
            "page": report.page,
        }
    )


def show_scores(table: pd.DataFrame) -> None:
    """Write the scores on stdout as a table."""
    columns = ["class_name", "num_truth", "num_predicted", "tp", "precision", "recall", "f1"]
    heads = ["class", "true", "predicted", "found", "precision", "recall", "F1"]
    rows = [heads] + [
        [f"{value:.3f}" if isinstance(value, float) else str(value) for value in row]
        for row in table[columns].itertuples(index=False, name=None)
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    for name, *numbers in rows:
        cells = [f"{n:>{w}}" for n, w in zip(numbers, widths[1:], strict=True)]
        say("  ".join([f"{name:<{widths[0]}}", *cells]))
