"""Whose picks a project has, run by run and object by object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volproc.core.errors import AddressError, FormatError, nearest
from volproc.io.copick_address import CopickAddress
from volproc.io.copick_config import find_run, open_project
from volproc.io.file_names import natural_key

MOST_NAMED = 20
"""Owners of picks that a message names."""


@dataclass(frozen=True, slots=True)
class PicksOwners:
    """Sessions of the picks of a project."""

    runs: dict[str, dict[tuple[str, str], list[str]]] = field(default_factory=dict)
    """Run → (object, user) → sessions, in the order in which copick lists them."""

    def sessions(self, run: str, user: str, session: str | None = None) -> dict[str, str]:
        """Session of each object of a run; with none given, the first that copick lists."""
        return {
            name: session or sessions[0]
            for (name, owner), sessions in self.runs[run].items()
            if owner == user and (session is None or session in sessions)
        }

    def check(self, user: str, session: str | None, config: Path | str) -> None:
        """Refuse a user and session of whom no run has picks.

        Raises
        ------
        AddressError
            With those that there are.
        """
        if any(self.sessions(run, user, session) for run in self.runs):
            return
        owners = sorted(
            {
                f"{owner}/{one}"
                for objects in self.runs.values()
                for (_, owner), sessions in objects.items()
                for one in sessions
            }
        )
        asked = user if session is None else f"{user}/{session}"
        known = nearest(asked, owners[:MOST_NAMED]) if owners else "no run has any picks."
        msg = (
            f"no run of {config} has picks of {asked}; {known} Check user and session. Where "
            "nothing was found in any run, one file without points says so, as localize leaves it."
        )
        raise AddressError(msg)


def list_owners(config: Path | str) -> PicksOwners:
    """Whose picks each run of a project has.

    Parameters
    ----------
    config : path
        Configuration file.

    Returns
    -------
    owners : PicksOwners
        All runs, in natural order, also those without picks.

    Raises
    ------
    MissingFileError, ConfigError
        As `volproc.io.copick_config.open_project`.
    FormatError
        If copick cannot list the picks of a run.
    """
    root = open_project(config)
    runs = sorted(root.runs, key=lambda run: natural_key(run.name))
    return PicksOwners({run.name: _list(run) for run in runs})


def check_runs(config: Path | str, runs: Iterable[str]) -> None:
    """Refuse runs that a project has not.

    Raises
    ------
    AddressError
        With the nearest one that it has.
    """
    root = open_project(config)
    for name in runs:
        find_run(root, CopickAddress(Path(config), name, ""))


def _list(run: Any) -> dict[tuple[str, str], list[str]]:
    try:
        every = run.picks
    except (IndexError, AssertionError) as error:
        msg = (
            f"the Picks folder of run {run.name} holds a file that is not named "
            "USER_SESSION_OBJECT.json, which copick cannot list. Move it elsewhere."
        )
        raise FormatError(msg) from error
    found: dict[tuple[str, str], list[str]] = {}
    for picks in every:
        sessions = found.setdefault((picks.pickable_object_name, picks.user_id), [])
        if picks.session_id not in sessions:
            sessions.append(picks.session_id)
    return found
