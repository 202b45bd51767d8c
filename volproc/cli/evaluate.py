"""``volproc evaluate``: particle centres and known ones in, precision and recall out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from volproc.cli.dataset import MAX_FAILED, MAX_ROWS, input_options
from volproc.cli.options import (
    Named,
    Sizes,
    VoxelSize,
    overwrite_option,
    quiet_option,
    say,
    watch_options,
)

if TYPE_CHECKING:
    import pandas as pd

    from volproc.workflows.evaluate import Evaluation
    from volproc.workflows.scorer import ScoreRule

SHOWN = ("num_truth", "num_predicted", "tp", "fp", "fn", "precision", "recall", "f1", "fbeta")
"""Columns of the tables on the screen."""


@click.command()
@click.argument("predicted", metavar="[PREDICTED]...", nargs=-1)
@click.option(
    "-t",
    "--truth",
    required=True,
    help="Known centres: a file, a table of several volumes, a template as truth/{name}.csv, a "
    "folder, pattern or @list of files paired by name, or CONFIG.json:*/:USER/SESSION.",
)
@input_options
@click.option(
    "-dts",
    "--distance-threshold-scale",
    "--distance-fraction",
    "distance_fraction",
    type=click.FloatRange(min=0, min_open=True),
    default=0.8,
    show_default=True,
    help="Longest distance of a pair, as a part of the particle's radius.",
)
@click.option(
    "--distance",
    type=click.FloatRange(min=0, min_open=True),
    metavar="Å",
    help="Longest distance of a pair, Å, for all classes: radii are not needed.",
)
@click.option(
    "-fb",
    "--fbeta",
    "--beta",
    "beta",
    type=click.FloatRange(min=0, min_open=True),
    default=4.0,
    show_default=True,
    help="Above 1, F-beta counts what is missed for more than what is false.",
)
@click.option(
    "--radius",
    "radii",
    multiple=True,
    type=Named(float, "NAME=Å"),
    help="Radius of a class, Å; once a class. By default those of the copick project, or of the "
    'record that "volproc localize" left.',
)
@click.option(
    "--weight",
    "weights",
    multiple=True,
    type=Named(float, "NAME=WEIGHT"),
    help="Weight of a class in the weighted F-beta. By default the metadata.weight of the "
    "project's objects, else 1.",
)
@click.option(
    "-names",
    "--object-names",
    "classes",
    multiple=True,
    metavar="NAME,...",
    help="Score these classes only.",
)
@click.option(
    "--project",
    default="",
    metavar="CONFIG.json",
    help="copick project that says objects, radii and weights, where the points lie in none.",
)
@click.option(
    "-vs", "--voxel-size", type=VoxelSize(), help="Å per voxel, where a table gives none."
)
@click.option("--truth-voxel-size", type=VoxelSize(), help="The same of the truth, if another.")
@click.option(
    "--unit",
    type=click.Choice(["voxel", "angstrom"]),
    default="voxel",
    show_default=True,
    help="What x, y, z of a CSV of others are counted in.",
)
@click.option(
    "--truth-unit", type=click.Choice(["voxel", "angstrom"]), help="The same of the truth."
)
@click.option(
    "--shape",
    type=Sizes(),
    help="Size of the volumes, z,y,x, for centred coordinates of a STAR file.",
)
@click.option(
    "--pixel-size",
    type=click.FloatRange(min=0, min_open=True),
    help="Å per pixel of a STAR file's coordinates, where it says nothing or a wrong one.",
)
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    help="Folder for scores.csv, volumes.csv, scores.json and run.json; none by default.",
)
@overwrite_option
@quiet_option
def evaluate(
    predicted: tuple[str, ...],
    truth: str,
    radii: tuple[tuple[str, float], ...],
    weights: tuple[tuple[str, float], ...],
    classes: tuple[str, ...],
    output: str | None,
    overwrite: bool,
    **options: Any,
) -> int:
    """Score particle centres against known ones.

    PREDICTED is what "volproc localize" wrote, or another table of points; folders, patterns,
    lists, tables of several volumes and runs of a copick project (CONFIG.json:*/:USER/SESSION)
    are scored volume by volume. A centre is right if it is paired with a known one of its class:
    one to one, as many as possible. Volumes that cannot be scored are named at the end, and the
    exit status is 1.
    """
    from volproc.io.inputs import LIST_SIGN
    from volproc.io.point_inputs import PointFormat
    from volproc.workflows.evaluate import evaluate as run
    from volproc.workflows.scorer import ScoreRule

    words = [*predicted, *(f"{LIST_SIGN}{path}" for path in options.pop("lists"))]
    if not words:
        msg = "Missing argument 'PREDICTED': give the points to score."
        raise click.UsageError(msg)
    rule = ScoreRule(
        distance=options.pop("distance"),
        distance_fraction=options.pop("distance_fraction"),
        beta=options.pop("beta"),
        radii=dict(radii),
        weights=dict(weights),
        classes=tuple(_split(classes)),
        project=options.pop("project"),
    )
    rest = {name: options.pop(name) for name in ("shape", "pixel_size")}
    size, true_size = options.pop("voxel_size"), options.pop("truth_voxel_size")
    unit, true_unit = options.pop("unit"), options.pop("truth_unit")
    runs = _split(options.pop("run_ids"))
    with watch_options(options) as observe:
        result = run(
            words,
            truth,
            rule=rule,
            runs=runs,
            point_format=PointFormat(size, unit, **rest),
            truth_format=PointFormat(true_size or size, true_unit or unit, **rest),
            output=output,
            overwrite=overwrite,
            observe=observe,
        )
    return show_scores(result)


def show_scores(result: Evaluation) -> int:
    """Write the tables of an evaluation, and return the exit status."""
    failed = [entry for entry in result.entries if entry.status == "failed"]
    num_scored = len(result.volumes)
    if num_scored:
        scores = result.scores.set_index("class_name")
        for line in score_lines(scores, "class"):
            say(line)
        if num_scored > 1:
            say()
            _show_volumes(result)
        say()
        say(_describe(result.rule))
        weights = {name: weight for name, weight in scores["weight"].items() if weight == weight}
        if weights:
            listed = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
            say(
                f"weighted F{result.rule.beta:g}  {result.summary.weighted_fbeta:.4f}  "
                f"(weights: {listed})"
            )
    for entry in failed[:MAX_FAILED]:
        say(f"{entry.name}  failed  {' '.join(entry.error.split())}")
    if len(failed) > MAX_FAILED:
        say(f"and {len(failed) - MAX_FAILED} more that failed")
    more = f", {len(failed)} failed" if failed else ""
    volumes = "1 volume" if len(result.entries) == 1 else f"{len(result.entries)} volumes"
    say(f"{volumes}: {num_scored} scored{more}")
    for path in result.files:
        say(f"wrote  {path}")
    return 1 if failed else 0


def _show_volumes(result: Evaluation) -> None:
    """Write the overall row of each volume, and the means over them."""
    from volproc.metrics.points import OVERALL
    from volproc.workflows.evaluate_output import join_volumes

    is_short = len(result.volumes) <= MAX_ROWS
    if is_short:
        table = join_volumes(result.volumes)
        overall = table[table["class_name"] == OVERALL].set_index("volume")
        for line in score_lines(overall, "volume"):
            say(line)
    means = result.summary.means.set_index("class_name")
    if is_short:
        say()
    say("mean over volumes (± standard deviation)")
    for name, row in means[means["num_volumes"] > 0].iterrows():
        figures = ", ".join(
            f"{what} {row[f'{what}_mean']:.3f} ± {row[f'{what}_std']:.3f}"
            for what in ("precision", "recall", "f1", "fbeta")
        )
        say(f"{name}  {int(row['num_volumes'])} volumes: {figures}")


def score_lines(table: pd.DataFrame, title: str) -> list[str]:
    """Rows of scores in columns, with a head.

    Parameters
    ----------
    table : DataFrame
        Scores; its index names the rows.
    title : str
        What the rows are.
    """
    columns = [
        [
            f"{value:.3f}" if table[column].dtype.kind == "f" else str(value)
            for value in table[column]
        ]
        for column in SHOWN
    ]
    rows = [
        [title, *(column.removeprefix("num_") for column in SHOWN)],
        *([str(name), *cells] for name, *cells in zip(table.index, *columns, strict=True)),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]


def _describe(rule: ScoreRule) -> str:
    """Say what counted as found."""
    if rule.distance is None:
        radii = ", ".join(f"{name} {radius:g}" for name, radius in rule.radii.items())
        return (
            f"pairs are at most {rule.distance_fraction:g} radii long (Å: {radii}); F-beta with "
            f"beta {rule.beta:g}"
        )
    return f"pairs are at most {rule.distance:g} Å long; F-beta with beta {rule.beta:g}"


def _split(texts: Sequence[str]) -> list[str]:
    """Names of options that take several with commas between."""
    return [name.strip() for text in texts for name in text.split(",") if name.strip()]
