"""Lazy non-maximum suppression of points."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TypeVar, cast, get_args, overload

from dask import delayed
from dask.delayed import Delayed

from volproc.core.errors import ConfigError, nearest
from volproc.reduce.suppression_tables import PointTable, Unit, suppress_table

Table = TypeVar("Table", bound=PointTable)


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
    points: PointTable | Delayed,
    radius: float | Mapping[str, float],
    *,
    unit: Unit = "voxel",
    across_classes: bool = False,
) -> PointTable | Delayed:
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
    >>> import pandas as pd
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
    work = partial(suppress_table, radius=radius, unit=unit, across_classes=across_classes)
    if isinstance(points, Delayed):
        return cast(Delayed, delayed(work, pure=False)(points))
    return work(points)
