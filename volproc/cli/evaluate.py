"""``volproc evaluate``: particle centres and known ones in, precision and recall out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from volproc.cli.dataset import input_options
from volproc.cli.number_options import Numbers
from volproc.cli.options import (
    Named,
    Sizes,
    VoxelSize,
    overwrite_option,
    quiet_option,
    watch_options,
)

if TYPE_CHECKING:
    from volproc.workflows.scorer import ScoreRule

F = TypeVar("F", bound=Callable[..., Any])

POSITIVE = click.FloatRange(min=0, min_open=True)

OF_TABLES = (
    "voxel_size", "truth_voxel_size", "unit", "truth_unit", "shape", "pixel_size", "project",
)  # fmt: skip
"""Options that say what tables do not, or where their project is."""


def rule_options(function: F) -> F:
    """Add what counts as found, and what is said of it; ``take_rule`` takes it."""
    for option in (
        quiet_option,
        overwrite_option,
        click.option(
            "--distance-scales",
            type=Numbers(),
            default=(),
            help="Also score at these longest distances, as parts of the radius: sweep.csv.",
        ),
        click.option(
            "--sweep",
            is_flag=True,
            help="Also score every threshold on the predictions' scores: sweep.csv, average "
            "precision, and precision_recall.png.",
        ),
        click.option(
            "-names",
            "--object-names",
            "classes",
            multiple=True,
            metavar="NAME,...",
            help="Score these classes only.",
        ),
        click.option(
            "--weight",
            "weights",
            multiple=True,
            type=Named(float, "NAME=WEIGHT"),
            help="Weight of a class in the weighted F-beta. By default the metadata.weight of "
            "the project's objects, else 1.",
        ),
        click.option(
            "--radius",
            "radii",
            multiple=True,
            type=Named(float, "NAME=Å"),
            help="Radius of a class, Å; once a class. By default those of the copick project, or "
            'of the record that "volproc localize" left.',
        ),
        click.option(
            "-fb",
            "--fbeta",
            "--beta",
            "beta",
            type=POSITIVE,
            default=4.0,
            show_default=True,
            help="Above 1, F-beta counts what is missed for more than what is false.",
        ),
        click.option(
            "--distance",
            type=POSITIVE,
            metavar="Å",
            help="Longest distance of a hit, Å, for all classes: radii are not needed.",
        ),
        click.option(
            "-dts",
            "--distance-threshold-scale",
            "--distance-fraction",
            "distance_fraction",
            type=POSITIVE,
            default=0.8,
            show_default=True,
            help="Longest distance of a hit, as a part of the particle's radius.",
        ),
        click.option(
            "--matching",
            type=click.Choice(["one-to-one", "octopi", "kaggle"]),
            default="one-to-one",
            show_default=True,
            help="One to one: as many pairs as possible. Octopi: each point by itself, nearer "
            "than the limit, so that five predictions of a particle are five hits. Kaggle: "
            "particles with a prediction within the limit are hits, all other predictions false.",
        ),
    ):
        function = option(function)
    return function


def project_options(function: F) -> F:
    """Add Octopi's options that choose picks of a project."""
    for option in (
        click.option(
            "-psid",
            "--predict-session-id",
            default="1",
            show_default=True,
            help="Session of the picks that are scored.",
        ),
        click.option(
            "-puid",
            "--predict-user-id",
            default="octopi",
            show_default=True,
            help="Whose picks are scored.",
        ),
        click.option(
            "-gtsid",
            "--ground-truth-session-id",
            help="Session of the true picks; by default the first that there is.",
        ),
        click.option("-gtuid", "--ground-truth-user-id", help="Whose picks are true."),
    ):
        function = option(function)
    return function


@click.command()
@click.argument("predicted", metavar="[PREDICTED]...", nargs=-1)
@click.option(
    "-t",
    "--truth",
    help="Known centres: a file, a table of several volumes, a template as truth/{name}.csv, a "
    "folder, pattern or @list of files paired by name, or CONFIG.json:*/:USER/SESSION.",
)
@click.option(
    "-c",
    "--config",
    metavar="CONFIG.json",
    help="copick project whose picks are scored, in place of PREDICTED and --truth.",
)
@project_options
@input_options
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
    type=POSITIVE,
    help="Å per pixel of a STAR file's coordinates, where it says nothing or a wrong one.",
)
@click.option(
    "-o",
    "--output",
    "--save-path",
    "output",
    metavar="FOLDER",
    help="Folder for scores.csv, volumes.csv, picks.csv (every point with its match), "
    "scores.json, and Octopi's average_metrics.yaml and metrics.json; none by default.",
)
@rule_options
@click.pass_context
def evaluate(
    ctx: click.Context,
    predicted: tuple[str, ...],
    truth: str | None,
    config: str | None,
    output: str | None,
    overwrite: bool,
    **options: Any,
) -> int:
    """Score particle centres against known ones.

    PREDICTED is what "volproc localize" wrote, or another table of points; folders, patterns,
    lists, tables of several volumes and runs of a copick project (CONFIG.json:*/:USER/SESSION)
    are scored volume by volume. With --config and --ground-truth-user-id picks of a project are
    scored against others of it, in all its runs. A centre is right if it is paired with a known
    one of its class: one to one, as many as possible. Volumes that cannot be scored are named at
    the end, and the exit status is 1.
    """
    if config is not None:
        _refuse_together(ctx, predicted, truth)
        return score_project(config, output=output, overwrite=overwrite, **options)
    _refuse_alone(ctx)
    from volproc.cli.scores_table import show_scores
    from volproc.io.inputs import LIST_SIGN
    from volproc.io.point_inputs import PointFormat
    from volproc.workflows.evaluate import evaluate as run

    words = [*predicted, *(f"{LIST_SIGN}{path}" for path in options.pop("lists"))]
    if not words:
        msg = "Missing argument 'PREDICTED': give the points to score, or a project (--config)."
        raise click.UsageError(msg)
    if truth is None:
        msg = "Missing option '-t' / '--truth': give the known centres."
        raise click.UsageError(msg)
    rule = take_rule(options)
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


def score_project(
    config: str, *, output: str | None, overwrite: bool, verbose: bool = False, **options: Any
) -> int:
    """Score picks of a project, and return the exit status.

    Parameters
    ----------
    config : str
        Configuration file of the project.
    output : str or None
        Folder to write to.
    overwrite : bool
        Replace what is in it.
    verbose : bool
        Write the scores of every run, however many there are.
    **options
        Those of `project_options` and `rule_options`, and ``run_ids``.
    """
    from volproc.cli.scores_table import show_scores
    from volproc.workflows.evaluate_project import ProjectPicks, evaluate_project

    truth_user = options.pop("ground_truth_user_id")
    if not truth_user:
        msg = "Missing option '-gtuid' / '--ground-truth-user-id': say whose picks are true."
        raise click.UsageError(msg)
    picks = ProjectPicks(
        config,
        truth_user,
        options.pop("ground_truth_session_id"),
        options.pop("predict_user_id"),
        options.pop("predict_session_id"),
        tuple(_split(options.pop("run_ids"))),
    )
    rule = take_rule(options)
    with watch_options(options) as observe:
        result = evaluate_project(
            picks, rule=rule, output=output, overwrite=overwrite, observe=observe
        )
    return show_scores(result, every=verbose)


def take_rule(options: dict[str, Any]) -> ScoreRule:
    """Take what counts as found out of options."""
    from volproc.workflows.scorer import ScoreRule

    names = ("matching", "distance", "distance_fraction", "beta", "sweep", "distance_scales")
    return ScoreRule(
        radii=dict(options.pop("radii")),
        weights=dict(options.pop("weights")),
        classes=tuple(_split(options.pop("classes"))),
        project=options.pop("project", ""),
        **{name: options.pop(name) for name in names},
    )


def _refuse_together(ctx: click.Context, predicted: Sequence[str], truth: str | None) -> None:
    """Refuse what says again, or otherwise, what a project says."""
    given = [
        f"--{name.replace('_', '-')}" for name in (*OF_TABLES, "lists") if _is_given(ctx, name)
    ]
    given = [*(["PREDICTED"] if predicted else []), *(["--truth"] if truth else []), *given]
    if given:
        listed = ", ".join(given).replace("--lists", "--list")
        msg = f"{listed} and --config exclude each other: picks of a project need none of it."
        raise click.UsageError(msg)


def _refuse_alone(ctx: click.Context) -> None:
    """Refuse Octopi's options without a project."""
    for name in (
        "ground_truth_user_id", "ground_truth_session_id", "predict_user_id", "predict_session_id"
    ):  # fmt: skip
        if _is_given(ctx, name):
            msg = f"--{name.replace('_', '-')} needs --config CONFIG.json, the project."
            raise click.UsageError(msg)


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _split(texts: Sequence[str]) -> list[str]:
    """Names of options that take several with commas between, in square brackets or not."""
    bare = [text.strip().removeprefix("[").removesuffix("]") for text in texts]
    return [name.strip() for text in bare for name in text.split(",") if name.strip()]
