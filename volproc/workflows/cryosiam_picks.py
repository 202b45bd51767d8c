"""Centres of CryoSiam's predictions as picks of a copick project."""

from __future__ import annotations

import pandas as pd

from volproc.core.errors import AddressError, ConfigError, ExistsError
from volproc.core.points import COLUMNS, Points
from volproc.core.types import Shape
from volproc.io.copick_address import is_copick, parse_copick
from volproc.io.copick_project import project_objects
from volproc.io.points import refuse_points, write_points
from volproc.workflows.cryosiam_rule import CentresTask
from volproc.workflows.pick_marker import begin_writing, end_writing, is_being_written

ANY_RUN = ":*/"
"""Where the tomogram's run goes into an address of picks."""


def project_names(picks: str, num_classes: int) -> dict[str, int]:
    """Names of classes by the labels of a project's objects.

    Parameters
    ----------
    picks : str
        ``config.json:*/:USER/SESSION``.
    num_classes : int
        Values 1 to this one need a name.

    Raises
    ------
    AddressError
        If it is no such address.
    ConfigError
        If no object has the label of a class.
    """
    if not is_copick(picks) or ANY_RUN not in picks:
        msg = f"{picks} is no address of picks of all runs. Give CONFIG.json:*/:USER/SESSION."
        raise AddressError(msg)
    objects = project_objects(parse_copick(picks).config)
    names = {one.label: one.name for one in reversed(objects.values())}
    missing = [value for value in range(1, num_classes + 1) if value not in names]
    if missing:
        known = ", ".join(f"{name} {label}" for label, name in sorted(names.items()))
        msg = (
            f"no object of the project has the label {', '.join(map(str, missing))}; there are "
            f"{known or 'none'}. Name the classes, as --class NAME=VALUE with objects of the "
            "project."
        )
        raise ConfigError(msg)
    return {names[value]: value for value in range(1, num_classes + 1)}


def picks_address(task: CentresTask, name: str) -> str:
    """Address of the picks of one tomogram."""
    return task.picks.replace(ANY_RUN, f":{name}/", 1)


def refuse_tomogram(task: CentresTask, name: str, *, may_replace: bool) -> None:
    """Refuse picks that are there, and runs and objects that are not.

    Raises
    ------
    AddressError
        If the project has no such run or object.
    ExistsError
        If there are picks that may not be replaced.
    """
    address = picks_address(task, name)
    is_left = is_being_written(address)  # by a run that was killed
    refuse_points(address, overwrite=may_replace or is_left, classes=task.classes)


def has_picks(task: CentresTask, name: str) -> bool:
    """Whether picks of a tomogram are there."""
    try:
        refuse_points(picks_address(task, name), classes=task.classes)
    except ExistsError:
        return True
    return False


def write_tomogram(
    task: CentresTask, name: str, centres: pd.DataFrame, voxel_size: tuple[float, ...], shape: Shape
) -> None:
    """Write the picks of one tomogram, an empty file for a class without particles."""
    points = Points(centres[list(COLUMNS)].reset_index(drop=True), voxel_size, shape, name)
    address = picks_address(task, name)
    begin_writing(address)
    write_points(points, address, overwrite=True, classes=task.classes)


def end_tomogram(task: CentresTask, name: str) -> None:
    """Say that the picks of a tomogram are whole, and recorded."""
    end_writing(picks_address(task, name))
