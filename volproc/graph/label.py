"""Lazy connected components, measurements and particle centres."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from math import prod
from typing import Any, TypeVar

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed

from volproc.core.errors import DtypeError, ShapeError
from volproc.core.types import Shape
from volproc.core.volume import Volume
from volproc.graph.components import (
    join_chunks,
    label_chunk,
    lut_of,
    merge_joined,
    objects_of,
    relabel_chunk,
    unite_joined,
)
from volproc.graph.layers import (
    Chunk,
    Graph,
    array_of,
    iterate_chunks,
    new_array,
    new_value,
    tree,
    unique_name,
)
from volproc.graph.particles import make_rule, points_of
from volproc.graph.scratch import Scratch
from volproc.io.chunk_files import ChunkFiles
from volproc.reduce.components import Union, check_mask_type
from volproc.reduce.faces import check_connectivity, upper_directions
from volproc.reduce.objects import finish, measure_block
from volproc.reduce.tables import ObjectTable, merge_tables

Lazy = TypeVar("Lazy", Volume, da.Array)

GROUP = 16
"""Blocks that one task of the tree's first level joins."""


def label(
    mask: Lazy,
    *,
    connectivity: int = 1,
    dtype: npt.DTypeLike = np.uint32,
    scratch: str | os.PathLike[str] | None = None,
) -> tuple[Lazy, Delayed]:
    """Find connected components, lazily, with the ids of the whole volume.

    Parameters
    ----------
    mask : Volume or dask array, (z, y, x) or (y, x)
        Boolean, or integer classes; neighbouring voxels belong together if they are equal and
        not zero.
    connectivity : int
        1 (faces), 2 (edges) or 3 (corners), as in `scipy.ndimage.generate_binary_structure`.
    dtype : dtype
        Type of the labels.
    scratch : path
        Folder for the provisional labels, seen by all workers; a temporary one by default. It
        is removed with the array.

    Returns
    -------
    labels : Volume or dask array
        Objects 1..N by their first voxels in raster order; for a binary mask the very numbers
        of `scipy.ndimage.label`, for every chunking.
    num_objects : Delayed of int

    Raises
    ------
    ConfigError
        If there is no such connectivity.
    DtypeError
        If the mask is neither boolean nor integer.

    Notes
    -----
    Three tasks a block and a tree. Each chunk of the mask is computed once per computation;
    local labels wait on disk. Compute labels and number together: ``dask.compute(*label(m))``.

    Examples
    --------
    >>> mask = da.from_array(np.array([[1, 0, 1], [1, 0, 1], [1, 1, 1]]), chunks=2)
    >>> labels, count = label(mask)
    >>> labels.compute().max(), count.compute()
    (np.uint32(1), 1)
    """
    array = _check_mask(mask, connectivity)
    store = Scratch(scratch)
    cuts = array.chunks
    files = ChunkFiles(store.path("labels"), cuts, np.dtype(np.uint32), is_compressed=True)
    tasks, name, union = _components(array, connectivity, files)
    tasks |= {f"{name}-scratch": store}  # lives as long as the graph does
    target = np.dtype(dtype)
    labels_name = unique_name("label")
    chunk: Chunk
    for chunk in iterate_chunks(cuts):
        lut = (f"{name}-lut", *chunk.index)
        tasks[lut] = (_lut, union, (f"{name}-block", *chunk.index), target)
        tasks[(labels_name, *chunk.index)] = (
            _relabel,
            files,
            chunk.index,
            lut,
            target,
            f"{name}-scratch",
        )
    tasks[f"{name}-count"] = (_count, union)
    labels = new_array(labels_name, tasks, cuts=cuts, dtype=target, depends_on=[array])
    number = Delayed(f"{name}-count", labels.__dask_graph__(), layer=labels_name)
    if isinstance(mask, Volume):
        return mask.with_data(labels, name=f"{mask.name} labels"), number
    return labels, number


def measure(labels: Volume | da.Array, intensity: Volume | da.Array | None = None) -> Delayed:
    """Measure all objects of a labelled volume, lazily.

    Parameters
    ----------
    labels : Volume or dask array of int, (z, y, x) or (y, x)
        Instances, 0 = background, unique in the volume.
    intensity : Volume or dask array, same shape
        Voxels whose mean, least and greatest are wanted under each object.

    Returns
    -------
    table : Delayed of DataFrame
        One row an object, ascending by ``label``: ``num_voxels``, centroid ``z``, ``y``, ``x``
        in voxels, half-open box ``z_min`` …, ``first``; with an intensity also
        ``mean_intensity``, ``min_intensity``, ``max_intensity``.

    Raises
    ------
    ShapeError
        If the two differ in shape.

    Notes
    -----
    One task a block and a tree; sums are integers or exact, so every chunking gives the same
    bits. Memory follows the number of objects.
    """
    array = array_of(labels)
    values = None if intensity is None else array_of(intensity)
    if values is not None and values.shape != array.shape:
        msg = (
            f"labels and intensity differ in shape, got {array.shape} and {values.shape}. Give "
            "two volumes of the same region and voxel size."
        )
        raise ShapeError(msg)
    if values is not None:
        values = values.rechunk(array.chunks)
    name = unique_name("measure")
    tasks: Graph = {}
    leaves = []
    for chunk in iterate_chunks(array.chunks):
        key = (f"{name}-block", *chunk.index)
        other = None if values is None else (values.name, *chunk.index)
        tasks[key] = (
            partial(_measure, chunk=chunk, shape=array.shape),
            (array.name, *chunk.index),
            other,
        )
        leaves.append(key)
    merged, root = tree(f"{name}-tree", leaves, merge_tables)
    tasks |= merged
    tasks[name] = (finish, root)
    return new_value(name, tasks, depends_on=[a for a in (array, values) if a is not None])


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
    array = _check_mask(classes, connectivity)
    if array.ndim != 3:
        msg = f"particles are found in volumes (z, y, x), got shape {array.shape}."
        raise ShapeError(msg)
    rule = make_rule(
        radii,
        class_values=class_values,
        radius_min_scale=radius_min_scale,
        radius_max_scale=radius_max_scale,
    )
    tasks, name, union = _components(array, connectivity, None)
    leaves = [(f"{name}-block", *c.index) for c in iterate_chunks(array.chunks)]
    groups = []
    for number, first in enumerate(range(0, len(leaves), GROUP)):
        key = (f"{name}-objects", number)
        tasks[key] = (objects_of, union, leaves[first : first + GROUP])
        groups.append(key)
    merged, root = tree(f"{name}-tree", groups, merge_tables)
    tasks |= merged
    frame = partial(
        points_of, rule=rule, voxel_size=classes.voxel_size, shape=classes.shape, name=classes.name
    )
    result = unique_name("localize")
    tasks[result] = (frame, root)
    return new_value(result, tasks, depends_on=[array])


def _components(
    array: da.Array, connectivity: int, files: ChunkFiles | None
) -> tuple[Graph, str, Any]:
    """Tasks that label all chunks and unite them; the prefix and the key of the union."""
    name = unique_name("components")
    tasks: Graph = {}
    chunks: list[Chunk] = list(iterate_chunks(array.chunks))
    for chunk in chunks:
        tasks[(f"{name}-block", *chunk.index)] = (
            partial(
                label_chunk,
                index=chunk.index,
                offset=chunk.offset,
                shape=array.shape,
                connectivity=connectivity,
                files=files,
            ),
            (array.name, *chunk.index),
        )
    leaves = []
    for number, first in enumerate(range(0, len(chunks), GROUP)):
        own = [c.index for c in chunks[first : first + GROUP]]
        others = _upper_neighbours(own, array.numblocks, connectivity)
        key = (f"{name}-join", number)
        tasks[key] = (
            partial(join_chunks, connectivity=connectivity),
            [(f"{name}-block", *i) for i in own],
            [(f"{name}-block", *i) for i in others],
        )
        leaves.append(key)
    merged, root = tree(f"{name}-merge", leaves, merge_joined)
    tasks |= merged
    union = f"{name}-union"
    tasks[union] = (unite_joined, root)
    return tasks, name, union


def _upper_neighbours(own: list[Shape], numblocks: Shape, connectivity: int) -> list[Shape]:
    found = {
        tuple(i + d for i, d in zip(index, step, strict=True))
        for index in own
        for step in upper_directions(len(numblocks), connectivity)
    }
    inside = {i for i in found if all(0 <= a < n for a, n in zip(i, numblocks, strict=True))}
    return sorted(inside - set(own))


def _check_mask(mask: Volume | da.Array, connectivity: int) -> da.Array:
    array = array_of(mask)
    check_connectivity(connectivity, array.ndim)
    check_mask_type(array.dtype)
    if prod(array.shape) == 0:
        msg = f"there is nothing to label in an empty volume, got shape {array.shape}."
        raise ShapeError(msg)
    return array


def _lut(union: Union, report: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if union.num_objects > np.iinfo(dtype).max:
        msg = f"{union.num_objects} objects do not fit into {dtype}. Use dtype=numpy.uint64."
        raise DtypeError(msg)
    return lut_of(union, report)


def _relabel(
    files: ChunkFiles, index: Shape, lut: npt.NDArray[Any], dtype: np.dtype[Any], scratch: Any
) -> npt.NDArray[Any]:
    del scratch  # an argument only so that the folder outlives this task
    return relabel_chunk(files, index, lut, dtype)


def _measure(
    labels: npt.NDArray[Any], values: npt.NDArray[Any] | None, *, chunk: Chunk, shape: Shape
) -> ObjectTable:
    return measure_block(labels, offset=chunk.offset, shape=shape, intensity=values)


def _count(union: Union) -> int:
    return union.num_objects
