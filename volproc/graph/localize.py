"""Lazy particle centres from a class map."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed

from volproc.core.errors import ShapeError
from volproc.core.points import Points
from volproc.core.types import Region, Shape
from volproc.core.volume import Volume
from volproc.graph.chunks import Chunk, iterate_chunks, widen
from volproc.graph.class_peaks import localize_peaks
from volproc.graph.component_tree import components_of
from volproc.graph.components import objects_of
from volproc.graph.label import check_mask
from volproc.graph.layers import Graph, new_array, new_value, tree, unique_name
from volproc.graph.particle_blocks import (
    Found,
    erode_block,
    finish_regions,
    merge_found,
    narrow_block,
    open_block,
    share_objects,
    split_objects,
)
from volproc.graph.scratch import Scratch
from volproc.graph.stored_input import touched_chunks
from volproc.io.chunk_files import ChunkFiles
from volproc.reduce.centres_regions import Regions, regions_of_objects
from volproc.reduce.centres_watershed import OPENING_HALO, class_boxes, merge_boxes
from volproc.reduce.erosion import EROSION_HALO
from volproc.reduce.objects import measure_block
from volproc.reduce.particle_rule import (
    ALL_CLASSES,
    MAX_OBJECT_VOXELS,
    Method,
    ParticleRule,
    Ties,
    make_rule,
)
from volproc.reduce.particle_table import particle_table, points_of
from volproc.reduce.tables import ObjectTable, merge_tables


def localize(
    classes: Volume,
    radii: Mapping[str, float | None],
    *,
    class_values: Mapping[str, int],
    method: Method = "watershed",
    radius_min_scale: float = 0.5,
    radius_max_scale: float | None = None,
    min_voxels: int | Mapping[str, int] | None = None,
    min_size_nm3: float | None = None,
    max_size_nm3: float | None = None,
    nms_distance: float | None = None,
    nms_scale: float | None = None,
    connectivity: int | None = None,
    filter_size: int = 10,
    ties: Ties = "scikit-image",
    border: float | None = None,
    max_object_voxels: int = MAX_OBJECT_VOXELS,
    threshold: float = 0.5,
    distance_scale: float = 1.0,
    smooth_scale: float = 0.25,
    refine: bool = False,
    scratch: str | os.PathLike[str] | None = None,
) -> Delayed:
    """Find particle centres in a class map, lazily, with the answer of the whole volume.

    Each class is taken by itself. With ``method="watershed"`` it is opened with a cross of seven
    voxels, which cuts thin bridges; each object is flooded from the places where it is thickest,
    so that particles that touch come apart at their necks. With ``"centre-of-mass"`` connected
    voxels are one particle. Regions are particles if their number of voxels lies between those of
    balls of ``radius * radius_min_scale`` and ``radius * radius_max_scale``; the centre is the
    mean of the voxels. Centres within ``radius * radius_min_scale`` of each other are one
    particle, at their mean; those in the border are left out. With ``"erosion"`` each class loses
    its outer voxels first, beyond the volume everything counting as inside, and what is connected
    across corners too is one particle: CryoSiam's rule, which asks for no radius.

    With ``"peaks"`` the map holds probabilities: each class is smoothed a little, its local maxima
    are candidates, and of two that are near to each other the lower one is dropped, the highest
    kept first. Each keeps the probability of its voxel as score.

    Parameters
    ----------
    classes : Volume of int, (z, y, x)
        Semantic map. For peaks probabilities, float or unsigned parts of their greatest: with
        channels (c, z, y, x), which are found by name or else by value, or of one class.
    radii : mapping of str to float
        Radius of each class that is a particle, Å; None where it is not known, which an erosion,
        or sizes given otherwise, can do without.
    class_values : mapping of str to int
        Value of each class in the map.
    method : str
        ``"watershed"``, ``"centre-of-mass"``, ``"erosion"`` or ``"peaks"``.
    radius_min_scale, radius_max_scale : float
        Bounds of the size, as parts of the radius; inclusive. Without an upper one 1.0 for a
        watershed and 1.5 for the others. A ball of voxels may have a few more than
        4/3 π r³: predictions that fill the particle need a little more than 1.
    min_voxels : int or mapping of str to int
        Particles have more voxels than this, of all classes or of each, instead of those of the
        least ball. After an erosion more than 100 where nothing else bounds the size.
    min_size_nm3, max_size_nm3 : float
        Bounds of the size in nm³, inclusive, instead of those of the radius; after an erosion.
    nms_distance, nms_scale : float
        Of two particles of a class at this distance or nearer, Å or parts of the radius, the
        higher score stays, of equal ones the larger particle.
    connectivity : int
        For centres of mass and erosion: 1 (faces), 2 (edges) or 3 (corners); that of an erosion
        is 3 if not given, else 1.
    filter_size : int
        For a watershed: side of the cubic window in which a marker is the thickest place, voxels.
    ties : str
        For a watershed: where two markers of an object are equally thick, ``"scikit-image"``
        floods them in the order in which `skimage.segmentation.watershed` would on the whole
        volume, which depends on all objects of the class: the result is that of scikit-image,
        voxel for voxel. ``"raster"`` floods them in raster order, and an object's particles
        depend on nothing but itself and its neighbours.
    border : float
        Centres nearer to a face than this part of the volume's size are left out; 0 keeps all. If
        not given 0.005, and 0 for an erosion.
    max_object_voxels : int
        For a watershed: largest box of an object, with its surroundings.
    threshold : float
        For peaks: least probability, inclusive.
    distance_scale : float
        For peaks: two of a class are farther apart than this part of the radius, in Å also where
        voxels are no cubes.
    smooth_scale : float
        For peaks: standard deviation of the Gaussian, as a part of the radius. It finds the middle
        of the plateau that a network leaves where it is certain; 0 smooths nothing.
    refine : bool
        For peaks: place them between voxels, at the top of a parabola along each axis.
    scratch : path
        Folder in which the class map waits as bytes, seen by all workers; a temporary one by
        default. It is removed with the result.

    Returns
    -------
    points : Delayed of Points
        All classes in one table, by class in the order of ``radii``, then by the raster index
        of the object's, or of the marker's, first voxel; peaks the highest first. Equal for
        every chunking.

    Raises
    ------
    ConfigError
        If a class has no value, a scale is not positive, or an option says something unknown.
    ShapeError
        If the map is no volume.

    Notes
    -----
    Centres of mass: two tasks a block and a tree. Watershed: four tasks a block and two trees;
    each chunk is computed once. A task holds a block, or the box of an object, at some 32 bytes a
    voxel; when computed, an object beyond ``max_object_voxels`` raises a `PlanError`. One task
    holds the table of all objects (about 120 bytes each). With ``ties="scikit-image"`` the last
    task also holds the voxels of all particles, about 100 bytes each, and floods them one after
    the other; for more particles than that allows choose ``ties="raster"``, which needs nothing
    but blocks and tables.

    References
    ----------
    .. [1] Octopi, https://github.com/chanzuckerberg/octopi, whose rules and defaults these are.

    Examples
    --------
    >>> z, y, x = np.indices((20, 20, 40))
    >>> map_ = ((z - 10) ** 2 + (y - 9) ** 2 + (abs(x - 20) - 6) ** 2 <= 49).astype("u1")
    >>> volume = Volume(da.from_array(map_, chunks=16), (10.0, 10.0, 10.0))
    >>> points = localize(volume, {"ball": 75.0}, class_values={"ball": 1}).compute()
    >>> points.zyx.round()
    array([[10.,  9., 14.],
           [10.,  9., 26.]])
    """
    rule = make_rule(
        radii,
        class_values=class_values,
        radius_min_scale=radius_min_scale,
        radius_max_scale=radius_max_scale,
        method=method,
        connectivity=connectivity,
        filter_size=filter_size,
        min_voxels={ALL_CLASSES: min_voxels} if isinstance(min_voxels, int) else min_voxels or {},
        min_size_nm3=min_size_nm3,
        max_size_nm3=max_size_nm3,
        nms_distance=nms_distance,
        nms_scale=nms_scale,
        ties=ties,
        border=border,
        max_object_voxels=max_object_voxels,
        voxel_size=classes.voxel_size,
        threshold=threshold,
        distance_scale=distance_scale,
        smooth_scale=smooth_scale,
        refine=refine,
    )
    name = unique_name("localize")
    if rule.method == "peaks":
        return localize_peaks(classes, rule, name, scratch)
    array = check_mask(classes, rule.connectivity)
    if array.ndim != 3:
        msg = f"particles are found in volumes (z, y, x), got shape {array.shape}."
        raise ShapeError(msg)
    if rule.method == "watershed":
        tasks, root = _regions(array, rule, Scratch(scratch), name)
    elif rule.method == "erosion":
        tasks, root = _eroded(array, rule, Scratch(scratch), name)
    else:
        tasks, root = _objects(array, rule.connectivity)
    frame = partial(
        _points, rule=rule, voxel_size=classes.voxel_size, shape=classes.shape, name=classes.name
    )
    tasks[name] = (frame, root)
    return new_value(name, tasks, depends_on=[array])


def _points(
    found: Regions | ObjectTable,
    *,
    rule: ParticleRule,
    voxel_size: tuple[float, ...],
    shape: Shape,
    name: str,
) -> Points:
    """Points of what was found; objects of a whole map still have its own class values."""
    if isinstance(found, ObjectTable):
        found = regions_of_objects(found, {})
        if rule.method == "centre-of-mass":
            found = replace(found, classes=class_numbers(found.classes, rule.values))
    table = particle_table(found, rule=rule, voxel_size=voxel_size, shape=shape)
    return points_of(table, voxel_size=voxel_size, shape=shape, name=name)


def class_numbers(classes: npt.NDArray[np.int64], values: Sequence[int]) -> npt.NDArray[np.int64]:
    """Number classes 1, 2, … in the order of their values; 0 for others.

    Values are as tables of objects hold them: 64 bits with a sign, above 2**63 wrapped around.

    >>> class_numbers(np.array([3, -9223372036854775807, 4]), [3, 2**63 + 1]).tolist()
    [1, 2, 0]
    """
    numbers = np.zeros(len(classes), np.int64)
    for number, value in enumerate(values, start=1):
        numbers[classes == np.array(value).astype(np.int64)] = number
    return numbers


def _objects(array: da.Array, connectivity: int) -> tuple[Graph, Any]:
    """Tasks that find and measure all objects; the key of their table."""
    plan = components_of(array, connectivity, measure=_measure)
    tasks, groups = dict(plan.tasks), []
    for number, (luts, own) in enumerate(zip(plan.luts, plan.groups, strict=True)):
        key = (f"{plan.name}-objects", number)
        tasks[key] = (objects_of, luts, [plan.report(i) for i in own])
        groups.append(key)
    merged, root = tree(f"{plan.name}-tree", groups, merge_tables)
    return tasks | merged, root


def _measure(
    labels: npt.NDArray[np.uint32], *others: Any, offset: Shape, shape: Shape
) -> ObjectTable:
    del others  # nothing but the geometry counts
    return measure_block(labels, offset=offset, shape=shape)


def _reshaped(
    array: da.Array, rule: ParticleRule, files: ChunkFiles, store: Scratch, name: str
) -> tuple[Graph, da.Array]:
    """Tasks that write the narrow map and then open or erode it; and what comes of that."""
    shape, cuts = array.shape, array.chunks
    is_eroded = rule.method == "erosion"
    work, halo = (erode_block, EROSION_HALO) if is_eroded else (open_block, OPENING_HALO)
    keep = f"{name}-scratch"
    tasks: Graph = {keep: store}  # the folder lives as long as the graph does
    for chunk in iterate_chunks(cuts):
        tasks[(f"{name}-narrow", *chunk.index)] = (
            partial(_narrow, files, rule, chunk),
            (array.name, *chunk.index),
            keep,
        )
        wide = widen(chunk.region, halo, shape)
        near = [(f"{name}-narrow", *index) for index in touched_chunks(cuts, wide)]
        tasks[(f"{name}-open", *chunk.index)] = (
            partial(_reshape, work, files, chunk.region, shape),
            near,
            keep,
        )
    changed = new_array(f"{name}-open", tasks, cuts=cuts, dtype=files.dtype, depends_on=[array])
    return tasks, changed


def _eroded(array: da.Array, rule: ParticleRule, store: Scratch, name: str) -> tuple[Graph, Any]:
    """Tasks that find the objects that an erosion leaves; the key of their table."""
    files = ChunkFiles(store.path("classes"), array.chunks, np.dtype(np.uint8))
    tasks, eroded = _reshaped(array, rule, files, store, name)
    found, root = _objects(eroded, rule.connectivity)
    return tasks | found, root


def _regions(array: da.Array, rule: ParticleRule, store: Scratch, name: str) -> tuple[Graph, Any]:
    """Tasks that split all objects; the key of their regions."""
    shape, cuts, keep = array.shape, array.chunks, f"{name}-scratch"
    files = ChunkFiles(store.path("classes"), cuts, np.dtype(np.uint8))
    tasks, opened = _reshaped(array, rule, files, store, name)
    chunks = list(iterate_chunks(cuts))
    found, table = _objects(opened, 1)
    boxes, box = tree(f"{name}-box", [(f"{name}-narrow", *c.index) for c in chunks], merge_boxes)
    share = f"{name}-share"
    tasks |= found | boxes
    tasks[share] = (partial(share_objects, cuts=cuts, shape=shape), table)
    leaves = []
    for number, chunk in enumerate(chunks):
        mine = (f"{name}-mine", *chunk.index)
        tasks[mine] = (_part, share, number)
        leaf = (f"{name}-split", *chunk.index)
        tasks[leaf] = (partial(_split, files, shape, rule), mine, box, keep)
        leaves.append(leaf)
    merged, root = tree(f"{name}-found", leaves, merge_found)
    last = f"{name}-regions"
    tasks |= merged
    tasks[last] = (partial(finish_regions, shape=shape, rule=rule), root)
    return tasks, last


def _narrow(
    files: ChunkFiles, rule: ParticleRule, chunk: Chunk, classes: npt.NDArray[Any], scratch: Any
) -> npt.NDArray[np.int64]:
    """Write the classes that are particles to scratch; give the box of each."""
    del scratch  # an argument only so that the folder is there, as below
    narrow = narrow_block(classes, rule)
    files.write_chunk(chunk.index, narrow)
    return class_boxes(narrow, len(rule.values), chunk.offset)


def _reshape(
    work: Callable[..., npt.NDArray[np.uint8]],
    files: ChunkFiles,
    region: Region,
    shape: Shape,
    *after: Any,
) -> npt.NDArray[np.uint8]:
    del after
    return work(files.read, region, shape)


def _part(parts: Sequence[ObjectTable], number: int) -> ObjectTable:
    return parts[number]


def _split(
    files: ChunkFiles,
    shape: Shape,
    rule: ParticleRule,
    objects: ObjectTable,
    boxes: npt.NDArray[np.int64],
    scratch: Any,
) -> Found:
    del scratch
    return split_objects(files.read, objects, boxes, shape, rule)
