"""Objects, or what they were split into: one row each, with all that makes a particle of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.types import Shape
from volproc.reduce.centres_flood_kernels import sum_regions
from volproc.reduce.properties import finish
from volproc.reduce.tables import ObjectTable

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SCORE, VARIANCE, WEIGHT = "score", "variance", "weight"
"""What maps beside a class map give: probabilities, their variance, and weights of voxels."""

MAX_SCORE = "max_score"
"""Greatest probability of an object."""

MOMENTS = ("weight_z", "weight_y", "weight_x")
"""Weights times coordinates, by axis."""


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Objects of a class map, or regions that they were split into; one row a region."""

    classes: Ints
    """Class value, (n,)."""

    first: Ints
    """Raster index in the volume of the first voxel of the object, or of its marker, (n,)."""

    count: Ints
    """Number of voxels, (n,)."""

    lower: Ints
    """First voxel of the bounding box, (n, 3)."""

    upper: Ints
    """End of the bounding box, exclusive, (n, 3)."""

    centres: Floats
    """Mean of the voxels, weighted where there are weights, (n, 3), in voxels of the volume."""

    values: dict[str, Floats]
    """Means of maps in each region, (n,), by their names, and the greatest score."""

    def __len__(self) -> int:
        return len(self.first)

    def select(self, rows: npt.NDArray[Any]) -> Regions:
        """Rows picked by a boolean mask or by indices."""
        columns = {one.name: getattr(self, one.name) for one in fields(self)}
        values = {name: column[rows] for name, column in columns.pop("values").items()}
        return Regions(**{name: column[rows] for name, column in columns.items()}, values=values)


def merge_regions(parts: Sequence[Regions]) -> Regions:
    """Put regions together, by class value, then by first voxel."""
    none, vectors = np.zeros(0, np.int64), np.zeros((0, 3), np.int64)
    empty = Regions(none, none, none, vectors, vectors, np.zeros((0, 3)), {})
    every = [part for part in parts if len(part)] or [*parts[:1], empty][:1]
    columns = {
        one.name: np.concatenate([getattr(part, one.name) for part in every])
        for one in fields(Regions)
        if one.name != "values"
    }
    values = {
        name: np.concatenate([part.values[name] for part in every]) for name in every[0].values
    }
    joined = Regions(**columns, values=values)
    return joined.select(np.lexsort((joined.first, joined.classes)))


def regions_of_voxels(
    value: int,
    first: Ints,
    places: Ints,
    markers: npt.NDArray[np.int32],
    shape: Shape,
    *,
    columns: Mapping[str, Floats],
    inside: bool = False,
) -> Regions:
    """Measure regions of one class by their voxels.

    Parameters
    ----------
    value : int
        Class value.
    first : ndarray of int64, (m,)
        First voxel of the marker of each region.
    places : ndarray of int64, (n,)
        Raster index of each voxel in the volume, ascending: sums are then the same however the
        volume was cut.
    markers : ndarray of int32, (n,)
        Region 1…m of each voxel, or 0.
    shape : tuple of int
        Size of the volume, (z, y, x).
    columns : mapping of str to ndarray, (n,)
        What maps say of each voxel, by name; weights are not negative.
    inside : bool
        Take the voxel of a region that is nearest to its mean, where the mean lies beside it.
    """
    num = len(first)
    count, sums, lower, upper = sum_regions(places, markers, num, shape[1], shape[2])
    centres: Floats = (sums / np.maximum(count, 1)[:, None]).astype(np.float64)
    zyx = np.stack(np.unravel_index(places, shape), axis=1)
    if WEIGHT in columns:
        weights: Floats = columns[WEIGHT]
        total = np.bincount(markers, weights, num + 1)[1:]
        sums_by_axis = [np.bincount(markers, weights * axis, num + 1)[1:] for axis in zyx.T]
        moments: Floats = np.stack(sums_by_axis, axis=1).astype(np.float64)
        centres = weighted_means(centres, total.astype(np.float64), moments)
    if inside:
        rows = np.flatnonzero(markers)
        found = nearest_voxels(zyx[rows], markers[rows].astype(np.int64) - 1, centres)
        centres = move_centres(centres, found)
    values = {
        name: np.bincount(markers, columns[name], num + 1)[1:] / np.maximum(count, 1)
        for name in (SCORE, VARIANCE)
        if name in columns
    }
    if SCORE in columns:
        greatest = np.zeros(num + 1)
        np.maximum.at(greatest, markers, columns[SCORE])
        values[MAX_SCORE] = greatest[1:]
    return Regions(np.full(num, value, np.int64), first, count, lower, upper, centres, values)


def regions_of_objects(objects: ObjectTable, others: Mapping[str, ObjectTable]) -> Regions:
    """Take whole objects for regions.

    Parameters
    ----------
    objects : ObjectTable
        Objects of the whole volume; with classes, unless there are none.
    others : mapping of str to ObjectTable
        The same objects with the sums of a map each, by its name.
    """
    means = {
        name: finish(table, ["mean_intensity"])["mean_intensity"].to_numpy(np.float64)
        for name, table in others.items()
    }
    centres = objects.centroids
    if WEIGHT in means:
        moments = np.stack([means[name] for name in MOMENTS], axis=1)
        centres = weighted_means(centres, means[WEIGHT], moments)
    values = {name: means[name] for name in (SCORE, VARIANCE) if name in means}
    if SCORE in others:
        values[MAX_SCORE] = finish(others[SCORE], ["max_intensity"])["max_intensity"].to_numpy()
    classes = np.zeros(len(objects), np.int64) if objects.classes is None else objects.classes
    return Regions(
        classes, objects.first, objects.count, objects.lower, objects.upper, centres, values
    )


def weighted_means(centres: Floats, total: Floats, moments: Floats) -> Floats:
    """Weighted means of coordinates; the plain mean where all weights of a region are zero.

    Parameters
    ----------
    centres : ndarray of float64, (n, 3)
        Plain means.
    total, moments : ndarray of float64, (n,) and (n, 3)
        Sums of weights, and of weights times coordinates.

    Examples
    --------
    >>> weighted_means(np.ones((2, 3)), np.array([2.0, 0.0]), np.full((2, 3), 6.0)).tolist()
    [[3.0, 3.0, 3.0], [1.0, 1.0, 1.0]]
    """
    has_weight = total > 0
    divisor = np.where(has_weight, total, 1.0)[:, None]
    return np.where(has_weight[:, None], moments / divisor, centres)


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The voxel of some objects that is nearest to a place; it merges. One row an object."""

    rows: Ints
    """Objects, (n,)."""

    squared: Floats
    """Squared distance, voxels, (n,); -1 where the place itself lies in a voxel of the object."""

    voxels: Ints
    """Voxels of the volume, (n, 3)."""


def nearest_voxels(voxels: Ints, rows: Ints, centres: Floats) -> Nearest:
    """Of each object that has some of the given voxels, the one nearest to its centre.

    Parameters
    ----------
    voxels : ndarray of int64, (n, 3)
        Voxels of objects.
    rows : ndarray of int64, (n,)
        The object of each.
    centres : ndarray of float64, (m, 3)
        Centre of each object.

    Examples
    --------
    >>> found = nearest_voxels(np.array([[0, 0, 1], [0, 0, 5]]), np.array([0, 0]), np.ones((1, 3)))
    >>> found.voxels.tolist(), found.squared.tolist()
    ([[0, 0, 1]], [2.0])
    """
    away = voxels - centres[rows]
    squared = (away[:, 0] ** 2 + away[:, 1] ** 2) + away[:, 2] ** 2
    is_own = (voxels == np.rint(centres)[rows]).all(axis=1)
    return _nearest(Nearest(rows, np.where(is_own, -1.0, squared), voxels))


def merge_nearest(parts: Sequence[Nearest]) -> Nearest:
    """Put what blocks found together, in any order."""
    return _nearest(
        Nearest(
            np.concatenate([np.zeros(0, np.int64), *(p.rows for p in parts)]),
            np.concatenate([np.zeros(0), *(p.squared for p in parts)]),
            np.concatenate([np.zeros((0, 3), np.int64), *(p.voxels for p in parts)]),
        )
    )


def move_centres(centres: Floats, found: Nearest) -> Floats:
    """Move the centres that lie beside their object to its nearest voxel."""
    moved = centres.copy()
    beside = found.squared >= 0
    moved[found.rows[beside]] = found.voxels[beside]
    return moved


def _nearest(every: Nearest) -> Nearest:
    """One row an object: the nearest, of several the first in raster order."""
    order = np.lexsort((*every.voxels.T[::-1], every.squared, every.rows))
    rows = every.rows[order]
    kept = order[np.diff(rows, prepend=-1) > 0]
    return Nearest(every.rows[kept], every.squared[kept], every.voxels[kept])


def with_values(regions: Regions, names: Iterable[str]) -> Regions:
    """Give regions that are none the columns that others have."""
    if len(regions):
        return regions
    every = {name: np.zeros(0) for name in names if name != WEIGHT}
    if SCORE in every:
        every[MAX_SCORE] = np.zeros(0)
    return replace(regions, values=every)
