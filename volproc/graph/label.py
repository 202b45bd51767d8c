"""Lazy connected components, measurements and particle centres."""

from __future__ import annotations

import os
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
    relabel_chunk,
    unite_joined,
)
from volproc.graph.layers import (
    Chunk,
    Graph,
    array_of,
    iterate_chunks,
    new_array,
    tree,
    unique_name,
)
from volproc.graph.scratch import Scratch
from volproc.io.chunk_files import ChunkFiles
from volproc.reduce.components import Union, check_mask_type
from volproc.reduce.faces import check_connectivity, upper_directions

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
    array = check_mask(mask, connectivity)
    store = Scratch(scratch)
    cuts = array.chunks
    files = ChunkFiles(store.path("labels"), cuts, np.dtype(np.uint32), is_compressed=True)
    tasks, name, union = components_of(array, connectivity, files)
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


def components_of(
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


def check_mask(mask: Volume | da.Array, connectivity: int) -> da.Array:
    """Return the lazy array of a mask that can be labelled."""
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


def _count(union: Union) -> int:
    return union.num_objects
