"""Which objects are particles, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from volproc.core.errors import ConfigError, nearest
from volproc.core.points import Points, concat_points
from volproc.core.types import Shape
from volproc.reduce.centres import filter_by_size, size_limits
from volproc.reduce.tables import ObjectTable


@dataclass(frozen=True, slots=True)
class ParticleRule:
    """Sizes of particles by class.

    Parameters
    ----------
    classes : mapping of str to (int, float)
        Value in the class map, and radius in Å.
    radius_min_scale, radius_max_scale : float
        Bounds of a particle's size: balls of these parts of the radius, inclusive.
    """

    classes: Mapping[str, tuple[int, float]]
    radius_min_scale: float
    radius_max_scale: float


def make_rule(
    radii: Mapping[str, float],
    *,
    class_values: Mapping[str, int],
    radius_min_scale: float,
    radius_max_scale: float,
) -> ParticleRule:
    """Check what a particle is.

    Raises
    ------
    ConfigError
        If a class has no value in the map, a radius is not positive, or the scales are in the
        wrong order.
    """
    if not radii:
        msg = "no class has a radius, so none is a particle. Give a radius in Å for each particle."
        raise ConfigError(msg)
    for class_name, radius in radii.items():
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
    if not 0 <= radius_min_scale <= radius_max_scale:
        msg = (
            f"the scales of the radius go from {radius_min_scale} to {radius_max_scale}. Give a "
            "smaller one first, none negative."
        )
        raise ConfigError(msg)
    classes = {n: (int(class_values[n]), float(r)) for n, r in radii.items()}
    return ParticleRule(classes, radius_min_scale, radius_max_scale)


def points_of(
    table: ObjectTable,
    *,
    rule: ParticleRule,
    voxel_size: tuple[float, ...],
    shape: Shape,
    name: str,
) -> Points:
    """Centres of the objects that have a particle's size.

    Parameters
    ----------
    table : ObjectTable
        Objects of the whole volume with their class values.
    rule : ParticleRule
        What a particle is.
    voxel_size, shape, name
        Of the volume; see `Points`.

    Returns
    -------
    points : Points
        By class in the order of the rule, then by first voxel.
    """
    parts = []
    for class_name, (value, radius) in rule.classes.items():
        lower, upper = size_limits(radius, voxel_size, rule.radius_min_scale, rule.radius_max_scale)
        # A table without rows has no classes.
        mine = table if table.classes is None else table.select(table.classes == value)
        kept = filter_by_size(mine, min_voxels=lower, max_voxels=upper)
        parts.append(
            Points.from_zyx(
                kept.centroids,
                class_name=class_name,
                voxel_size=voxel_size,
                shape=shape,
                num_voxels=kept.count,
                name=name,
            )
        )
    return concat_points(parts)
