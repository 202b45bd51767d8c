"""What can be said of an object, by name, and the columns that say it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import pi, prod
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.errors import ConfigError, VoxelSizeError, nearest
from volproc.core.types import Shape, axis_names
from volproc.reduce.exact_sums import (
    DIGIT_BITS,
    LEAST_EXPONENT,
    carry_digits,
    magnitude,
    multiply_digits,
    place_digits,
    scale_digits,
    split_digits,
)
from volproc.reduce.measuring import Wanted
from volproc.reduce.principal_axes import Axes, covariances, plane_orientation, principal_axes
from volproc.reduce.tables import IntensityTable, ObjectTable

Column = npt.NDArray[Any]
Columns = dict[str, Column]

ALIASES = {
    "area": "num_voxels",
    "num_pixels": "num_voxels",
    "equivalent_diameter": "equivalent_diameter_area",
    "major_axis_length": "axis_major_length",
    "minor_axis_length": "axis_minor_length",
    "intensity_mean": "mean_intensity",
    "intensity_min": "min_intensity",
    "intensity_max": "max_intensity",
    "intensity_std": "std_intensity",
}
"""Other names in scikit-image; a property asked for by one of them has it as its column."""


@dataclass
class Measured:
    """A table of objects and what it lies in; what several properties share is computed once."""

    table: ObjectTable
    shape: Shape = ()
    voxel_size: tuple[float, ...] = ()
    _axes: dict[bool, Axes] = field(default_factory=dict)

    def column(self, name: str) -> Any:
        """Column that not every table has.

        Raises
        ------
        ConfigError
            If this one has not.
        """
        found = getattr(self.table, name)
        if found is None:
            msg = f"the table has no {name}, which a property needs. Measure it in all blocks."
            raise ConfigError(msg)
        return found

    @property
    def intensity(self) -> IntensityTable:
        """Sums of intensities."""
        part: IntensityTable = self.column("intensity")
        return part

    @cached_property
    def is_broken(self) -> npt.NDArray[np.bool_]:
        """Objects with NaN or infinite voxels."""
        return self.intensity.num_nonfinite > 0

    def covariance(self, *, in_angstrom: bool) -> npt.NDArray[np.float64]:
        """Second moments in voxels or Å, squared."""
        unit = self.voxel_size if in_angstrom else (1.0,) * self.table.ndim
        return covariances(self.table, unit)

    def axes(self, *, in_angstrom: bool) -> Axes:
        """Principal axes in voxels or Å."""
        if in_angstrom not in self._axes:
            self._axes[in_angstrom] = principal_axes(self.covariance(in_angstrom=in_angstrom))
        return self._axes[in_angstrom]


def _centroid(of: Measured) -> Columns:
    return dict(zip(axis_names(of.table.ndim), of.table.centroids.T, strict=True))


def _centroid_angstrom(of: Measured) -> Columns:
    positions = of.table.centroids * np.asarray(of.voxel_size)
    return {f"{a}_angstrom": p for a, p in zip(axis_names(of.table.ndim), positions.T, strict=True)}


def _bbox(of: Measured) -> Columns:
    columns: Columns = {}
    for i, axis in enumerate(axis_names(of.table.ndim)):
        columns[f"{axis}_min"] = of.table.lower[:, i]
        columns[f"{axis}_max"] = of.table.upper[:, i]
    return columns


def _touches_edge(of: Measured) -> Column:
    return ((of.table.lower == 0) | (of.table.upper == np.asarray(of.shape))).any(axis=1)


def _diameter(of: Measured, voxel: float) -> Column:
    ndim = of.table.ndim
    return (2 * ndim * voxel / pi * of.table.count) ** (1 / ndim)


def _mean(of: Measured) -> Column:
    part = of.intensity
    total, exponent = scale_digits(part.digits)
    unit = LEAST_EXPONENT + DIGIT_BITS * part.window.first
    with np.errstate(under="ignore"):
        mean = np.ldexp(total / of.table.count, exponent + unit)
    return np.where(of.is_broken, np.nan, mean)


def _std(of: Measured) -> Column:
    """``sqrt(n * sum(v**2) - sum(v)**2) / n``, with integers up to the root."""
    part = of.intensity
    if part.squares is None or not part.window.num_digits:
        return np.where(of.is_broken, np.nan, 0.0)
    total, _ = magnitude(part.digits)
    square = multiply_digits(total, total)
    squares = multiply_digits(split_digits(of.table.count), part.squares)
    # the square of digit i of a sum is digit 2 i of a sum of squares, whose window may begin later
    first, later = 2 * part.window.first, part.window.first_square - 2 * part.window.first
    num_digits = max(square.shape[1], squares.shape[1] + later)
    spread = place_digits(squares, later, num_digits) - place_digits(square, 0, num_digits)
    variance, exponent = scale_digits(carry_digits(spread))
    unit = 2 * LEAST_EXPONENT + DIGIT_BITS * first
    with np.errstate(under="ignore"):
        deviation = np.ldexp(np.sqrt(variance) / of.table.count, (exponent + unit) // 2)
    return np.where(of.is_broken, np.nan, deviation)


def _extreme(of: Measured, values: Column) -> Column:
    return np.where(of.is_broken, np.nan, values)


def _orientation(of: Measured, *, in_angstrom: bool) -> Columns:
    ending = "_angstrom" if in_angstrom else ""
    if of.table.ndim == 2:
        angle = plane_orientation(of.covariance(in_angstrom=in_angstrom))
        return {f"orientation{ending}": angle}
    axes = of.axes(in_angstrom=in_angstrom)
    return {
        f"{which}_direction_{axis}{ending}": vectors[:, i]
        for which, vectors in (("major", axes.major_direction), ("minor", axes.minor_direction))
        for i, axis in enumerate("zyx")
    }


@dataclass(frozen=True, slots=True)
class Property:
    """How a property is made, and what it needs."""

    make: Callable[[Measured], Column | Columns]
    """Gives a column, called as the property, or several with names of their own."""

    needs: frozenset[str] = frozenset()
    """Of ``products``, ``surface``, ``intensity``, ``squares``, ``classes``, ``voxel_size``."""

    ndim: int = 0
    """Number of axes that it exists with; 0 for any."""


def _property(make: Callable[[Measured], Column | Columns], *needs: str, ndim: int = 0) -> Property:
    return Property(make, frozenset(needs), ndim)


PROPERTIES: Mapping[str, Property] = {
    "num_voxels": _property(lambda of: of.table.count),
    "centroid": _property(_centroid),
    "bbox": _property(_bbox),
    "first": _property(lambda of: of.table.first),
    "class_value": _property(lambda of: of.column("classes"), "classes"),
    "mean_intensity": _property(_mean, "intensity"),
    "min_intensity": _property(lambda of: _extreme(of, of.intensity.least), "intensity"),
    "max_intensity": _property(lambda of: _extreme(of, of.intensity.greatest), "intensity"),
    "std_intensity": _property(_std, "intensity", "squares"),
    "num_nonfinite": _property(lambda of: of.intensity.num_nonfinite, "intensity"),
    "equivalent_diameter_area": _property(lambda of: _diameter(of, 1.0)),
    "touches_edge": _property(_touches_edge),
    "volume_nm3": _property(
        lambda of: of.table.count * (prod(of.voxel_size) / 1000), "voxel_size", ndim=3
    ),
    "area_nm2": _property(
        lambda of: of.table.count * (prod(of.voxel_size) / 100), "voxel_size", ndim=2
    ),
    "centroid_angstrom": _property(_centroid_angstrom, "voxel_size"),
    "equivalent_diameter_angstrom": _property(
        lambda of: _diameter(of, prod(of.voxel_size)), "voxel_size"
    ),
    "num_surface_voxels": _property(lambda of: of.column("num_surface"), "surface"),
    "axis_major_length": _property(lambda of: of.axes(in_angstrom=False).major, "products"),
    "axis_minor_length": _property(lambda of: of.axes(in_angstrom=False).minor, "products"),
    "orientation": _property(lambda of: _orientation(of, in_angstrom=False), "products"),
    "axis_major_length_angstrom": _property(
        lambda of: of.axes(in_angstrom=True).major, "products", "voxel_size"
    ),
    "axis_minor_length_angstrom": _property(
        lambda of: of.axes(in_angstrom=True).minor, "products", "voxel_size"
    ),
    "orientation_angstrom": _property(
        lambda of: _orientation(of, in_angstrom=True), "products", "voxel_size"
    ),
}
"""All properties, in the order in which ``"all"`` gives them."""

BASIC: tuple[str, ...] = (
    "num_voxels",
    "centroid",
    "bbox",
    "first",
    "class_value",
    "mean_intensity",
    "min_intensity",
    "max_intensity",
)
"""What a table that was measured without more options has."""

CHEAP = (
    *BASIC,
    "std_intensity",
    "equivalent_diameter_area",
    "touches_edge",
    "volume_nm3",
    "area_nm2",
)
"""What is measured if nothing is asked for, where it can be."""


def choose_properties(
    asked: str | Iterable[str] | None, ndim: int, given: Iterable[str]
) -> tuple[str, ...]:
    """Check the names of properties, and whether they can be measured.

    Parameters
    ----------
    asked : sequence of str, "all" or None
        Names; "all" and None choose all, or all cheap, of those that can be measured.
    ndim : int
        Number of axes of the labels.
    given : iterable of str
        Of ``intensity``, ``voxel_size`` and ``classes``, what there is.

    Returns
    -------
    names : tuple of str
        In the order asked for.

    Raises
    ------
    ConfigError
        If a property is unknown, needs an intensity or other axes, or is asked for twice.
    VoxelSizeError
        If it needs a voxel size.

    Examples
    --------
    >>> choose_properties(["centroid", "area"], 3, [])
    ('centroid', 'area')
    """
    has = {"products", "surface", "squares", *given}
    if asked is None or asked == "all":
        names = CHEAP if asked is None else tuple(PROPERTIES)
        return tuple(n for n in names if _is_possible(PROPERTIES[n], ndim, has))
    names = (asked,) if isinstance(asked, str) else tuple(asked)
    names = tuple(name for name in names if name != "label")  # is always there
    for name in names:
        _check_property(name, ndim, has)
    if len(set(map(_canonical, names))) < len(names):
        msg = f"a property is asked for twice, got {', '.join(names)}. Name each once."
        raise ConfigError(msg)
    return names


def _canonical(name: str) -> str:
    return ALIASES.get(name, name)


def _is_possible(what: Property, ndim: int, has: set[str]) -> bool:
    return what.needs <= has and what.ndim in (0, ndim)


def _check_property(name: str, ndim: int, has: set[str]) -> None:
    what = PROPERTIES.get(_canonical(name))
    if what is None:
        msg = f'there is no property "{name}": {nearest(str(name), [*PROPERTIES, *ALIASES])}'
        raise ConfigError(msg)
    if what.ndim not in (0, ndim):
        other = "area_nm2" if ndim == 2 else "volume_nm3"
        msg = f"{name} needs {what.ndim} axes, got {ndim}. Ask for {other}."
        raise ConfigError(msg)
    missing = what.needs - has
    if "intensity" in missing:
        msg = f"{name} needs an intensity, got none. Give one with intensity=."
        raise ConfigError(msg)
    if "voxel_size" in missing:
        msg = (
            f"{name} needs a voxel size, got a bare array. Give voxel_size= in Å, or a Volume, "
            "which has its own."
        )
        raise VoxelSizeError(msg)
    if missing:
        msg = f"{name} needs classes, got labels. Label a class map (volproc.label_and_measure)."
        raise ConfigError(msg)


def wanted_for(names: Sequence[str]) -> Wanted:
    """What has to be measured in blocks for some properties."""
    needs = {need for name in names for need in PROPERTIES[_canonical(name)].needs}
    return Wanted("surface" in needs, "products" in needs, "squares" in needs)


def finish(
    table: ObjectTable,
    names: Sequence[str] | None = None,
    *,
    shape: Shape = (),
    voxel_size: tuple[float, ...] = (),
) -> pd.DataFrame:
    """Turn sums into properties.

    Parameters
    ----------
    table : ObjectTable
        Measured with what the properties want.
    names : sequence of str, optional
        Properties, from `choose_properties`; those of `BASIC` that the table has if not given.
    shape : tuple of int
        Size of the volume; ``touches_edge`` needs it.
    voxel_size : tuple of float
        Å per voxel, where a property needs it.

    Returns
    -------
    frame : DataFrame
        One row an object, ascending by ``label``; see `volproc.measure` for the columns.

    Examples
    --------
    >>> from volproc.reduce.objects import measure_block
    >>> table = measure_block(np.array([[7, 7, 0], [0, 7, 9]]), offset=(0, 4), shape=(2, 9))
    >>> finish(table)[["label", "num_voxels", "y", "x", "x_min", "x_max"]]
       label  num_voxels         y         x  x_min  x_max
    0      7           3  0.333333  4.666667      4      6
    1      9           1  1.000000  6.000000      6      7
    """
    if names is None:
        optional = {"classes": table.classes, "intensity": table.intensity}
        has = {name for name, column in optional.items() if column is not None}
        names = [n for n in BASIC if PROPERTIES[n].needs <= has]
    of = Measured(table, shape, voxel_size)
    columns: Columns = {"label": table.label}
    for name in names:
        made = PROPERTIES[_canonical(name)].make(of)
        columns |= made if isinstance(made, dict) else {name: made}
    return pd.DataFrame(columns)
