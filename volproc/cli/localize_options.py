"""Options of ``volproc localize`` that name a copick project, as Octopi's users know them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from volproc.cli.copick_options import SegmentationName, SegmentationUri, Words

if TYPE_CHECKING:
    from volproc.workflows.localize_project import ProjectPicking

F = TypeVar("F", bound=Callable[..., Any])

USUAL_SPACING = 10.0
"""Voxel spacing of a project's segmentations where none is given, Å."""


def project_options(function: F) -> F:
    """Add what finds segmentations in a project and says whose the picks are."""
    for option in (
        click.option(
            "-np",
            "--n-procs",
            type=click.IntRange(min=1),
            help="Threads, as many as there are cores at most; the same as --cluster threads "
            "--workers N.",
        ),
        click.option(
            "-pui",
            "--pick-user-id",
            default="octopi",
            show_default=True,
            help="With --config: user of the picks.",
        ),
        click.option(
            "-psid",
            "--pick-session-id",
            default="1",
            show_default=True,
            help="With --config: session of the picks.",
        ),
        click.option(
            "--runIDs",
            "asked_runs",
            type=Words(),
            help="With --config: only these runs; all by default. As --run-ids.",
        ),
        click.option(
            "-suri",
            "--seg-uri",
            type=SegmentationUri(),
            help="The same as --seg-info.",
        ),
        click.option(
            "-sinfo",
            "--seg-info",
            type=SegmentationName(),
            help="With --config: the segmentations, or their name alone. "
            "[default: predict,octopi,1]",
        ),
        click.option(
            "-c",
            "--config",
            "project",
            metavar="PROJECT.json",
            help="Localize in the runs of a copick project, and write the picks there.",
        ),
    ):
        function = option(function)
    return function


def class_options(function: F) -> F:
    """Add which classes of a map are looked for."""
    for option in (
        click.option(
            "-lbl",
            "--label",
            type=int,
            help="Value of every class in the map, whatever else says: for masks of other tools.",
        ),
        click.option(
            "-obj",
            "--pick-objects",
            "objects",
            type=Words(),
            default=(),
            help="Look for these classes only; for all particles by default.",
        ),
    ):
        function = option(function)
    return function


def score_options(function: F) -> F:
    """Add probabilities, and how their peaks are found."""
    for option in (
        click.option("--refine", is_flag=True, help="Peaks: place them between voxels."),
        click.option(
            "--smooth-scale",
            type=click.FloatRange(min=0),
            default=0.25,
            show_default=True,
            help="Peaks: width of the Gaussian that smooths probabilities, as a part of the "
            "radius; it finds the middle of a plateau. 0: none.",
        ),
        click.option(
            "--distance-scale",
            type=click.FloatRange(min=0),
            default=1.0,
            show_default=True,
            help="Peaks: of two nearer than this part of the radius the higher one is kept.",
        ),
        click.option(
            "--threshold",
            type=float,
            default=0.5,
            show_default=True,
            help="Peaks: least probability.",
        ),
        click.option(
            "--probabilities",
            metavar="MAP",
            default="",
            help="Map of probabilities, as segment semantic --probabilities writes it: a pick's "
            "score is their mean in its object. {name} and {folder} as in --output. With --config "
            "and peaks, the maps that are searched.",
        ),
    ):
        function = option(function)
    return function


def take_project(options: dict[str, Any], words: tuple[str, ...]) -> ProjectPicking | None:
    """Take what names a project out of options; None where the inputs are addresses.

    Parameters
    ----------
    options : dict
        Options of the command; ``voxel_size``, ``lists`` and ``run_ids`` are used up too.
    words : tuple of str
        Inputs on the command line.
    """
    names = ("project", "seg_info", "seg_uri", "asked_runs", "pick_user_id", "pick_session_id")
    given = {name: options.pop(name) for name in names}
    if given["project"] is None:
        context = click.get_current_context()
        for name in names[1:]:
            source = context.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                msg = (
                    f"--{name.replace('_', '-')} needs --config PROJECT.json, whose runs it is of."
                )
                raise click.UsageError(msg.replace("--asked-runs", "--runIDs"))
        return None
    if words or options.pop("lists"):
        msg = "--config names all inputs: leave out CLASSES and --list, or --config."
        raise click.UsageError(msg)
    if given["seg_info"] and given["seg_uri"]:
        msg = "--seg-info and --seg-uri say the same: give one of them."
        raise click.UsageError(msg)
    runs = given["asked_runs"] or ()
    for text in options.pop("run_ids"):
        runs += Words().convert(text, None, None)
    return _picking(given, runs, options.pop("voxel_size"))


def _picking(
    given: dict[str, Any], runs: tuple[str, ...], voxel_size: float | tuple[float, ...] | None
) -> ProjectPicking:
    from volproc.workflows.localize_project import ProjectPicking

    if isinstance(voxel_size, tuple):
        msg = f"a project has one voxel spacing for all axes, got {voxel_size}. Give one number."
        raise click.UsageError(msg)
    name, user, session = given["seg_info"] or given["seg_uri"] or ("predict", "octopi", "1")
    return ProjectPicking(
        given["project"],
        name,
        user,
        session,
        USUAL_SPACING if voxel_size is None else voxel_size,
        given["pick_user_id"],
        given["pick_session_id"],
        tuple(dict.fromkeys(runs)),
    )


def take_threads(options: dict[str, Any]) -> None:
    """Turn ``n_procs`` into what runs the work, unless that is said otherwise."""
    number = options.pop("n_procs")
    if number is None:
        return
    if options["cluster"] is not None or options["workers"] is not None:
        msg = "--n-procs stands for --cluster threads --workers N: leave one of them out."
        raise click.UsageError(msg)
    workers = min(number, os.cpu_count() or 1)
    if workers > 1:
        options.update(cluster="threads", workers=workers)


def spell_method(options: dict[str, Any]) -> None:
    """Turn Octopi's ``com`` into centres of mass with its largest particle."""
    if options["method"] == "com":
        options["method"] = "centre-of-mass"
        if options["radius_max_scale"] is None:
            options["radius_max_scale"] = 1.0
