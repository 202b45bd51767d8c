"""Suppression of points in tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.errors import ConfigError, ShapeError, nearest
from volproc.core.points import Points
from volproc.reduce.suppression import order_points, suppress_points

Unit = Literal["voxel", "angstrom"]

PointTable: TypeAlias = Points | pd.DataFrame
"""Points with their place, or a bare table of them."""


def suppress_table(
    points: PointTable,
    *,
    radius: float | Mapping[str, float],
    unit: Unit,
    across_classes: bool,
) -> PointTable:
    """Suppress points in memory, as `volproc.suppress` does.

    Parameters
    ----------
    points : Points or DataFrame
        Columns ``z``, ``y``, ``x`` (or ``y``, ``x``), ``score``, and perhaps ``class_name``.
    radius, unit, across_classes
        As in `volproc.suppress`.

    Returns
    -------
    kept : as given
        The best first.

    Raises
    ------
    ConfigError, NonFiniteError, ShapeError
        As `volproc.suppress`.
    """
    if isinstance(points, Points):
        table = _kept_rows(points.table, radius, _scale(points, unit), across_classes)
        return replace(points, table=table)
    if unit != "voxel":
        msg = (
            "a table of points does not know its voxel size, got a radius in Å. Give Points, or a "
            "radius in voxels."
        )
        raise ConfigError(msg)
    return _kept_rows(points, radius, (), across_classes)


def _scale(points: Points, unit: Unit) -> tuple[float, ...]:
    return points.voxel_size if unit == "angstrom" else ()


def _kept_rows(
    table: pd.DataFrame,
    radius: float | Mapping[str, float],
    scale: tuple[float, ...],
    across_classes: bool,
) -> pd.DataFrame:
    axes = [axis for axis in "zyx" if axis in table.columns]
    if axes not in (["z", "y", "x"], ["y", "x"]) or "score" not in table.columns:
        msg = (
            "a table of points has columns z, y, x (or y, x) and score, got "
            f"{', '.join(map(str, table.columns))}. Rename its columns."
        )
        raise ShapeError(msg)
    places = table[axes].to_numpy(np.float64)
    if scale:
        places = places * np.array(scale)
    scores = table["score"].to_numpy(np.float64)
    names = None
    if "class_name" in table.columns:
        names = table["class_name"].to_numpy(object)
    rows = []
    for mine, limit in _groups(names, len(table), radius, across_classes):
        some = None if names is None else names[mine]
        rows.append(mine[suppress_points(places[mine], scores[mine], limit, classes=some)])
    kept = np.concatenate(rows) if rows else np.zeros(0, np.int64)
    order = order_points(places[kept], scores[kept], None if names is None else names[kept])
    return table.iloc[kept[order]].reset_index(drop=True)


def _groups(
    names: npt.NDArray[np.object_] | None,
    num_points: int,
    radius: float | Mapping[str, float],
    across_classes: bool,
) -> Iterator[tuple[npt.NDArray[np.int64], float]]:
    """Rows of points that compete with each other, and their radius."""
    if names is None and isinstance(radius, Mapping):
        msg = (
            f"points without classes have one radius, got {dict(radius)}. Give a number, or a "
            "column class_name."
        )
        raise ConfigError(msg)
    if names is None or across_classes:
        assert not isinstance(radius, Mapping)  # refused above, and in `suppress`
        yield np.arange(num_points), float(radius)
        return
    words = names.astype(str)
    for name in sorted(set(words)):
        if isinstance(radius, Mapping) and name not in radius:
            msg = f'the class "{name}" has no radius: {nearest(name, radius)}'
            raise ConfigError(msg)
        limit = radius[name] if isinstance(radius, Mapping) else radius
        yield np.flatnonzero(words == name), float(limit)
