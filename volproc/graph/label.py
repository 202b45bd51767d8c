"""Lazy connected components."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any, TypeVar

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed

from volproc.core.errors import DtypeError, ShapeError
from volproc.core.types import Index, region_shape
from volproc.core.volume import Volume
from volproc.graph.chunks import Chunk
from volproc.graph.component_ids import Luts
from volproc.graph.component_tree import ComponentTasks, components_of
from volproc.graph.layers import (
    array_of,
    new_array,
    new_task,
    ref,
    tree,
    unique_name,
    without_collector,
)
from volproc.graph.scratch import ScratchUse
from volproc.io.run_files import RunFiles
from volproc.io.scratch_tables import ScratchTables
from volproc.reduce.components import check_mask_type
from volproc.reduce.faces import check_connectivity
from volproc.reduce.runs import relabel_runs

Lazy = TypeVar("Lazy", Volume, da.Array)


def label(
    mask: Lazy,
    *,
    connectivity: int = 1,
    dtype: npt.DTypeLike | None = None,
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
    dtype : dtype, optional
        Type of the labels. By default uint32, and uint64 where the volume has 2**32 voxels or
        more, so that more objects than uint32 can count are possible.
    scratch : path, optional
        Folder for the provisional labels, seen by all workers; a temporary one by default. What
        is put there goes at the end of each computation, also when it fails.

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
        If the mask is neither boolean nor integer, or ``dtype`` is no integer; when computed, if
        ``dtype`` cannot hold the number of objects.
    ShapeError
        If the mask has no voxels, or chunks of unknown size.

    Notes
    -----
    Two tasks a block, and a tree of super-blocks with some two tasks for sixteen blocks. Each
    chunk of the mask is computed once per computation; its labels wait on disk as runs, twelve
    bytes each. A task of the tree holds the components on the outer sides of what it joins; the
    ranks need eight bytes for each object that begins in one layer of blocks along the first axis.
    Compute labels and number together: ``dask.compute(*label(m))``.

    Examples
    --------
    >>> mask = da.from_array(np.array([[1, 0, 1], [1, 0, 1], [1, 1, 1]]), chunks=2)
    >>> labels, count = label(mask)
    >>> labels.compute().max(), count.compute()
    (np.uint32(1), 1)
    """
    array = check_mask(mask, connectivity)
    target = label_type(array, dtype)
    plan = components_of(array, connectivity, dtype=target, scratch=scratch, keeps_labels=True)
    return labels_of(mask, plan, target)


@without_collector()
def labels_of(mask: Lazy, plan: ComponentTasks, dtype: np.dtype[Any]) -> tuple[Lazy, Delayed]:
    """Lazy labels of a mask whose components were planned with ``keeps_labels``, and their number.

    Parameters
    ----------
    mask : Volume or dask array
        What was planned.
    plan : ComponentTasks
        Result of `components_of`, with tables of this type.
    dtype : dtype
        Type of the labels.
    """
    array = array_of(mask)
    name, tasks = unique_name("label"), dict(plan.tasks)
    keep = partial(_keep_luts, tables=plan.tables)
    kept = [(f"{name}-luts", number) for number in range(len(plan.groups))]
    for place, luts, group in zip(kept, map(ref, plan.luts), plan.groups, strict=True):
        tasks[place] = new_task(place, keep, luts, group)
    # A scheduler does a task where what it needs is, so that whatever needs the tables of the
    # one worker that numbered would be done there; what needs one small thing goes to all.
    merged, ready = tree(f"{name}-ready", kept, _first)
    tasks |= merged
    paint = partial(_paint, files=plan.files, tables=plan.tables, dtype=dtype)
    chunk: Chunk
    for chunk in plan.chunks:
        key = (name, *chunk.index)
        tasks[key] = new_task(key, paint, chunk, ref(ready))
    labels = new_array(name, tasks, cuts=array.chunks, dtype=dtype, depends_on=[array])
    number = Delayed(plan.count, labels.__dask_graph__(), layer=name)
    if isinstance(mask, Volume):
        return mask.with_data(labels, name=f"{mask.name} labels"), number
    return labels, number


def label_type(array: da.Array, dtype: npt.DTypeLike | None) -> np.dtype[Any]:
    """Type of the labels of an array.

    Raises
    ------
    DtypeError
        If the type asked for is no integer.
    """
    if dtype is None:
        return np.dtype(np.uint32 if array.size < 2**32 else np.uint64)
    target = np.dtype(dtype)
    if target.kind not in "iu":
        msg = f"labels are integers, got dtype {target}. Use numpy.uint32 or numpy.uint64."
        raise DtypeError(msg)
    return target


def check_mask(mask: Volume | da.Array, connectivity: int) -> da.Array:
    """Return the lazy array of a mask that can be labelled."""
    array = array_of(mask)
    check_connectivity(connectivity, array.ndim)
    check_mask_type(array.dtype)
    if prod(array.shape) == 0:
        msg = f"there is nothing to label in an empty volume, got shape {array.shape}."
        raise ShapeError(msg)
    return array


def _keep_luts(luts: Luts, group: Sequence[Index], *, tables: ScratchTables) -> ScratchUse:
    """Put the table of each block to scratch storage."""
    for index, table in zip(group, luts.tables, strict=True):
        tables.write_one(_table_name(index), table)
    return luts.scratch


def _first(parts: Sequence[ScratchUse]) -> ScratchUse:
    return parts[0]


def _table_name(index: Index) -> str:
    return f"lut-{'.'.join(map(str, index))}"


def _paint(
    chunk: Chunk,
    scratch: ScratchUse,
    *,
    files: RunFiles,
    tables: ScratchTables,
    dtype: np.dtype[Any],
) -> npt.NDArray[Any]:
    del scratch  # an argument only so that the files are there until now
    lut = tables.map_one(_table_name(chunk.index))
    shape = region_shape(chunk.region)
    return relabel_runs(files.read(chunk.index), lut, shape, dtype=dtype)
