"""Options of ``volproc segment semantic`` for models of Octopi and runs of a copick project."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from volproc.cli.copick_options import SegmentationName, SegmentationUri, TomogramUri, Words

if TYPE_CHECKING:
    from volproc.workflows.segment_project import ProjectSegmenting

F = TypeVar("F", bound=Callable[..., Any])

logger = logging.getLogger(__name__)

USUAL_SPACING = 10.0
"""Voxel spacing of a project's tomograms where none is given, Å."""

MOST_VIEWS = 8
"""Views that Octopi has."""

PROJECT_NAMES = ("tomo_alg", "tomo_uri", "seg_info", "seg_uri", "tomo_batch_size")
"""Options that are of a project alone."""


OCTOPI_OPTIONS = (
    click.option(
        "--preset", type=click.Choice(["volproc", "octopi", "guide"]),
        help="Settings by name, which single ones override: volproc (default); octopi, the "
        "numbers of Octopi 1.5 to 1.7 (default with a model of Octopi); guide, those of its "
        "earlier versions.",
    ),
    click.option(
        "-mc", "--model-config", "octopi_config", metavar="YAML,...",
        help="Octopi's model_config.yaml; a comma list for an ensemble, or one for all weights.",
    ),
    click.option(
        "-mw", "--model-weights", "octopi_weights", metavar="PTH,...",
        help="Octopi's best_model.pth; a comma list for an ensemble, matched by class name.",
    ),
    click.option(
        "--labels", metavar="NAME=CHANNEL,...",
        help="Channel of each class, where a model_config.yaml does not say it.",
    ),
    click.option(
        "-alg", "--tomo-alg", help="With a project: type of the tomograms. [default: wbp]"
    ),
    click.option(
        "-uri", "-turi", "--tomo-uri", type=TomogramUri(),
        help="The same with the voxel spacing, as wbp@10.",
    ),
    click.option(
        "-seginfo", "--seg-info", type=SegmentationName(),
        help="With a project: what the segmentations are called, or their name alone. "
        "[default: predict,octopi,1]",
    ),
    click.option(
        "-suri", "--seg-uri", type=SegmentationUri(), help="The same as --seg-info."
    ),
    click.option(
        "--tomo-batch-size", type=click.IntRange(min=1),
        help="Octopi's former flag, tomograms that are in memory together. Here none is: it is "
        "taken, and changes nothing.",
    ),
)  # fmt: skip
"""What Octopi's ``segment`` takes beside the options that are volproc's too."""


def octopi_options(function: F) -> F:
    """Add `OCTOPI_OPTIONS` to a command."""
    for option in reversed(OCTOPI_OPTIONS):
        function = option(function)
    return function


def take_project(options: dict[str, Any]) -> ProjectSegmenting | None:
    """Take what names a project out of options; None where the inputs are addresses.

    Parameters
    ----------
    options : dict
        Options of the command. ``config``, ``voxel_size``, ``lists`` and ``run_ids`` are used up
        where ``config`` is a project.
    """
    given = {name: options.pop(name, None) for name in PROJECT_NAMES}
    if not _is_project(options["config"]):
        for name, value in given.items():
            if value is not None:
                option = name.replace("_", "-")
                msg = f"--{option} needs --config PROJECT.json, the project that it is of."
                raise click.UsageError(msg)
        return None
    if options["inputs"] or options["lists"] or options["output"]:
        msg = (
            "--config PROJECT.json names all inputs and outputs: leave out INPUT, --list and "
            "--output, or --config."
        )
        raise click.UsageError(msg)
    for one, other in (("tomo_uri", "tomo_alg"), ("seg_uri", "seg_info")):
        if given[one] is not None and given[other] is not None:
            first, second = (f"--{name.replace('_', '-')}" for name in (one, other))
            msg = f"{first} and {second} say the same: give one of them."
            raise click.UsageError(msg)
    if given["tomo_batch_size"] is not None:
        logger.warning("--tomo-batch-size changes nothing: no tomogram is in memory as a whole")
    runs = tuple(run for text in options["run_ids"] for run in Words().convert(text, None, None))
    found = _segmenting(given, options["config"], options["voxel_size"], runs)
    options |= {"config": None, "voxel_size": None, "run_ids": (), "lists": ()}
    return found


def _segmenting(
    given: dict[str, Any],
    config: str,
    voxel_size: float | tuple[float, ...] | None,
    runs: tuple[str, ...],
) -> ProjectSegmenting:
    from volproc.workflows.segment_project import ProjectSegmenting

    if isinstance(voxel_size, tuple):
        msg = f"a project has one voxel spacing for all axes, got {voxel_size}. Give one number."
        raise click.UsageError(msg)
    if given["tomo_uri"] is not None and voxel_size is not None:
        msg = "--tomo-uri has the voxel spacing already: leave out --voxel-size."
        raise click.UsageError(msg)
    spacing = USUAL_SPACING if voxel_size is None else voxel_size
    tomogram, spacing = given["tomo_uri"] or (given["tomo_alg"] or "wbp", spacing)
    name, user, session = given["seg_info"] or given["seg_uri"] or ("predict", "octopi", "1")
    place = str(Path(config).absolute())
    return ProjectSegmenting(place, tomogram, spacing, name, user, session, runs)


def _is_project(path: str | None) -> bool:
    """Whether a configuration is that of a copick project; what is no settings file may be one."""
    if path is None or not path.lower().endswith(".json"):
        return False
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return True  # opening the project says what is wrong with it
    return isinstance(values, dict) and "pickable_objects" in values


def choose_views(number: int, preset: str) -> str:
    """Name of a set of views by their number, as Octopi counts them.

    Raises
    ------
    click.UsageError
        If the preset has no such number.

    Examples
    --------
    >>> choose_views(1, "octopi"), choose_views(5, "octopi"), choose_views(16, "volproc")
    ('none', 'octopi5', 'all16')
    """
    if number == 1:
        return "none"
    if preset == "guide":
        if number != 4:
            msg = f"--preset guide has 4 views or 1, got --ntta {number}. Choose one of them."
            raise click.UsageError(msg)
        return "rot4"
    if number == 16 and preset == "volproc":
        return "all16"
    if number > MOST_VIEWS:
        logger.warning(
            "--ntta %d is more than the %d views of Octopi: %d are taken (--tta all16 has 16)",
            number,
            MOST_VIEWS,
            MOST_VIEWS,
        )
    return f"octopi{min(number, MOST_VIEWS)}"
