"""Lazy linking of the instances of slices to objects of the volume."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, TypeVar

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed

from volproc.core.errors import ConfigError, DtypeError, ShapeError
from volproc.core.types import Index
from volproc.core.volume import Volume
from volproc.graph.chunks import Chunk, iterate_chunks
from volproc.graph.layers import Graph, array_of, new_array, tree, unique_name
from volproc.graph.link_slabs import (
    LinkJob,
    fill_chunk,
    join_chunks,
    link_slab,
    measure_chunk,
    number_slab,
    relabel_chunk,
    stitch_slab,
)
from volproc.graph.scratch import Scratch
from volproc.reduce.linking import Chains, LinkRule, Method
from volproc.reduce.linking_stitch3d import Stitching
from volproc.reduce.linking_tables import check_slices_type, merge_slices

Lazy = TypeVar("Lazy", Volume, da.Array)

GROUP = 16
"""Blocks of a slab that one task joins."""


def link(
    slices: Lazy,
    *,
    min_iou: float = 0.3,
    max_distance_z: int = 2,
    method: Method = "hungarian",
    fill_gaps: bool = False,
    dtype: npt.DTypeLike = np.uint32,
    scratch: str | os.PathLike[str] | None = None,
) -> tuple[Lazy, Delayed]:
    """Link the instances of slices to objects of the volume, lazily.

    Parameters
    ----------
    slices : Volume or dask array of int, (z, y, x)
        Instances of each slice, 0 = background. A label is unique within its slice only; tiles
        of a slice are stitched first.
    min_iou : float
        Least overlap of a link, in [0, 1]: intersection over union, or with "containment"
        intersection over the smaller area. Sections that share no y, x are never linked.
    max_distance_z : int
        Slices between two linked sections, at most: 1 links neighbours only, 2 also over one
        slice. "stitch3d" knows neighbours only.
    method : {"hungarian", "containment", "stitch3d"}
        "hungarian": the optimal assignment, greatest sum of IoU. "containment": likewise with
        intersection over the smaller area, which a section that grows or shrinks keeps; IoU
        decides between equals. "stitch3d": the rule and the very numbers of
        ``cellpose.utils.stitch3D(masks, stitch_threshold=min_iou)``.
    fill_gaps : bool
        Paint the slices that a link leaps over: background voxels whose y, x lies in both linked
        sections get the object.
    dtype : dtype
        Type of the labels.
    scratch : path
        Folder for what stands between the stages, seen by all workers; a temporary one by
        default. It is removed with the array.

    Returns
    -------
    labels : Volume or dask array
        Objects 1..N by their first voxels in raster order, whatever the chunks and the labels of
        the slices; with "stitch3d" the numbers of Cellpose.
    num_objects : Delayed of int
        Number of different objects.

    Raises
    ------
    ConfigError
        If an option is impossible.
    DtypeError
        If slices hold no integers; when computed, if a label is negative, or if the objects do
        not fit into ``dtype``.
    ShapeError
        If there is no stack of slices.

    Notes
    -----
    First all neighbouring slices z, z + 1 are linked; then z and z + 2 among the sections that
    found no partner in z + 1, that is, neither the lower one above it nor the upper one below
    it; and so on. A third section that lies between two linked ones stays what it is. Pairs below
    ``min_iou`` are out before the assignment, not after it. Of equally good assignments that is
    taken which serves the sections of the lower slice in the order of their first voxels, each
    with the greatest overlap left to it and then the smaller first voxel.

    Two tasks a block, and a few a slab, which is all chunks with the same slices. Each chunk is
    computed once per computation; the runs of the sections wait on disk. Tables hold 32 bytes a
    section and 24 a pair of overlapping ones; a task holds those of one slab and of the
    ``max_distance_z`` slices above it, so that thin chunks along z bound the memory. Objects are
    numbered slab by slab from below, which carries only the chains that go on.

    Examples
    --------
    >>> stack = np.array([[[5, 5, 0]], [[0, 0, 0]], [[7, 7, 9]]])
    >>> labels, count = link(da.from_array(stack, chunks=(1, 1, 2)))
    >>> labels.compute().tolist(), count.compute()
    ([[[1, 1, 0]], [[0, 0, 0]], [[1, 1, 2]]], 2)
    >>> link(da.from_array(stack), fill_gaps=True)[0].compute()[1].tolist()
    [[1, 1, 0]]
    """
    rule = LinkRule(min_iou, max_distance_z, method)
    if fill_gaps and method == "stitch3d":
        msg = (
            "stitch3d links neighbouring slices only, so that fill_gaps=True has nothing to fill. "
            'Use method="hungarian".'
        )
        raise ConfigError(msg)
    array = _check_slices(slices)
    farthest = min(max_distance_z, max(1, array.shape[0] - 1))
    rule = replace(rule, max_distance_z=farthest)
    store = Scratch(scratch)
    job = LinkJob(rule, store.folder, array.chunks, np.dtype(dtype))
    name = unique_name("link")
    tasks: Graph = {f"{name}-scratch": store}  # lives as long as the graph does
    numbered = _number(array, job, name, tasks)
    labels_name = unique_name("linked")
    _finish_chunks(labels_name, job, name, numbered, tasks, fill_gaps=fill_gaps)
    count = f"{name}-count"
    tasks[count] = (_count, numbered[-1])
    labels = new_array(labels_name, tasks, cuts=array.chunks, dtype=job.dtype, depends_on=[array])
    number = Delayed(count, labels.__dask_graph__(), layer=labels_name)
    if isinstance(slices, Volume):
        return slices.with_data(labels, name=f"{slices.name} labels"), number
    return labels, number


def _number(array: da.Array, job: LinkJob, name: str, tasks: Graph) -> list[Any]:
    """Add the tasks up to the numbering of each slab; their keys."""
    for chunk in iterate_chunks(array.chunks):
        tasks[(f"{name}-block", *chunk.index)] = (
            partial(measure_chunk, index=chunk.index, offset=chunk.offset, job=job),
            (array.name, *chunk.index),
        )
    slabs = range(array.numblocks[0])
    tables = [_join(array.numblocks, slab, job, name, tasks) for slab in slabs]
    numbered: list[Any] = []
    for slab in slabs:
        key = (f"{name}-numbers", slab)
        before = numbered[-1] if numbered else None
        if job.rule.method == "stitch3d":
            tasks[key] = (partial(stitch_slab, slab=slab, job=job), before, tables[slab])
        else:
            links = (f"{name}-links", slab)
            above = [tables[k] for k in job.slabs_above(slab, job.rule.distance)]
            tasks[links] = (partial(link_slab, slab=slab, job=job), tables[slab], above)
            tasks[key] = (partial(number_slab, slab=slab, job=job), before, tables[slab], links)
        numbered.append(key)
    return numbered


def _join(numblocks: Index, slab: int, job: LinkJob, name: str, tasks: Graph) -> Any:
    """Add the tree of one slab; its key."""
    columns = [c.index for c in iterate_chunks(tuple((1,) * n for n in numblocks[1:]))]
    upper = job.slabs_above(slab, job.rule.distance)
    leaves: list[Any] = []
    for number, first in enumerate(range(0, len(columns), GROUP)):
        own = columns[first : first + GROUP]
        key = (f"{name}-join", slab, number)
        tasks[key] = (
            partial(join_chunks, job=job),
            [(f"{name}-block", slab, *c) for c in own],
            [(f"{name}-block", k, *c) for k in upper for c in own],
        )
        leaves.append(key)
    if len(leaves) == 1:
        return leaves[0]
    merged, root = tree(f"{name}-merge-{slab}", leaves, merge_slices)
    tasks |= merged
    return root


def _finish_chunks(
    labels_name: str,
    job: LinkJob,
    name: str,
    numbered: list[Any],
    tasks: Graph,
    *,
    fill_gaps: bool,
) -> None:
    """Add the tasks that give the chunks of the result."""
    near = job.rule.distance - 1 if fill_gaps else 0
    # slabs are numbered from below, so that the highest one that a chunk looks at comes last
    last = [max([slab, *job.slabs_above(slab, near)]) for slab in range(len(numbered))]
    chunk: Chunk
    for chunk in iterate_chunks(job.cuts):
        tasks[(labels_name, *chunk.index)] = (
            partial(_finish, job=job, index=chunk.index, fill_gaps=near > 0),
            numbered[last[chunk.index[0]]],
            f"{name}-scratch",
        )


def _check_slices(slices: Volume | da.Array) -> da.Array:
    if not isinstance(slices, Volume | da.Array):
        msg = (
            f"slices are a Volume or a dask array, got {type(slices).__name__}. Wrap an array in "
            "memory with dask.array.from_array."
        )
        raise DtypeError(msg)
    array = array_of(slices)
    if array.ndim != 3 or prod(array.shape) == 0:
        msg = (
            f"slices are a stack (z, y, x) of at least one voxel, got shape {array.shape}. Select "
            "one channel first; a single slice (y, x) has nothing to link."
        )
        raise ShapeError(msg)
    check_slices_type(array.dtype)
    return array


def _finish(
    numbered: Any, scratch: Any, *, job: LinkJob, index: Index, fill_gaps: bool
) -> npt.NDArray[Any]:
    del numbered, scratch  # so that this runs after the numbering, and before the folder goes
    return fill_chunk(job, index) if fill_gaps else relabel_chunk(job, index)


def _count(numbered: Chains | Stitching) -> int:
    return numbered.num_objects
