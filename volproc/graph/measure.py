"""Lazy measurements of all objects of a labelled volume."""

from __future__ import annotations

from functools import partial
from typing import Any

import dask.array as da
import numpy.typing as npt
from dask.delayed import Delayed

from volproc.core.errors import ShapeError
from volproc.core.types import Shape
from volproc.core.volume import Volume
from volproc.graph.layers import (
    Chunk,
    Graph,
    array_of,
    iterate_chunks,
    new_value,
    tree,
    unique_name,
)
from volproc.reduce.objects import finish, measure_block
from volproc.reduce.tables import ObjectTable, merge_tables


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


def _measure(
    labels: npt.NDArray[Any], values: npt.NDArray[Any] | None, *, chunk: Chunk, shape: Shape
) -> ObjectTable:
    return measure_block(labels, offset=chunk.offset, shape=shape, intensity=values)
