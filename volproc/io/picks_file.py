"""Files of picks, parsed without building an object for each point."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IDENTITY = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
"""Orientation of a point of which only the centre is known."""


@dataclass(frozen=True, slots=True, eq=False)
class PicksFile:
    """Points of one class, user and session."""

    class_name: str
    """Name of the pickable object."""

    voxel_spacing: float | None
    """Å, where the file states one."""

    centres_xyz: npt.NDArray[np.float64]
    """Location and shift together, (n, 3), as (x, y, z) in Å."""

    scores: npt.NDArray[np.float64]
    """One a point, 1 where none is stated."""

    instances: npt.NDArray[np.int64]
    """One a point, 0 where none is stated."""


def load_picks(picks: Any) -> PicksFile:
    """Read the points of picks of a project.

    Parameters
    ----------
    picks : copick.models.CopickPicks
        In a file system, or elsewhere.

    Raises
    ------
    ValueError, TypeError, KeyError
        If they are damaged.

    Notes
    -----
    copick checks each point as an object: 0.1 ms a point, most of the time of reading a run.
    """
    if hasattr(picks, "fs") and hasattr(picks, "path"):
        return parse_picks(json.loads(picks.fs.cat_file(picks.path)))
    return parse_picks(picks.load().model_dump())


def parse_picks(values: Any) -> PicksFile:
    """Take apart what a file of picks holds, with the checks that copick makes.

    Raises
    ------
    ValueError, TypeError, KeyError
        If something is missing or impossible.

    Examples
    --------
    >>> head = {"pickable_object_name": "ribosome", "user_id": "me", "session_id": "1"}
    >>> parse_picks({**head, "points": [{"location": {"x": 1, "y": 2, "z": 3}}]}).centres_xyz
    array([[1., 2., 3.]])
    """
    if not isinstance(values, dict):
        msg = f"no object, but {type(values).__name__}"
        raise TypeError(msg)
    for key in ("pickable_object_name", "user_id", "session_id"):
        if not isinstance(values[key], str):
            msg = f"{key} is no text"
            raise TypeError(msg)
    points = values.get("points") or []
    spacing = values.get("voxel_spacing")
    places = [[float(point["location"][axis]) for axis in "xyz"] for point in points]
    turns = np.array([point.get("transformation_", IDENTITY) for point in points], np.float64)
    if points and (turns.shape[1:] != (4, 4) or not np.allclose(turns[:, 3], IDENTITY[3])):
        msg = "a transformation is no matrix of 4 × 4 that ends in 0, 0, 0, 1"
        raise ValueError(msg)
    centres = np.array(places, np.float64).reshape(-1, 3)
    if points:
        centres = centres + turns[:, :3, 3]
    scores = [1.0 if (s := point.get("score")) is None else float(s) for point in points]
    return PicksFile(
        values["pickable_object_name"],
        None if spacing is None else float(spacing),
        centres,
        np.array(scores, np.float64),
        np.array([_whole(point.get("instance_id")) for point in points], np.int64),
    )


def _whole(value: Any) -> int:
    """Number of an instance; 0 where there is none."""
    number = int(value or 0)
    if value is not None and number != float(value):
        msg = f"instance_id {value} is no whole number"
        raise ValueError(msg)
    return number
