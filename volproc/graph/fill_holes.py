"""Lazy filling of the holes of objects."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from volproc.core.types import Index
from volproc.graph.chunks import Chunk, Cuts
from volproc.graph.label_stage import Lazy, Stage, check_labels, like
from volproc.graph.layers import new_task, ref, refs
from volproc.graph.lookup import LookupFiles
from volproc.graph.scratch import Scratch
from volproc.io.chunk_files import ChunkFiles
from volproc.reduce.components import relabel
from volproc.reduce.holes import (
    NO_PAIRS,
    BlockRegions,
    RegionGraph,
    face_regions,
    find_holes,
    find_regions,
    merge_graphs,
)

GROUP = 16
"""Blocks that one task joins with their neighbours."""


def fill_holes(labels: Lazy, *, scratch: str | os.PathLike[str] | None = None) -> Lazy:
    """Fill the holes of each object, lazily, however many blocks they span.

    A hole of an object is background from which no way by faces leads to the edge of the volume
    without passing the object: for each object alone what `scipy.ndimage.binary_fill_holes`
    fills.

    Parameters
    ----------
    labels : Volume or dask array of int or bool, (z, y, x) or (y, x)
        Instances, 0 = background, below 2**63. What has one label is one object.
    scratch : path
        Folder for the numbered blocks, as in `volproc.relabel`.

    Returns
    -------
    labels : Volume or dask array
        Of the same type. Voxels of objects stay as they are: an object inside a hole of another
        stays, and the gap around it is filled with the outer one. Of several objects around a
        hole the innermost fills it: the one with the fewest voxels in its hole, then the smaller
        label. Background that only several objects together enclose stays.

    Raises
    ------
    DtypeError
        If labels are not integers, negative or too large.

    Notes
    -----
    Two tasks a block, one for 16 blocks, and a tree. Each chunk is computed once; its numbered
    form waits on disk, and so do its faces. Holes within a block that touch one object are
    settled there. All other regions and their contacts are whole in one task: connected pieces
    of objects and of background within a block, about 200 bytes each.

    Examples
    --------
    >>> ring = da.from_array(np.array([[3, 3, 3, 0], [3, 0, 3, 0], [3, 3, 3, 0]]), chunks=2)
    >>> fill_holes(ring).compute()
    array([[3, 3, 3, 0],
           [3, 3, 3, 0],
           [3, 3, 3, 0]])
    """
    array = check_labels(labels)
    return like(labels, _filled(array, scratch))


@dataclass(frozen=True, slots=True)
class _Planes:
    """First and last planes of all blocks, in scratch storage."""

    store: str
    cuts: Cuts

    def files(self, axis: int, side: int) -> ChunkFiles:
        """One plane a block, along one axis."""
        thin = tuple((1,) * len(c) if a == axis else c for a, c in enumerate(self.cuts))
        folder = f"{self.store}-{axis}-{side}"
        return ChunkFiles(folder, thin, np.dtype(np.uint32), is_compressed=True)

    def write(self, index: Index, numbers: npt.NDArray[np.uint32]) -> None:
        """Keep the planes of a block that have a neighbour behind them."""
        for axis, (i, cut) in enumerate(zip(index, self.cuts, strict=True)):
            ends = ((0, i > 0, slice(0, 1)), (1, i + 1 < len(cut), slice(-1, None)))
            for side, is_inner, at in ends:
                if is_inner:
                    plane = numbers[(slice(None),) * axis + (at,)]
                    self.files(axis, side).write_chunk(index, plane)


def _filled(array: da.Array, scratch: str | os.PathLike[str] | None) -> da.Array:
    stage = Stage(array, "fill", scratch)
    files, lookup = stage.files("regions"), stage.lookup()
    planes = _Planes(stage.store.path("planes"), array.chunks)
    find = partial(_find, files=files, planes=planes, shape=array.shape)
    stage.add_blocks(find)
    indices = [chunk.index for chunk in stage.chunks]
    leaves = []
    for number, start in enumerate(range(0, len(indices), GROUP)):
        own = indices[start : start + GROUP]
        others = _upper_neighbours(own, array.numblocks)
        key = (f"{stage.name}-join", number)
        found = [refs((f"{stage.name}-block", *i) for i in group) for group in (own, others)]
        join = partial(_join, own_indices=own, other_indices=others, planes=planes)
        stage.tasks[key] = new_task(key, join, *found, ref(stage.store_key))
        leaves.append(key)
    decision = stage.add_root(leaves, merge_graphs, partial(_decide, lookup=lookup))
    fill = partial(_fill, files=files, lookup=lookup, dtype=array.dtype)
    return stage.finish(fill, decision, array.dtype)


def _upper_neighbours(own: Sequence[Index], numblocks: Index) -> list[Index]:
    """Blocks behind the last planes of some, which are not among them."""
    found = {_next(index, axis) for index in own for axis in range(len(numblocks))}
    inside = {i for i in found if all(a < n for a, n in zip(i, numblocks, strict=True))}
    return sorted(inside - set(own))


def _next(index: Index, axis: int) -> Index:
    return (*index[:axis], index[axis] + 1, *index[axis + 1 :])


def _find(
    labels: npt.NDArray[Any], *, chunk: Chunk, files: ChunkFiles, planes: _Planes, shape: Index
) -> BlockRegions:
    numbers, regions = find_regions(labels, offset=chunk.offset, shape=shape)
    files.write_chunk(chunk.index, numbers)
    planes.write(chunk.index, numbers)
    return regions


def _join(
    own: Sequence[BlockRegions],
    others: Sequence[BlockRegions],
    store: Scratch,
    *,
    own_indices: Sequence[Index],
    other_indices: Sequence[Index],
    planes: _Planes,
) -> RegionGraph:
    """What some blocks leave to decide, joined among themselves and with their neighbours."""
    del store  # an argument only so that the folder outlives this task
    known = dict(zip((*own_indices, *other_indices), (*own, *others), strict=True))
    graphs = []
    for index in own_indices:
        links, contacts = [NO_PAIRS], [NO_PAIRS]
        for axis in range(len(index)):
            beyond = _next(index, axis)
            if beyond in known:
                lower = planes.files(axis, 1).read_chunk(index)
                upper = planes.files(axis, 0).read_chunk(beyond)
                same, different = face_regions(lower, known[index], upper, known[beyond])
                links.append(same)
                contacts.append(different)
        graphs.append(known[index].graph(np.concatenate(links), np.concatenate(contacts)))
    return merge_graphs(graphs)


def _decide(graph: RegionGraph, *, lookup: LookupFiles) -> None:
    lookup.write(*find_holes(graph))


def _fill(
    regions: BlockRegions,
    decision: None,
    *,
    index: Index,
    files: ChunkFiles,
    lookup: LookupFiles,
    dtype: np.dtype[Any],
) -> npt.NDArray[Any]:
    del decision  # the lookup was written before it was made
    new = regions.labels.astype(np.uint64) + regions.owners
    is_open = new == 0
    new[is_open] = lookup.find(regions.names[is_open])
    lut = np.concatenate([np.zeros(1, np.uint64), new])
    return relabel(files.read_chunk(index), lut, dtype=dtype)
