"""Lazy particle centres from a class map."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from dask.delayed import Delayed

from volproc.core.errors import ShapeError
from volproc.core.volume import Volume
from volproc.graph.component_tree import components_of
from volproc.graph.components import objects_of
from volproc.graph.label import check_mask
from volproc.graph.layers import new_value, tree, unique_name
from volproc.graph.particles import make_rule, points_of
from volproc.reduce.objects import measure_block
from volproc.reduce.tables import merge_tables


def localize(
    classes: Volume,
    radii: Mapping[str, float],
    *,
    class_values: Mapping[str, int],
    radius_min_scale: float = 0.5,
    radius_max_scale: float = 1.5,
    connectivity: int = 1,
) -> Delayed:
    """Find particle centres in a class map, lazily.

    Connected voxels of a class are a particle if their number lies between those of balls of
    ``radius * radius_min_scale`` and ``radius * radius_max_scale``; its centre is the mean of
    its voxels.

    Parameters
    ----------
    classes : Volume of int, (z, y, x)
        Semantic map.
    radii : mapping of str to float
        Radius of each class that is a particle, Å.
    class_values : mapping of str to int
        Value of each class in the map.
    radius_min_scale, radius_max_scale : float
        Bounds of the size, as parts of the radius; inclusive.
    connectivity : int
        1 (faces), 2 (edges) or 3 (corners).

    Returns
    -------
    points : Delayed of Points
        All classes in one table, by class in the order of ``radii``, then by the raster index
        of the first voxel. Equal for every chunking.

    Raises
    ------
    ConfigError
        If a class has no value, or a scale is not positive.
    """
    array = check_mask(classes, connectivity)
    if array.ndim != 3:
        msg = f"particles are found in volumes (z, y, x), got shape {array.shape}."
        raise ShapeError(msg)
    rule = make_rule(
        radii,
        class_values=class_values,
        radius_min_scale=radius_min_scale,
        radius_max_scale=radius_max_scale,
    )
    plan = components_of(array, connectivity, measure=measure_block)
    tasks, name = dict(plan.tasks), plan.name
    groups = []
    for number, (luts, own) in enumerate(zip(plan.luts, plan.groups, strict=True)):
        key = (f"{name}-objects", number)
        tasks[key] = (objects_of, luts, [plan.report(i) for i in own])
        groups.append(key)
    merged, root = tree(f"{name}-tree", groups, merge_tables)
    tasks |= merged
    frame = partial(
        points_of, rule=rule, voxel_size=classes.voxel_size, shape=classes.shape, name=classes.name
    )
    result = unique_name("localize")
    tasks[result] = (frame, root)
    return new_value(result, tasks, depends_on=[array])
