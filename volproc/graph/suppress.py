"""Lazy non-maximum suppression of points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Literal, TypeVar, cast, get_args, overload

import numpy as np
import numpy.typing as npt
import pandas as pd
from dask import delayed
from dask.delayed import Delayed

from volproc.core.errors import ConfigError, ShapeError, nearest
from volproc.core.points import Points
from volproc.reduce.suppression import order_points, suppress_points

Unit = Literal["voxel", "angstrom"]

Table = TypeVar("Table", Points, pd.DataFrame)


@overload
def suppress(
    points: Table,
    radius: float | Mapping[str, float],
    *,
    unit: Unit = ...,
    across_classes: bool = ...,
) -> Table: ...


@overload
def suppress(
    points: Delayed,
    radius: float | Mapping[str, float],
    *,
    unit: Unit = ...,
    across_classes: bool = ...,
) -> Delayed: ...


def suppress(
    points: Points | pd.DataFrame | Delayed,
    radius: float | Mapping[str, float],
    *,
    unit: Unit = "voxel",
    across_classes: bool = False,
) -> Points | pd.DataFrame | Delayed:
    """Keep the best of points that are too near to each other.

    The point with the greatest score is kept, and all others within the radius are dropped; then
    the best of the rest, and so on. Equal scores are decided by z, y, x and class: never by the
    order in which points arrive.

    Parameters
    ----------
    points : Points, DataFrame, or Delayed of either
        Places in voxels, such as `volproc.peaks` gives. A table has columns ``z``, ``y``, ``x``
        (or ``y``, ``x``) and ``score``; ``class_name`` if it has classes.
    radius : float, or mapping of class name to float
        Kept points of a class are farther apart than this; a point at exactly this distance is
        dropped.
    unit : str
        Of the radius: ``"voxel"`` counts in voxels along each axis; ``"angstrom"`` takes the
        voxel size of `Points`, which may differ between axes.
    across_classes : bool
        Let points suppress those of other classes. By default each class is alone.

    Returns
    -------
    kept : as given
        The best first: by score, then z, y, x, then class. Further columns are kept. Of a
        `Delayed` a `Delayed`.

    Raises
    ------
    ConfigError
        If the radius is negative or missing for a class, or the unit is unknown or cannot be had.
    NonFiniteError
        If a place is not finite, or a score is NaN.
    ShapeError
        If a table lacks columns.

    Notes
    -----
    All candidates are in one place: about 100 bytes a point, and a fraction of a second for
    200,000, however densely they lie.

    Examples
    --------
    >>> table = pd.DataFrame({"y": [0.0, 0, 9], "x": [0.0, 2, 9], "score": [1.0, 2, 1]})
    >>> suppress(table, 3)
         y    x  score
    0  0.0  2.0    2.0
    1  9.0  9.0    1.0
    """
    if unit not in get_args(Unit):
        msg = f'the unit of a radius is "{unit}": {nearest(str(unit), get_args(Unit))}'
        raise ConfigError(msg)
    if across_classes and isinstance(radius, Mapping):
        msg = (
            f"one radius is needed where classes suppress each other, got {dict(radius)}. Give a "
            "number."
        )
        raise ConfigError(msg)
    work = partial(_suppress, radius=radius, unit=unit, across_classes=across_classes)
    if isinstance(points, Delayed):
        return cast(Delayed, delayed(work, pure=False)(points))
    return work(points)


def _suppress(
    points: Points | pd.DataFrame,
    *,
    radius: float | Mapping[str, float],
    unit: Unit,
    across_classes: bool,
) -> Points | pd.DataFrame:
    """Suppress points in memory."""
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
