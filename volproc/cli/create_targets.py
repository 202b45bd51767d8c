"""``volproc create-targets``: picks of a copick project become what a network is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from volproc.cli.copick_options import Owned, SegmentationUri, TomogramUri, Words
from volproc.cli.options import overwrite_option, quiet_option, say, watch_options, write_results

if TYPE_CHECKING:
    from volproc.training.targets import TargetsReport


@click.command("create-targets")
@click.option("-c", "--config", required=True, type=click.Path(), help="The project's copick.json.")
@click.option(
    "-t",
    "--target",
    "targets",
    multiple=True,
    type=Owned(),
    help="Picks of an object of the project, or its segmentations where it is no particle; once "
    "an object. Targets are numbered 1, 2, … in the order of the command line. None: every "
    "particle, with the project's labels.",
)
@click.option(
    "--seg-target",
    "seg_targets",
    multiple=True,
    type=Owned(),
    help="A segmentation whose voxels above 0 become a class, numbered after the targets.",
)
@click.option(
    "-puid", "--picks-user-id", help="Whose picks, where every particle is taken. None: anyone's."
)
@click.option(
    "-psid", "--picks-session-id", help="Session of the picks, where every particle is taken."
)
@click.option(
    "-runs",
    "--run-ids",
    type=Words(),
    default=(),
    help="Runs to paint; all that have the tomogram.",
)
@click.option("-alg", "--tomo-alg", show_default="wbp", help="Type of the tomograms.")
@click.option(
    "-vs",
    "--voxel-size",
    type=click.FloatRange(min=0, min_open=True),
    show_default="10.0",
    help="Å per voxel of the tomograms.",
)
@click.option(
    "-uri",
    "--tomo-uri",
    type=TomogramUri(),
    help="Type and voxel spacing of the tomograms, as wbp@10, instead of both flags.",
)
@click.option(
    "-rs",
    "--radius-scale",
    type=click.FloatRange(min=0, min_open=True),
    default=0.7,
    show_default=True,
    help="Radius of a ball, as a part of the particle's.",
)
@click.option(
    "--kind",
    type=click.Choice(["balls", "heatmap"]),
    default="balls",
    show_default=True,
    help="One map of labels, or for each class a map NAME-CLASS of heights as float16, 1 at a pick "
    "and one half where its ball ends.",
)
@click.option(
    "-name",
    "--target-segmentation-name",
    "name",
    show_default="targets",
    help="Name of the targets.",
)
@click.option("-uid", "--target-user-id", "user", show_default="octopi", help="Their user.")
@click.option("-sid", "--target-session-id", "session", show_default="1", help="Their session.")
@click.option(
    "-turi",
    "--target-uri",
    type=SegmentationUri(),
    help="Name, user and session of the targets, instead of the three flags.",
)
@overwrite_option
@quiet_option
def create_targets(
    config: str,
    targets: tuple[tuple[str, str | None, str | None], ...],
    seg_targets: tuple[tuple[str, str | None, str | None], ...],
    picks_user_id: str | None,
    picks_session_id: str | None,
    **options: Any,
) -> int:
    """Paint the picks of a copick project as balls, to train a network on.

    Every run gets a segmentation of the tomogram's shape, painted block by block. A run without
    the tomogram or without picks is named, and so are picks outside of their tomogram.
    """
    from volproc.training import targets as painting
    from volproc.training.target_choice import Source, choose_targets

    _take_uris(options)
    chosen = choose_targets(
        config,
        [Source(*one) for one in targets],
        [Source(*one) for one in seg_targets],
        user=picks_user_id,
        session=picks_session_id,
    )
    with watch_options(options) as observe:
        task = painting.TargetsTask(config, chosen, runs=options.pop("run_ids"), **options)
        report = painting.create_targets(task, observe=observe)
    labels = {target.source.name: target.label for target in chosen}
    return _show(report, labels)


def _take_uris(options: dict[str, Any]) -> None:
    """Turn ``tomo_uri`` and ``target_uri``, or the flags that say the same, into a task's words."""
    tomogram, target = options.pop("tomo_uri"), options.pop("target_uri")
    kind, size = options.pop("tomo_alg"), options.pop("voxel_size")
    owner = tuple(options.pop(part) for part in ("name", "user", "session"))
    if tomogram is not None and (kind, size) != (None, None):
        msg = "--tomo-uri has type and spacing: leave out --tomo-alg and --voxel-size."
        raise click.UsageError(msg)
    if target is not None and owner != (None, None, None):
        msg = (
            "--target-uri has name, user and session: leave out --target-segmentation-name, "
            "--target-user-id and --target-session-id."
        )
        raise click.UsageError(msg)
    options["tomogram"], options["voxel_size"] = tomogram or (kind or "wbp", size or 10.0)
    usual = ("targets", "octopi", "1")
    names = target or tuple(one or other for one, other in zip(owner, usual, strict=True))
    options["name"], options["user"], options["session"] = names


def _show(report: TargetsReport, labels: dict[str, int]) -> int:
    """Say what was painted and what was not; 1 if a run failed, or none was painted."""
    for run in report.painted:
        counts = report.counts.get(run, {})
        say(f"{run}  " + ", ".join(f"{name} {counts.get(name, 0)}" for name in labels))
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    for run, why in report.failed.items():
        click.echo(f"failed: {run}: {why}", err=True)
    write_results(
        {
            "runs": len(report.painted),
            "labels": ", ".join(f"{name}={label}" for name, label in labels.items()),
            "log": report.log,
        }
    )
    if not report.painted and not report.failed:
        click.echo("Error: no run has picks or segmentations of any target.", err=True)
    return 1 if report.failed or not report.painted else 0
