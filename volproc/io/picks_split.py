"""Picks of one object taken apart into sets, each pick as it was but for its orientation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import AddressError, ExistsError, FormatError
from volproc.io.atomic_text import write_texts
from volproc.io.copick_address import check_new_name, parse_copick
from volproc.io.copick_config import find_run, open_project, overlay_folder
from volproc.io.copick_project import make_run
from volproc.io.picks_file import IDENTITY, parse_picks

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class WholePicks:
    """A set of picks with all that its file says."""

    values: dict[str, Any]
    """What the file holds."""

    centres_xyz: Floats
    """(n, 3) location and shift together, (x, y, z), Å."""

    @property
    def rotations(self) -> Floats:
        """(n, 3, 3) of (x, y, z)."""
        turns = [one.get("transformation_", IDENTITY) for one in self.points]
        return np.array(turns, np.float64).reshape(-1, 4, 4)[:, :3, :3]

    @property
    def points(self) -> list[dict[str, Any]]:
        """What the file says of each pick."""
        return self.values.get("points") or []


def read_whole_picks(address: str) -> WholePicks:
    """Read the picks of one object, user and session.

    Parameters
    ----------
    address : str
        ``config.json:RUN/OBJECT:USER/SESSION``.

    Raises
    ------
    AddressError
        If run or picks are not there.
    FormatError
        If the file is damaged.
    """
    found = parse_copick(address)
    run = find_run(open_project(found.config), found)
    fitting = run.get_picks(object_name=found.name, user_id=found.user, session_id=found.session)
    if not fitting:
        msg = f"there are no picks {address}. Check object, user and session."
        raise AddressError(msg)
    # Those of the overlay go before those that they hide.
    (picks, *_) = sorted(fitting, key=lambda one: getattr(one, "read_only", False))
    try:
        if hasattr(picks, "fs") and hasattr(picks, "path"):
            values = json.loads(picks.fs.cat_file(picks.path))
        else:
            values = picks.load().model_dump()
        return WholePicks(values, parse_picks(values).centres_xyz)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        msg = f"the picks {address} are damaged ({error}). Write them again."
        raise FormatError(msg) from error


def picks_path(address: str) -> Path:
    """File that picks of one object, user and session are written to.

    Raises
    ------
    AddressError
        If run, object or a name is none of the project's, or it is not on the local disk.
    """
    found = parse_copick(address)
    check_new_name("user", found.user or "")
    check_new_name("session", found.session or "")
    root = open_project(found.config)
    run = find_run(root, found)
    folder = overlay_folder(root, "a set of picks") / "ExperimentRuns" / run.name
    return folder / "Picks" / f"{found.user}_{found.session}_{found.name}.json"


def refuse_existing_picks(addresses: Sequence[str], *, overwrite: bool) -> None:
    """Refuse outputs that are there.

    Raises
    ------
    ExistsError
    """
    taken = [one for one in addresses if picks_path(one).exists()]
    if taken and not overwrite:
        more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        msg = (
            f"the picks {taken[0]}{more} exist. Choose another session, or replace them with "
            "overwrite= (--overwrite)."
        )
        raise ExistsError(msg)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some picks of a set, and how they are turned from now on."""

    numbers: npt.NDArray[np.int64]
    """(k,) which ones."""

    rotations: Floats | None = None
    """(k, 3, 3) of (x, y, z); None where they stay as they were."""


def write_parts(picks: WholePicks, parts: Mapping[str, Part]) -> list[Path]:
    """Write some picks of a set to one address, others to another: all of them, or none.

    Parameters
    ----------
    picks : WholePicks
        The set.
    parts : mapping of str to Part
        By address. A part without picks becomes an empty file, so that none of an earlier run
        stay behind. Location, shift, score and instance of a pick stay as they are.

    Returns
    -------
    paths : list of Path
        Files that were written.

    Raises
    ------
    AddressError
        As `picks_path`.
    """
    texts = {}
    for address, part in parts.items():
        found = parse_copick(address)
        path = picks_path(address)
        make_run(path.parents[1])
        path.parent.mkdir(exist_ok=True)
        points = [picks.points[number] for number in part.numbers.tolist()]
        values = {
            **picks.values,
            "user_id": found.user,
            "session_id": found.session,
            "run_name": found.run,
            "points": points,
        }
        if part.rotations is not None:
            turned = zip(points, part.rotations, strict=True)
            values["points"] = [_turned(point, rotation) for point, rotation in turned]
            values["trust_orientation"] = True
        texts[path] = json.dumps(values, indent=4)
    write_texts(texts)
    return list(texts)


def _turned(point: dict[str, Any], rotation: Floats) -> dict[str, Any]:
    turn = np.array(point.get("transformation_", IDENTITY), np.float64)
    turn[:3, :3] = rotation
    return {**point, "transformation_": turn.tolist()}
