"""Which objects are particles, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ConfigError, nearest
from volproc.core.points import Points, concat_points
from volproc.core.types import Shape
from volproc.reduce.centres import away_from_border, group_near, merge_near, size_limits
from volproc.reduce.centres_watershed import MAX_CLASSES, Regions
from volproc.reduce.centres_window import reach_of, steps_of
from volproc.reduce.probabilities import SCORE_UNITS
from volproc.reduce.properties import finish
from volproc.reduce.tables import ObjectTable

Method = Literal["watershed", "centre-of-mass", "peaks"]

Ties = Literal["scikit-image", "raster"]

RADIUS_MAX_SCALES: dict[str, float] = {"watershed": 1.0, "centre-of-mass": 1.5, "peaks": 1.0}
"""Largest particle where nothing is said, as a part of its radius."""

MAX_PEAK_SCALE = 10.0
"""Greatest distance and smoothing of peaks, in radii."""

MAX_OBJECT_VOXELS = 2**28
"""Largest box of an object that is split by one task, with its surroundings."""


@dataclass(frozen=True, slots=True)
class ParticleRule:
    """What a particle is, and how its centre is found.

    Parameters
    ----------
    classes : mapping of str to (int, float)
        Value in the class map, and radius in Å.
    radius_min_scale, radius_max_scale : float
        Bounds of a particle's size: balls of these parts of the radius, inclusive. Centres not
        farther apart than the first are one particle.
    method : str
        ``"watershed"`` splits objects at their necks, ``"centre-of-mass"`` takes them as they
        are; ``"peaks"`` takes the greatest probabilities.
    connectivity : int
        1 (faces), 2 (edges) or 3 (corners); of a watershed always 1.
    filter_size : int
        Side of the cubic window in which the middle of a particle is the thickest place, voxels.
    ties : str
        Which of two equally thick places of an object is flooded first; see `volproc.localize`.
    border : float
        Centres nearer to a face than this part of the volume's size are left out.
    max_object_voxels : int
        Largest box that one task may hold.
    voxel_size : tuple of float
        Å per voxel, (z, y, x): where they differ, a particle is thick in Å, not in voxels.
    threshold : float
        Of peaks: least probability.
    distance_scale : float
        Of peaks: two of a class are farther apart than this part of the radius.
    smooth_scale : float
        Of peaks: standard deviation of the Gaussian that smooths the probabilities, as a part of
        the radius.
    refine : bool
        Of peaks: place them between voxels.
    """

    classes: Mapping[str, tuple[int, float]]
    radius_min_scale: float
    radius_max_scale: float
    method: Method = "watershed"
    connectivity: int = 1
    filter_size: int = 10
    ties: Ties = "scikit-image"
    border: float = 0.005
    max_object_voxels: int = MAX_OBJECT_VOXELS
    voxel_size: tuple[float, ...] = (1.0, 1.0, 1.0)
    threshold: float = 0.5
    distance_scale: float = 1.0
    smooth_scale: float = 0.25
    refine: bool = False

    @property
    def values(self) -> tuple[int, ...]:
        """Values in the class map, each once, ascending."""
        return tuple(sorted({value for value, _ in self.classes.values()}))


def make_rule(
    radii: Mapping[str, float],
    *,
    class_values: Mapping[str, int],
    radius_min_scale: float = 0.5,
    radius_max_scale: float | None = None,
    method: Method = "watershed",
    connectivity: int = 1,
    filter_size: int = 10,
    ties: Ties = "scikit-image",
    border: float = 0.005,
    max_object_voxels: int = MAX_OBJECT_VOXELS,
    voxel_size: tuple[float, ...] = (1.0, 1.0, 1.0),
    threshold: float = 0.5,
    distance_scale: float = 1.0,
    smooth_scale: float = 0.25,
    refine: bool = False,
) -> ParticleRule:
    """Check what a particle is.

    Parameters
    ----------
    radii, class_values : mapping
        Radius in Å, and value in the map, by class name.
    radius_max_scale : float, optional
        That of the method in `RADIUS_MAX_SCALES` if not given.
    radius_min_scale, method, connectivity, filter_size, ties, border, max_object_voxels
        As in `ParticleRule`.
    threshold, distance_scale, smooth_scale, refine
        As in `ParticleRule`.
    voxel_size : tuple of float
        Of the map, Å; only how its numbers differ matters.

    Raises
    ------
    ConfigError
        If a class has no value in the map, a radius is not positive, the scales are in the wrong
        order, or an option says something unknown.
    """
    if not radii:
        msg = "no class has a radius, so none is a particle. Give a radius in Å for each particle."
        raise ConfigError(msg)
    for class_name, radius in radii.items():
        _check_class(class_name, radius, class_values)
    for what, got, known in (("method", method, get_args(Method)), ("ties", ties, get_args(Ties))):
        if got not in known:
            msg = f'{what} is "{got}": {nearest(str(got), known)}'
            raise ConfigError(msg)
    largest = RADIUS_MAX_SCALES[method] if radius_max_scale is None else radius_max_scale
    if not (0 <= radius_min_scale <= largest and isfinite(largest)):
        msg = (
            f"the scales of the radius go from {radius_min_scale} to {largest}. Give a "
            "smaller one first, none negative."
        )
        raise ConfigError(msg)
    if method == "watershed" and connectivity != 1:
        msg = (
            f"a watershed goes across faces, got connectivity {connectivity}. Use 1, or "
            'method="centre-of-mass".'
        )
        raise ConfigError(msg)
    if not 0 <= border < 0.5:
        msg = f"a border of {border} leaves no volume. Give a part of its size below 0.5."
        raise ConfigError(msg)
    if max_object_voxels < 1:
        msg = f"the largest object has {max_object_voxels} voxels. Give a positive number."
        raise ConfigError(msg)
    reach_of(filter_size)
    classes = {n: (int(class_values[n]), float(r)) for n, r in radii.items()}
    rule = ParticleRule(
        classes,
        radius_min_scale,
        largest,
        method,
        connectivity,
        filter_size,
        ties,
        border,
        max_object_voxels,
        # One text for all cubes: killed runs are known by it, and headers round.
        (1.0, 1.0, 1.0) if len(set(steps_of(voxel_size)[0])) == 1 else tuple(voxel_size),
        threshold,
        distance_scale,
        smooth_scale,
        refine,
    )
    _check_peaks(rule)
    if len(rule.values) > MAX_CLASSES:
        msg = f"at most {MAX_CLASSES} classes are localized at once, got {len(rule.values)}."
        raise ConfigError(msg)
    return rule


def _check_peaks(rule: ParticleRule) -> None:
    if not isfinite(rule.threshold):
        msg = f"the threshold of peaks is {rule.threshold}. Give a probability, as 0.5."
        raise ConfigError(msg)
    for what, scale in (("distance", rule.distance_scale), ("smoothing", rule.smooth_scale)):
        if not 0 <= scale <= MAX_PEAK_SCALE:
            msg = (
                f"the {what} of peaks is {scale} radii. Give a part of the radius, from 0 to "
                f"{MAX_PEAK_SCALE:g}."
            )
            raise ConfigError(msg)


def _check_class(class_name: str, radius: float, class_values: Mapping[str, int]) -> None:
    if not (isfinite(radius) and radius > 0):
        msg = f"the radius of {class_name} is {radius} Å. Give a positive one."
        raise ConfigError(msg)
    if class_values.get(class_name) == 0:
        msg = f"{class_name} has the value 0 in the map, which is the background. Give another."
        raise ConfigError(msg)
    if class_name not in class_values:
        msg = (
            f'the class "{class_name}" has a radius but no value in the map: '
            f"{nearest(class_name, class_values)}"
        )
        raise ConfigError(msg)


def table_value(value: int) -> int:
    """Class value as tables of objects hold it: 64 bits with a sign, above 2**63 wrapped around.

    >>> table_value(7), table_value(2**63 + 1)
    (7, -9223372036854775807)
    """
    return int(np.array(value).astype(np.int64))


def points_of(
    found: ObjectTable | Regions,
    *,
    rule: ParticleRule,
    voxel_size: tuple[float, ...],
    shape: Shape,
    name: str,
) -> Points:
    """Centres of the objects that have a particle's size.

    Parameters
    ----------
    found : ObjectTable or Regions
        Objects of the whole volume with their class values, those of a class by first voxel.
    rule : ParticleRule
        What a particle is.
    voxel_size, shape, name
        Of the volume; see `Points`.

    Returns
    -------
    points : Points
        By class in the order of the rule, then by first voxel.
    """
    # A table without rows has no classes.
    classes = np.zeros(len(found), np.int64) if found.classes is None else found.classes
    parts = []
    means = mean_scores(found)
    for class_name, (value, radius) in rule.classes.items():
        lower, upper = size_limits(radius, voxel_size, rule.radius_min_scale, rule.radius_max_scale)
        fits = (classes == table_value(value)) & (found.count >= lower) & (found.count <= upper)
        centres, counts, scores = _merged(
            found.sums[fits], found.count[fits], means[fits], radius, rule, voxel_size
        )
        kept = away_from_border(centres, shape, rule.border)
        parts.append(
            Points.from_zyx(
                centres[kept],
                class_name=class_name,
                voxel_size=voxel_size,
                shape=shape,
                score=scores[kept],
                num_voxels=counts[kept],
                name=name,
            )
        )
    return concat_points(parts)


def mean_scores(found: ObjectTable | Regions) -> npt.NDArray[np.float64]:
    """Mean probability of each object; 1 where there are no probabilities."""
    if isinstance(found, Regions):
        if found.scores is None:
            return np.ones(len(found))
        return found.scores / (SCORE_UNITS * np.maximum(found.count, 1))
    if found.intensity is None:
        return np.ones(len(found))
    return finish(found, ["mean_intensity"])["mean_intensity"].to_numpy(np.float64) / SCORE_UNITS


def _merged(
    sums: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64],
    radius: float,
    rule: ParticleRule,
    voxel_size: tuple[float, ...],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Centres of one class, in voxels, with voxels and scores; those of one particle merged."""
    # in units of the voxel along z: equal voxels are not scaled, and no distance is rounded
    unit = voxel_size[0]
    scale = tuple(size / unit for size in voxel_size)
    centres, distance = sums / counts[:, None], radius / unit * rule.radius_min_scale
    group = group_near(centres, distance, scale)
    merged, totals = merge_near(centres, counts, distance, scale)
    if len(merged) == len(centres):
        return merged, totals, scores
    weighted = np.bincount(group, scores * counts, len(merged))
    return merged, totals, weighted / np.bincount(group, counts, len(merged))
