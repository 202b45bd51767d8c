"""What the operations on labels share: number each block once, decide on the whole, apply."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any, TypeVar

import dask.array as da
import numpy as np
import numpy.typing as npt

from volproc.core.errors import ShapeError, VolprocError
from volproc.core.types import Index
from volproc.core.volume import Volume
from volproc.graph.chunks import Chunk, iterate_chunks
from volproc.graph.layers import (
    Graph,
    array_of,
    new_array,
    new_data,
    new_task,
    ref,
    tree,
    unique_name,
)
from volproc.graph.lookup import LookupFiles
from volproc.graph.scratch import Scratch
from volproc.io.chunk_files import ChunkFiles
from volproc.reduce.components import relabel
from volproc.reduce.measuring import check_label_type
from volproc.reduce.numbering import merge_label_tables, number_block

Lazy = TypeVar("Lazy", Volume, da.Array)


@dataclass(eq=False)
class Stage:
    """Blocks of labels that were numbered and put to scratch storage, as tasks.

    Parameters
    ----------
    array : dask array
        Labels, checked.
    verb : str
        Begins the keys.
    scratch : path or None
        As in `Scratch`.
    """

    array: da.Array
    verb: str
    scratch: str | os.PathLike[str] | None = None
    tasks: Graph = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = unique_name(self.verb)
        self.store = Scratch(self.scratch)
        self.store_key = f"{self.name}-scratch"
        # lives as long as the graph does
        self.tasks[self.store_key] = new_data(self.store_key, self.store)
        self.chunks: list[Chunk] = list(iterate_chunks(self.array.chunks))

    def files(self, name: str, dtype: Any = np.uint32) -> ChunkFiles:
        """Scratch array with the chunks of the labels."""
        dtype = np.dtype(dtype)
        return ChunkFiles(self.store.path(name), self.array.chunks, dtype, is_compressed=True)

    def lookup(self, name: str = "lookup") -> LookupFiles:
        """Scratch table."""
        return LookupFiles(self.store.path(name))

    def block_key(self, chunk: Chunk) -> Any:
        """Key of what a block says of itself."""
        return (f"{self.name}-block", *chunk.index)

    def add_blocks(self, function: Any, others: tuple[da.Array, ...] = ()) -> list[Any]:
        """Call ``function(labels, *others, chunk=)`` a block; the keys, in raster order."""
        work = partial(_in_block, function)
        for chunk in self.chunks:
            key = self.block_key(chunk)
            voxels = [ref((a.name, *chunk.index)) for a in (self.array, *others)]
            self.tasks[key] = new_task(key, work, chunk, *voxels)
        return [self.block_key(chunk) for chunk in self.chunks]

    def add_root(self, leaves: list[Any], combine: Any, decide: Any) -> Any:
        """Combine what blocks say as a tree, and call ``decide`` on the result; its key."""
        merged, root = tree(f"{self.name}-tree", leaves, combine)
        self.tasks |= merged
        key = f"{self.name}-decision"
        self.tasks[key] = new_task(key, decide, ref(root))
        return key

    def finish(
        self, function: Any, decision: Any, dtype: np.dtype[Any], others: tuple[da.Array, ...] = ()
    ) -> da.Array:
        """Lazy array whose chunks are ``function(report, decision, index=)``."""
        name = unique_name(self.verb)
        work = partial(_in_scratch, function)
        shared = [ref(decision), ref(self.store_key)]
        for chunk in self.chunks:
            key = (name, *chunk.index)
            report = ref(self.block_key(chunk))
            self.tasks[key] = new_task(key, work, chunk.index, report, *shared)
        sources = (self.array, *others)
        return new_array(name, self.tasks, cuts=self.array.chunks, dtype=dtype, depends_on=sources)


def numbered(
    array: da.Array,
    verb: str,
    decide: Any,
    dtype: np.dtype[Any],
    *,
    mask: da.Array | None = None,
    scratch: str | os.PathLike[str] | None = None,
) -> tuple[da.Array, Any]:
    """Give each object the label that a decision on the table of all objects says.

    Parameters
    ----------
    array : dask array
        Labels, checked.
    verb : str
        Begins the keys.
    decide : callable
        Takes the merged `LabelTable` and `LookupFiles`; writes the new labels, returns any small
        value.
    dtype : dtype
        Of the result.
    mask : dask array
        Counted under each object; cut like the labels.

    Returns
    -------
    labels : dask array
    decision : key
        What ``decide`` returned, in the graph of the labels.
    """
    stage = Stage(array, verb, scratch)
    files, lookup = stage.files("numbers"), stage.lookup()
    others = () if mask is None else (mask,)
    leaves = stage.add_blocks(partial(_number, files=files, shape=array.shape), others)
    decision = stage.add_root(leaves, merge_label_tables, partial(decide, lookup=lookup))
    apply = partial(_apply, files=files, lookup=lookup, dtype=dtype)
    return stage.finish(apply, decision, dtype, others), decision


def check_labels(labels: Volume | da.Array) -> da.Array:
    """Return the lazy array of labels that can be worked on, without chunks of no voxels.

    Raises
    ------
    DtypeError
        If the voxels are not integers.
    ShapeError
        If the axes are neither (z, y, x) nor (y, x), or there are no voxels.
    """
    array = array_of(labels)
    if array.ndim not in (2, 3):
        msg = (
            f"labels have axes (z, y, x) or (y, x), got shape {array.shape}. Select one channel "
            "and one time point first."
        )
        raise ShapeError(msg)
    check_label_type(array.dtype)
    if prod(array.shape) == 0:
        msg = f"there are no labels in an empty volume, got shape {array.shape}."
        raise ShapeError(msg)
    return array.rechunk(tuple(tuple(c for c in cut if c) for cut in array.chunks))


def beside(array: da.Array, other: Volume | da.Array, what: str) -> da.Array:
    """Return another volume's lazy array, cut like the labels.

    Raises
    ------
    ShapeError
        If the two differ in shape.
    """
    values = array_of(other)
    if values.shape != array.shape:
        msg = (
            f"labels and {what} differ in shape, got {array.shape} and {values.shape}. Give two "
            "volumes of the same region and voxel size."
        )
        raise ShapeError(msg)
    return values.rechunk(array.chunks)


def like(labels: Lazy, array: da.Array) -> Lazy:
    """Return a result as the kind that the labels came in."""
    return labels.with_data(array) if isinstance(labels, Volume) else array


@contextmanager
def noted(chunk: Chunk) -> Iterator[None]:
    """Say in which block something went wrong."""
    try:
        yield
    except VolprocError as error:
        error.add_note(f"in block {chunk.index}, voxels from {chunk.offset}")
        raise


def _in_block(function: Any, chunk: Chunk, *blocks: npt.NDArray[Any]) -> Any:
    with noted(chunk):
        return function(*blocks, chunk=chunk)


def _in_scratch(function: Any, index: Index, report: Any, decision: Any, store: Any) -> Any:
    del store  # an argument only so that the folder outlives this task
    return function(report, decision, index=index)


def _number(
    labels: npt.NDArray[Any],
    mask: npt.NDArray[Any] | None = None,
    *,
    chunk: Chunk,
    files: ChunkFiles,
    shape: Index,
) -> Any:
    block = number_block(labels, offset=chunk.offset, shape=shape, mask=mask)
    files.write_chunk(chunk.index, block.numbers)
    return block.table


def _apply(
    report: Any,
    decision: Any,
    *,
    index: Index,
    files: ChunkFiles,
    lookup: LookupFiles,
    dtype: np.dtype[Any],
) -> npt.NDArray[Any]:
    del decision  # the lookup was written before it was made
    new = lookup.find(report.label)
    lut = np.concatenate([np.zeros(1, new.dtype), new])
    return relabel(files.read_chunk(index), lut, dtype=dtype)
