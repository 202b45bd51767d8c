"""``volproc octopi``: Octopi's commands under Octopi's names, with its short flags and defaults.

Each is a thin door to the command of the same work; users of Octopi change one word.
"""

from __future__ import annotations

import click

from volproc.cli.main import LazyGroup

COMMANDS = {
    "create-targets": (
        "volproc.cli.create_targets:create_targets",
        "Paint picks as balls, to train a network on.",
    ),
    "train": ("volproc.cli.train:octopi_train", "Train a network on targets."),
    "import": (
        "volproc.cli.import_tomograms:import_tomograms",
        "Put tomograms into a copick project.",
    ),
    "segment": ("volproc.cli.octopi_segment:segment_command", "Give every voxel a class."),
    "localize": ("volproc.cli.localize:localize", "Find particle centres in class maps."),
    "evaluate": ("volproc.cli.octopi_evaluate:evaluate", "Score picks against known ones."),
    "membrane-extract": ("volproc.cli.membrane:membrane_extract", "Find picks beside a membrane."),
}
"""Name of a command → where it is, and its line in the help."""


@click.group(cls=LazyGroup, lazy=COMMANDS)
def octopi() -> None:
    """Octopi's commands, with its flags, defaults and numbers."""
