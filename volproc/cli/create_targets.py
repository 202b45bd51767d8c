"""``volproc create-targets``: picks of a copick project become what a network is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from volproc.cli.copick_options import Words
from volproc.cli.options import overwrite_option, quiet_option, say, watch_options, write_results

if TYPE_CHECKING:
    from volproc.training.targets import TargetsReport


class Owned(click.ParamType):
    """``NAME`` or ``NAME,USER,SESSION``."""

    name = "NAME[,USER,SESSION]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str | None, str | None]:
        """Name, user and session; the last two None where they are not said."""
        if not isinstance(value, str):
            return value
        parts = tuple(part.strip() for part in value.split(","))
        if len(parts) not in (1, 3) or not all(parts):
            self.fail(f'"{value}" is neither NAME nor NAME,USER,SESSION.', param, ctx)
        if len(parts) == 1:
            return parts[0], None, None
        return parts[0], parts[1], parts[2]


@click.command("create-targets")
@click.option("-c", "--config", required=True, type=click.Path(), help="The project's copick.json.")
@click.option(
    "-t",
    "--target",
    "targets",
    multiple=True,
    type=Owned(),
    help="Picks of an object of the project; once an object. Targets are numbered 1, 2, … in the "
    "order of the command line. None: every particle, with the project's labels.",
)
@click.option(
    "--seg-target",
    "seg_targets",
    multiple=True,
    type=Owned(),
    help="A segmentation whose voxels above 0 become a class, numbered after the targets.",
)
@click.option("--picks-user-id", help="Whose picks, where every particle is taken. None: anyone's.")
@click.option("--picks-session-id", help="Session of the picks, where every particle is taken.")
@click.option(
    "--run-ids", type=Words(), default=(), help="Runs to paint; all that have the tomogram."
)
@click.option("-alg", "--tomo-alg", default="wbp", show_default=True, help="Type of the tomograms.")
@click.option(
    "-vs",
    "--voxel-size",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Å per voxel of the tomograms.",
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
    help="One map of labels, or for each class a map NAME-CLASS of heights, 255 at a pick and one "
    "half where its ball ends.",
)
@click.option(
    "-name",
    "--target-segmentation-name",
    "name",
    default="targets",
    show_default=True,
    help="Name of the targets.",
)
@click.option(
    "-uid", "--target-user-id", "user", default="octopi", show_default=True, help="Their user."
)
@click.option(
    "-sid", "--target-session-id", "session", default="1", show_default=True, help="Their session."
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

    chosen = choose_targets(
        config,
        [Source(*one) for one in targets],
        [Source(*one) for one in seg_targets],
        user=picks_user_id,
        session=picks_session_id,
    )
    with watch_options(options) as observe:
        runs, tomogram = options.pop("run_ids"), options.pop("tomo_alg")
        task = painting.TargetsTask(config, chosen, tomogram, runs=runs, **options)
        report = painting.create_targets(task, observe=observe)
    labels = {target.source.name: target.label for target in chosen}
    return _show(report, labels)


def _show(report: TargetsReport, labels: dict[str, int]) -> int:
    """Say what was painted and what was not; 1 if a run failed."""
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
    return 1 if report.failed else 0
