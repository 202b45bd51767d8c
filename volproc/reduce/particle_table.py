"""Which objects are particles, and where."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.points import COLUMNS, Points
from volproc.core.types import Shape
from volproc.reduce.centres import away_from_border, group_near, merge_near, size_limits
from volproc.reduce.centres_regions import MAX_SCORE, SCORE, VARIANCE, Regions
from volproc.reduce.particle_rule import ALL_CLASSES, USUAL_MIN_VOXELS, ParticleRule
from volproc.reduce.suppression import suppress_points

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

CUBIC_ANGSTROM_PER_CUBIC_NM = 1000.0

SPREAD, TOUCHES_EDGE, VOLUME = "spread", "touches_edge", "volume_nm3"
"""Columns of points: standard deviation of the probability over views and models, whether the
object touches a face of the volume, and its size."""

MoveInside = Callable[[Ints, Floats], Floats]
"""Moves the centres of some objects, by their rows, that lie beside them."""


def points_of(
    table: pd.DataFrame, *, voxel_size: tuple[float, ...], shape: Shape, name: str
) -> Points:
    """Points of a table of particles.

    Parameters
    ----------
    table : DataFrame
        As `particle_table` gives it.
    voxel_size, shape, name
        Of the volume; see `Points`.

    Returns
    -------
    points : Points
        With the further columns ``touches_edge`` and ``volume_nm3``, and ``max_score`` and
        ``spread`` where there were probabilities and variances.
    """
    rest = [c for c in table.columns if c not in (*COLUMNS, "label", "class_value")]
    return Points(table[[*COLUMNS, *rest]], voxel_size, shape, name)


def particle_table(
    found: Regions,
    *,
    rule: ParticleRule,
    voxel_size: tuple[float, ...] | None,
    shape: Shape,
    move_inside: MoveInside | None = None,
) -> pd.DataFrame:
    """Rows of the objects that have a particle's size.

    Parameters
    ----------
    found : Regions
        Objects of the whole volume; classes are numbered as in ``rule.values``, those of a class
        sorted by first voxel.
    rule : ParticleRule
        What a particle is.
    voxel_size : tuple of float or None
        Å per voxel; where nobody knows it, sizes and distances cannot be asked for.
    shape : tuple of int
        Size of the volume, (z, y, x), voxels.
    move_inside : callable, optional
        What moves centres into their objects, where that is still to be done.

    Returns
    -------
    table : DataFrame
        The columns of points and of `points_of`, by class in the order of the rule, then by first
        voxel; and ``label``, the number of the object among all of its class, and
        ``class_value``.
    """
    numbers = numbers_in_class(found.classes)
    volume = prod(voxel_size or (1.0,)) / CUBIC_ANGSTROM_PER_CUBIC_NM
    chosen = {name: _fitting(found, rule, name, voxel_size, volume) for name in rule.classes}
    rows = np.concatenate([np.zeros(0, np.int64), *chosen.values()])
    centres = found.centres
    if move_inside is not None and len(rows):
        wanted = np.unique(rows)
        centres = centres.copy()
        centres[wanted] = move_inside(wanted, centres[wanted])
    parts = []
    for name, (value, radius) in rule.classes.items():
        columns = _columns(found, chosen[name], centres, numbers, shape)
        table = _merged(columns, radius, rule, voxel_size or (1.0, 1.0, 1.0))
        table = _suppressed(table, rule.nms_radius(name), voxel_size or (1.0, 1.0, 1.0))
        kept = away_from_border(table[["z", "y", "x"]].to_numpy(), shape, rule.border)
        parts.append(table[kept].assign(class_name=name, class_value=value))
    joined = pd.concat(parts, ignore_index=True)
    joined["class_name"] = joined["class_name"].astype(object)
    if VARIANCE in joined:
        joined[SPREAD] = np.sqrt(joined.pop(VARIANCE))
    if voxel_size is not None:
        joined[VOLUME] = joined["num_voxels"] * volume
    return joined


def numbers_in_class(classes: Ints) -> Ints:
    """Number of each object within its class, from 1, in the order of the objects.

    >>> numbers_in_class(np.array([2, 1, 2]))
    array([1, 1, 2])
    """
    numbers = np.empty(len(classes), np.int64)
    for value in np.unique(classes):
        rows = np.flatnonzero(classes == value)
        numbers[rows] = np.arange(1, len(rows) + 1)
    return numbers


def _fitting(
    found: Regions,
    rule: ParticleRule,
    class_name: str,
    voxel_size: tuple[float, ...] | None,
    volume: float,
) -> Ints:
    """Rows of one class that have a particle's size."""
    value, radius = rule.classes[class_name]
    fits = found.classes == rule.values.index(value) + 1
    least = rule.min_voxels.get(class_name, rule.min_voxels.get(ALL_CLASSES))
    low, high = rule.min_size_nm3, rule.max_size_nm3
    is_unbounded = least is None and low is None and high is None and not radius
    if is_unbounded and rule.method == "erosion":
        least = USUAL_MIN_VOXELS
    if least is not None:
        fits &= found.count > least
    if low is not None:
        fits &= found.count * volume >= low
    if high is not None:
        fits &= found.count * volume <= high
    if radius and voxel_size is not None:
        scales = (rule.radius_min_scale, rule.radius_max_scale)
        lower, upper = size_limits(radius, voxel_size, *scales)
        if least is None and low is None:
            fits &= found.count >= lower
        if high is None:
            fits &= found.count <= upper
    return np.flatnonzero(fits)


def _columns(
    found: Regions, rows: Ints, centres: Floats, numbers: Ints, shape: Shape
) -> dict[str, npt.NDArray[Any]]:
    """What is known of some objects."""
    edge = (found.lower[rows] == 0) | (found.upper[rows] == np.array(shape))
    values = {name: column[rows] for name, column in found.values.items()}
    return {
        "zyx": centres[rows],
        "score": values.pop(SCORE, np.ones(len(rows))),
        "num_voxels": found.count[rows],
        "label": numbers[rows],
        **values,
        TOUCHES_EDGE: edge.any(axis=1),
    }


def _merged(
    columns: dict[str, npt.NDArray[Any]],
    radius: float,
    rule: ParticleRule,
    voxel_size: tuple[float, ...],
) -> pd.DataFrame:
    """Particles of one class, those that are one particle merged."""
    # in units of the voxel along z: equal voxels are not scaled, and no distance is rounded
    unit = voxel_size[0]
    scale = tuple(size / unit for size in voxel_size)
    centres, counts = columns.pop("zyx"), columns["num_voxels"]
    distance = radius / unit * rule.radius_min_scale
    group = group_near(centres, distance, scale)
    merged, totals = merge_near(centres, counts, distance, scale)
    if len(merged) < len(centres):
        if rule.inside:  # a mean of several may lie in none of them
            merged = _nearest_members(centres, merged, group)
        first = np.unique(group, return_index=True)[1]
        labels = columns["label"][first]
        for name in {"score", VARIANCE} & columns.keys():
            weighted = np.bincount(group, columns[name] * counts, len(merged))
            columns[name] = weighted / np.bincount(group, counts, len(merged))
        for name in {MAX_SCORE, TOUCHES_EDGE} & columns.keys():
            greatest = np.zeros(len(merged), columns[name].dtype)
            np.maximum.at(greatest, group, columns[name])
            columns[name] = greatest
        columns |= {"num_voxels": totals, "label": labels}
    places = dict(zip("zyx", merged.T, strict=True))
    return pd.DataFrame({**places, **columns})


def _nearest_members(centres: Floats, means: Floats, group: Ints) -> Floats:
    """Of each group the centre that is nearest to their mean, of several the first."""
    squared = ((centres - means[group]) ** 2).sum(axis=1)
    order = np.lexsort((squared, group))
    return centres[order[np.diff(group[order], prepend=-1) > 0]]


def _suppressed(
    table: pd.DataFrame, distance_angstrom: float, voxel_size: tuple[float, ...]
) -> pd.DataFrame:
    """Particles of one class without those near to a better one, in the same order."""
    if distance_angstrom <= 0 or len(table) < 2:
        return table
    # A rank stands for score and size together: the better, the greater.
    better = np.stack([table["num_voxels"].to_numpy(np.float64), table["score"].to_numpy()])
    rank = np.unique(better[::-1], axis=1, return_inverse=True)[1].reshape(-1)
    places = table[["z", "y", "x"]].to_numpy() * np.array(voxel_size)
    kept = suppress_points(places, rank.astype(np.float64), distance_angstrom)
    return table.iloc[np.sort(kept)]
