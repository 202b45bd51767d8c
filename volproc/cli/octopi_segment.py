"""``volproc octopi segment``: ``volproc segment semantic`` with Octopi's short flags."""

from __future__ import annotations

from copy import copy
from typing import Any

import click

from volproc.cli.segment import semantic

SHORT = {"config": ["-c", "--config"], "overlap": ["-o", "--overlap"]}
"""Options that Octopi calls otherwise for short."""

LEFT_OUT = ("inputs", "output", "lists", "t", "c", "level", "dataset", "override_voxel_size")
"""What a project says by itself."""


def _parameters() -> list[click.Parameter]:
    """Those of the other command, with Octopi's names."""
    found = []
    for parameter in semantic.params:
        if parameter.name in LEFT_OUT:
            continue
        chosen = copy(parameter)
        if parameter.name in SHORT:
            chosen.opts = SHORT[parameter.name]
        chosen.required = parameter.name == "config"
        found.append(chosen)
    return found


def segment(**options: Any) -> int:
    """Give every voxel of tomograms of a copick project a class, as Octopi does.

    Segmentations go into the project, with the log that "octopi localize" reads. A killed run goes
    on where it stopped when the same command is run again.
    """
    nothing: dict[str, Any] = dict.fromkeys(LEFT_OUT)
    nothing |= {"inputs": (), "lists": (), "override_voxel_size": False}
    options["preset"] = options["preset"] or "octopi"
    assert semantic.callback is not None  # it is a command
    status: int = semantic.callback(**nothing, **options)
    return status


segment_command = click.Command(
    "segment", params=_parameters(), callback=segment, help=segment.__doc__
)
"""The command."""
