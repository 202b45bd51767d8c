"""``volproc cryosiam``: CryoSiam's commands, with its yaml files and its numbers."""

from __future__ import annotations

import click

from volproc.cli.main import LazyGroup

COMMANDS = {
    "semantic-postprocessing": (
        "volproc.cli.cryosiam_postprocessing:semantic_postprocessing",
        "Remove small objects from predictions.",
    ),
    "semantic-predict": (
        "volproc.cli.cryosiam_predict:semantic_predict",
        "Predict masks, classes or candidates of particles.",
    ),
    "semantic-to-centers": (
        "volproc.cli.cryosiam_centers:semantic_to_centers",
        "Find particle centres in predictions.",
    ),
}
"""Name of a command → where it is, and its line in the help."""


@click.group(cls=LazyGroup, lazy=COMMANDS)
def cryosiam() -> None:
    """CryoSiam's commands, with its configuration files and its numbers."""
