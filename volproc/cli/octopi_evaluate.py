"""``volproc octopi evaluate``: Octopi's command, with its short flags and defaults."""

from __future__ import annotations

from typing import Any

import click

from volproc.cli.evaluate import project_options, rule_options, score_project


@click.command("evaluate")
@click.option("-c", "--config", required=True, metavar="CONFIG.json", help="copick project.")
@project_options
@click.option(
    "-runs",
    "--run-ids",
    "run_ids",
    multiple=True,
    metavar="RUN,...",
    help="Score these runs only.",
)
@click.option(
    "-o",
    "--output",
    "--save-path",
    "output",
    metavar="FOLDER",
    default="scores",
    show_default=True,
    help="Folder for average_metrics.yaml, metrics.json and all else that is written.",
)
@click.option(
    "-v",
    "--verbose",
    type=bool,
    default=False,
    show_default=True,
    help="Also write the scores of every run on the screen.",
)
@rule_options
def evaluate(config: str, output: str, overwrite: bool, verbose: bool, **options: Any) -> int:
    """Score picks of a project against others of it.

    Points are paired one to one; --matching octopi counts as Octopi does.
    """
    return score_project(config, output=output, overwrite=overwrite, verbose=verbose, **options)
