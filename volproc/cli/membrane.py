"""``volproc membrane-extract``: picks beside a mask, told from all others and oriented."""

from __future__ import annotations

from typing import Any

import click

from volproc.cli.copick_options import Owned, Words
from volproc.cli.dataset import MAX_FAILED, MAX_ROWS
from volproc.cli.options import cluster_options, overwrite_option, quiet_option, run_options, say


class Range(click.ParamType):
    """``min,max``, or the greatest alone."""

    name = "MIN,MAX"

    def __init__(self, least: float) -> None:
        self.least = least

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Two numbers, ascending."""
        if not isinstance(value, str):
            return value
        text = value.strip().removeprefix("[").removesuffix("]")
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) == 1:
            numbers = [self.least, *numbers]
        if len(numbers) != 2 or not 0 <= numbers[0] <= numbers[1] < float("inf"):
            self.fail(f'"{value}" is no distance. Write MIN,MAX, or the greatest.', param, ctx)
        return numbers[0], numbers[1]


@click.command("membrane-extract")
@click.option("-c", "--config", required=True, type=click.Path(), help="The project's copick.json.")
@click.option(
    "-vs",
    "--voxel-size",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Voxel spacing of the segmentation, Å.",
)
@click.option(
    "-pi",
    "--picks-info",
    "--picks-uri",
    "picks",
    required=True,
    type=Owned(),
    help="The picks to tell apart.",
)
@click.option(
    "-si",
    "-suri",
    "--seg-info",
    "--seg-uri",
    "mask",
    required=True,
    type=Owned(),
    help="The segmentation: voxels above 0 are the membrane.",
)
@click.option(
    "-rids", "--runIDs", "--run-ids", "runs", type=Words(), default=(), help="These runs only."
)
@click.option(
    "-t",
    "--threshold",
    type=Range(1.0),
    default="1,10",
    show_default=True,
    help="Distances of close picks from the nearest voxel of the mask, voxels, both included; of "
    "one number the least is 1.",
)
@click.option(
    "--threshold-angstrom", type=Range(0.0), help="The same in Å, of one number the least is 0."
)
@click.option(
    "--normal",
    "facing",
    type=click.Choice(["surface", "centre", "octopi"]),
    default="surface",
    show_default=True,
    help="What close picks are turned by, where no pick is turned yet: the normal of the mask's "
    "surface, or the way from the centre of mass of its label; octopi takes z for x there, as "
    "Octopi does.",
)
@click.option(
    "--normal-radius",
    "radius_angstrom",
    type=click.FloatRange(min=0, min_open=True),
    metavar="Å",
    help="How far around its nearest voxel the surface is fitted; 8 voxels by default.",
)
@click.option("-suid", "--save-user-id", "save_user", help="Whose the picks become.")
@click.option(
    "-ssid",
    "--save-session-id",
    "save_session",
    required=True,
    help="Session of the close picks, a whole number; the others go to the next one.",
)
@click.option(
    "-np",
    "--n-procs",
    type=click.IntRange(min=1),
    help='Processes, as "--cluster local --workers N".',
)
@overwrite_option
@cluster_options
@quiet_option
def membrane_extract(
    threshold: tuple[float, float],
    threshold_angstrom: tuple[float, float] | None,
    n_procs: int | None,
    **options: Any,
) -> int:
    """Tell picks beside a membrane from all others, and turn them to face away from it.

    Picks keep their score and place. Close ones go to the session that is given, all others to
    the next one.
    """
    from volproc.workflows.membrane import MembraneTask, extract_membrane

    if n_procs is not None:
        if options["cluster"] or options["workers"]:
            msg = "--n-procs is the same as --cluster local --workers N: give one of them."
            raise click.UsageError(msg)
        options |= {"cluster": "local" if n_procs > 1 else None}
        options |= {"workers": n_procs if n_procs > 1 else None}
    names = (
        "config", "picks", "mask", "save_session", "save_user", "voxel_size", "facing",
        "radius_angstrom", "runs", "overwrite",
    )  # fmt: skip
    task = MembraneTask(
        threshold=threshold_angstrom or threshold,
        unit="angstrom" if threshold_angstrom else "voxel",
        **{name: options.pop(name) for name in names},
    )
    with run_options(options) as how:
        report = extract_membrane(task, **how)
    is_short = len(report.entries) <= MAX_ROWS
    for run, (near, far) in report.counts.items() if is_short else ():
        say(f"{run}  {near} close, {far} far")
    failed = [entry for entry in report.entries if entry.status == "failed"]
    for entry in failed[:MAX_FAILED]:
        say(f"{entry.name}  failed  {' '.join(entry.error.split())}")
    near, far = (sum(one[i] for one in report.counts.values()) for i in (0, 1))
    say(f"{len(report.counts)} runs done, {len(failed)} failed: {near} picks close, {far} far")
    if report.log is not None:
        say(f"log  {report.log}")
    return 1 if failed else 0
