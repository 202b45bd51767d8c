"""Lazy classes of objects by vote."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed

from volproc.core.types import Index
from volproc.core.volume import Volume
from volproc.graph.chunks import Chunk
from volproc.graph.label_stage import Lazy, Stage, beside, check_labels, like
from volproc.graph.layers import new_task, ref
from volproc.graph.lookup import LookupFiles
from volproc.io.chunk_files import ChunkFiles
from volproc.reduce.components import relabel
from volproc.reduce.voting import Votes, check_class_type, count_votes, elect, merge_votes


def majority(
    labels: Lazy,
    classes: Volume | da.Array,
    *,
    background_votes: bool = True,
    scratch: str | os.PathLike[str] | None = None,
) -> tuple[Lazy, Delayed]:
    """Give each object the class of most of its voxels, lazily.

    Parameters
    ----------
    labels : Volume or dask array of int, (z, y, x) or (y, x)
        Instances, 0 = background.
    classes : Volume or dask array of int or bool, same shape
        Semantic map.
    background_votes : bool
        Whether voxels of class 0 count, as any others do. Without them an object is of class 0
        only if all its voxels are.
    scratch : path
        Folder for the numbered blocks, as in `volproc.relabel`.

    Returns
    -------
    class_map : Volume or dask array
        Class of the object at each voxel, of the type of ``classes``; 0 outside objects.
    table : Delayed of DataFrame
        One row an object, ascending by ``label``: ``class_value``, ``num_votes`` for it,
        ``num_voxels`` and ``share``, the votes for it as a part of those that count. Of equally
        frequent classes the smallest wins.

    Raises
    ------
    DtypeError
        If labels or classes are not integers.
    ShapeError
        If the two differ in shape.

    Notes
    -----
    Two tasks a block and a tree; each chunk of both is computed once if both results are computed
    together, ``dask.compute(*majority(labels, classes))``. All pairs of object and class are
    whole in one task, 24 bytes each.

    Examples
    --------
    >>> import dask
    >>> labels = da.from_array(np.array([[8, 8, 8, 0, 5]]), chunks=2)
    >>> classes = da.from_array(np.array([[1, 2, 2, 1, 3]]), chunks=2)
    >>> class_map, table = dask.compute(*majority(labels, classes))
    >>> class_map.tolist(), table["class_value"].tolist()
    ([[2, 2, 2, 0, 3]], [3, 2])
    """
    array = check_labels(labels)
    values = beside(array, classes, "classes")
    check_class_type(values.dtype)
    stage = Stage(array, "majority", scratch)
    files, lookup = stage.files("numbers"), stage.lookup()
    leaves = stage.add_blocks(partial(_vote, files=files, shape=array.shape), (values,))
    table = stage.add_root(leaves, merge_votes, partial(elect, background_votes=background_votes))
    written = f"{stage.name}-classes"
    write = partial(_write, lookup=lookup)
    stage.tasks[written] = new_task(written, write, ref(table), ref(stage.store_key))
    paint = partial(_paint, files=files, lookup=lookup, dtype=values.dtype)
    class_map = stage.finish(paint, written, values.dtype, (values,))
    number = Delayed(table, class_map.__dask_graph__(), layer=class_map.name)
    return like(labels, class_map), number


def _vote(
    labels: npt.NDArray[Any],
    classes: npt.NDArray[Any],
    *,
    chunk: Chunk,
    files: ChunkFiles,
    shape: Index,
) -> Votes:
    numbers, votes = count_votes(labels, classes, offset=chunk.offset, shape=shape)
    files.write_chunk(chunk.index, numbers)
    return votes


def _write(table: Any, store: Any, *, lookup: LookupFiles) -> None:
    del store  # an argument only so that the folder outlives this task
    lookup.write(table["label"].to_numpy(), table["class_value"].to_numpy())


def _paint(
    votes: Votes,
    written: None,
    *,
    index: Index,
    files: ChunkFiles,
    lookup: LookupFiles,
    dtype: np.dtype[Any],
) -> npt.NDArray[Any]:
    del written  # the lookup is there
    lut = np.concatenate([np.zeros(1, np.int64), lookup.find(votes.objects)])
    return relabel(files.read_chunk(index), lut, dtype=dtype)
