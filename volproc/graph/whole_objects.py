"""Functions of whole objects: each object of a lazy mask is handed over in one piece, once.

        mask, arrays ──► block ──► join … plan ──► own ──► paint
                           │                        ▲
                           └── pieces, on disk ─────┘

An object that lies well inside a block is worked on where it is. The others are written to scratch
as pieces; the block that holds an object's first voxel owns it, reads its box and works on it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed

from volproc.core.errors import ConfigError, ShapeError
from volproc.core.types import Shape
from volproc.graph.chunks import iterate_chunks
from volproc.graph.label import check_mask
from volproc.graph.layers import Graph, new_array, new_value, tree, unique_name
from volproc.graph.object_pieces import (
    Cut,
    ObjectJob,
    Outcome,
    Share,
    cut_block,
    join_pieces,
    merge_pieces,
    own_objects,
    paint_block,
    share_pieces,
)
from volproc.graph.scratch import Scratch
from volproc.io.chunk_files import ChunkFiles
from volproc.reduce.faces import upper_directions

Result = TypeVar("Result")

GROUP = 16
"""Blocks that one task of the tree's first level joins."""

MAX_OBJECT_VOXELS = 2**25
"""Voxels of the largest box that is read for one object."""


def map_objects(
    mask: da.Array,
    function: Callable[[Cut], Result],
    combine: Callable[[list[Result]], Result],
    *,
    arrays: Sequence[da.Array] = (),
    connectivity: int = 1,
    margin: int = 0,
    max_object_voxels: int = MAX_OBJECT_VOXELS,
    scratch: str | os.PathLike[str] | None = None,
) -> Delayed:
    """Apply a function to every connected component of a mask, each whole, and merge the results.

    Parameters
    ----------
    mask : dask array of bool or int, (z, y, x) or (y, x)
        Neighbouring voxels belong together if they are equal and not zero, as in
        `volproc.label`.
    function : callable
        Takes a `Cut` with one or more whole objects and gives anything small that can be
        pickled. It must not matter which objects come together in one cut.
    combine : callable
        Merges a list of results, which may be empty; associative, and whatever order it is
        given: a table is best sorted by the objects' first voxels.
    arrays : sequence of dask array
        Other voxels that the function needs, of the mask's shape; the mask itself, if it needs
        it.
    connectivity : int
        1 (faces), 2 (edges) or 3 (corners).
    margin : int
        Voxels around an object's box that the cut has at least, as far as the volume goes.
    max_object_voxels : int
        Largest box, with its margin, of an object that crosses blocks.
    scratch : path
        Folder for the pieces, seen by all workers; a temporary one by default.

    Returns
    -------
    result : Delayed
        What ``combine`` gives for all objects.

    Raises
    ------
    ConfigError, DtypeError, ShapeError
        If the mask cannot be labelled, or an array has another shape.

    Notes
    -----
    Two tasks a block and trees; each chunk is computed once. A task holds its block, or the box
    of one object. The root of the tree has a row for each piece that touches another block.
    When computed, an object whose box is too large raises a `PlanError`.
    """
    plan = _Plan.of(mask, function, arrays, connectivity, margin, max_object_voxels, scratch)
    merge = partial(_combine, combine)
    tasks, leaves = plan.tasks(merge)
    merged, root = tree(f"{plan.name}-result", leaves, merge)
    last = f"{plan.name}-last"
    tasks |= merged
    tasks[last] = (_first, root, f"{plan.name}-scratch")
    return new_value(last, tasks, depends_on=plan.arrays)


def paint_objects(
    mask: da.Array,
    function: Callable[[Cut], npt.NDArray[Any]],
    dtype: npt.DTypeLike,
    *,
    arrays: Sequence[da.Array] = (),
    connectivity: int = 1,
    margin: int = 0,
    max_object_voxels: int = MAX_OBJECT_VOXELS,
    scratch: str | os.PathLike[str] | None = None,
) -> da.Array:
    """Apply a function to every connected component of a mask, each whole, and get an array.

    Parameters
    ----------
    mask, arrays, connectivity, margin, max_object_voxels, scratch
        As in `map_objects`.
    function : callable
        Takes a `Cut` with one or more whole objects and gives an array of the cut's shape, of
        which the voxels of these objects are used.
    dtype : dtype
        Type of the result.

    Returns
    -------
    array : dask array
        In the mask's chunks; 0 outside the objects.

    Raises
    ------
    ConfigError, DtypeError, ShapeError
        As in `map_objects`.

    Notes
    -----
    Three tasks a block and trees. What the function gives waits on disk.
    """
    plan = _Plan.of(mask, function, arrays, connectivity, margin, max_object_voxels, scratch)
    cuts = mask.chunks
    inner = ChunkFiles(plan.store.path("inner"), cuts, np.dtype(dtype), is_compressed=True)
    plan = replace(plan, job=replace(plan.job, inner=inner))
    tasks, leaves = plan.tasks(_nothing)
    merged, root = tree(f"{plan.name}-painted", leaves, _nothing)
    tasks |= merged
    name = unique_name("objects")
    for chunk in iterate_chunks(cuts):
        tasks[(name, *chunk.index)] = (
            partial(paint_block, inner, plan.job.painted, chunk.index),
            root,
            f"{plan.name}-scratch",
        )
    return new_array(name, tasks, cuts=cuts, dtype=inner.dtype, depends_on=plan.arrays)


@dataclass(frozen=True)
class _Plan:
    """What both verbs share: a checked job, its scratch and its arrays, the mask first."""

    name: str
    job: ObjectJob
    store: Scratch
    arrays: list[da.Array]

    @staticmethod
    def of(
        mask: da.Array,
        function: Callable[[Cut], Any],
        arrays: Sequence[da.Array],
        connectivity: int,
        margin: int,
        max_object_voxels: int,
        scratch: str | os.PathLike[str] | None,
    ) -> _Plan:
        """Check what is asked for, and lay out the scratch."""
        mask = check_mask(mask, connectivity)
        if margin < 0 or max_object_voxels < 1:
            msg = (
                f"the margin is {margin} and the largest object has {max_object_voxels} voxels. "
                "Give a margin of 0 or more, and a positive number of voxels."
            )
            raise ConfigError(msg)
        for array in arrays:
            if array.shape != mask.shape:
                msg = (
                    f"the mask and an array differ in shape, got {mask.shape} and {array.shape}. "
                    "Give volumes of the same region and voxel size."
                )
                raise ShapeError(msg)
        store, cuts = Scratch(scratch), mask.chunks
        job = ObjectJob(
            function=function,
            shape=mask.shape,
            connectivity=connectivity,
            margin=margin,
            max_object_voxels=max_object_voxels,
            labels=ChunkFiles(store.path("labels"), cuts, np.dtype(np.uint32)),
            arrays=tuple(
                ChunkFiles(store.path(f"array{i}"), cuts, a.dtype) for i, a in enumerate(arrays)
            ),
            inner=None,
            painted=store.path("painted"),
        )
        aligned = [a.rechunk(cuts) for a in arrays]
        return _Plan(unique_name("whole"), job, store, [mask, *aligned])

    def tasks(self, combine: Callable[[list[Any]], Any]) -> tuple[Graph, list[Any]]:
        """Tasks up to the work on all objects, and the keys of its results."""
        name, job = self.name, self.job
        chunks = list(iterate_chunks(self.arrays[0].chunks))
        tasks: Graph = {f"{name}-scratch": self.store}  # lives as long as the graph does
        for chunk in chunks:
            tasks[(f"{name}-block", *chunk.index)] = (
                partial(cut_block, job, chunk.index),
                *((a.name, *chunk.index) for a in self.arrays),
            )
        joins = []
        for number, first in enumerate(range(0, len(chunks), GROUP)):
            own = [c.index for c in chunks[first : first + GROUP]]
            others = _upper_neighbours(own, job)
            tasks[(f"{name}-join", number)] = (
                partial(join_pieces, connectivity=job.connectivity),
                [(f"{name}-block", *i) for i in own],
                [(f"{name}-block", *i) for i in others],
            )
            joins.append((f"{name}-join", number))
        merged, root = tree(f"{name}-merge", joins, merge_pieces)
        tasks |= merged
        leaves = []
        for number, first in enumerate(range(0, len(chunks), GROUP)):
            own = [c.index for c in chunks[first : first + GROUP]]
            share = (f"{name}-share", number)
            tasks[share] = (partial(share_pieces, job.labels.cuts, own), root)
            for index in own:
                tasks[(f"{name}-own", *index)] = (
                    partial(_own, combine, job, index),
                    share,
                    (f"{name}-block", *index),
                )
                leaves.append((f"{name}-own", *index))
        return tasks, leaves


def _upper_neighbours(own: list[Shape], job: ObjectJob) -> list[Shape]:
    numblocks = tuple(len(cut) for cut in job.labels.cuts)
    found = {
        tuple(i + d for i, d in zip(index, step, strict=True))
        for index in own
        for step in upper_directions(len(numblocks), job.connectivity)
    }
    inside = {i for i in found if all(0 <= a < n for a, n in zip(i, numblocks, strict=True))}
    return sorted(inside - set(own))


def _own(
    combine: Callable[[list[Any]], Any],
    job: ObjectJob,
    index: Shape,
    share: Share,
    block: Outcome,
) -> Any:
    """Work on the objects that a block owns; combine with those that lie inside it."""
    return combine([*block.results, *own_objects(job, index, share)])


def _combine(combine: Callable[[list[Any]], Any], results: list[Any]) -> Any:
    return combine(list(results))


def _nothing(parts: Any) -> None:
    del parts


def _first(result: Any, scratch: Any) -> Any:
    del scratch  # an argument only so that the folder outlives this task
    return result
