"""Objects across blocks: cut into pieces, owned by one block, put together whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import PlanError
from volproc.core.types import Index, Region, Shape, region_shape
from volproc.io.chunk_files import ChunkFiles, write_array
from volproc.reduce.components import label_block, merge_links
from volproc.reduce.faces import BlockFaces, Links, join_faces, upper_directions
from volproc.reduce.tables import ObjectTable

Ints = npt.NDArray[np.int64]

CHUNK, LOCAL, FIRST, CLASS, BOX = 0, 1, 2, 3, 4
"""Columns of a table of pieces: raster number of the chunk, label in the chunk, first voxel of the
piece, class value; then the lower corner of its box, and the end."""

FLUSH_VOXELS = 2**22
"""Painted voxels that wait in memory before they are written."""


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A region with one or more whole objects, as a function of objects sees it."""

    labels: npt.NDArray[np.uint32]
    """Objects 1..n of this cut; voxels of other objects are 0."""

    first: Ints
    """First voxel of each object, (n,): raster index in the volume, which names the object."""

    classes: Ints
    """Value of each object in the mask, (n,)."""

    lower: Ints
    """First voxel of each object's box, (n, d), counted in the cut."""

    upper: Ints
    """End of each object's box, exclusive, (n, d), counted in the cut."""

    offset: Shape
    """First voxel of the cut in the volume."""

    shape: Shape
    """Size of the volume."""

    arrays: tuple[npt.NDArray[Any], ...]
    """The other arrays in this region. Without a margin, they are right inside the objects only."""

    @property
    def num_objects(self) -> int:
        """Number of objects."""
        return len(self.first)


@dataclass(frozen=True, slots=True)
class ObjectJob:
    """All that the tasks of one call share; pickled to workers."""

    function: Callable[[Cut], Any]
    shape: Shape
    connectivity: int
    margin: int
    max_object_voxels: int
    labels: ChunkFiles
    arrays: tuple[ChunkFiles, ...]
    inner: ChunkFiles | None
    """What the function painted inside blocks; None if it gives no arrays."""

    painted: str
    """Folder of what it painted across blocks."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a block gives: results of its inner objects, and the pieces of the others."""

    index: Index
    results: list[Any]
    pieces: Ints
    faces: BlockFaces


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """Pieces of some blocks, and which of them touch."""

    pieces: Ints
    links: Links


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """Pieces of the objects that some blocks own, by block and object."""

    owned: dict[Index, list[Ints]] = field(default_factory=dict)


def cut_block(
    job: ObjectJob, index: Index, mask: npt.NDArray[Any], *arrays: npt.NDArray[Any]
) -> Outcome:
    """Label a block, work on the objects that lie inside it, and store what the others need."""
    region = _region_of(job.labels.cuts, index)
    offset = tuple(s.start for s in region)
    found = label_block(mask, offset=offset, shape=job.shape, connectivity=job.connectivity)
    table = found.table
    is_inner = _lies_inside(table, region, job)
    if job.margin or not is_inner.all():
        for files, array in zip(job.arrays, arrays, strict=True):
            files.write_chunk(index, array)
    pieces = np.zeros((0, BOX + 2 * len(offset)), np.int64)
    if not is_inner.all():
        job.labels.write_chunk(index, found.labels)
        number = np.ravel_multi_index(index, [len(cut) for cut in job.labels.cuts])
        pieces = _pieces_of(table.select(~is_inner), int(number))
    results = []
    if is_inner.any():
        cut = _inner_cut(found.labels, table, is_inner, offset, job.shape, arrays)
        result = job.function(cut)
        if job.inner is None:
            results.append(result)
        else:
            job.inner.write_chunk(index, np.where(cut.labels > 0, result, 0))
    return Outcome(index, results, pieces, found.faces)


def _lies_inside(table: ObjectTable, region: Region, job: ObjectJob) -> npt.NDArray[np.bool_]:
    """Whether each object's box, with the margin, ends before the block does."""
    margin = max(1, job.margin)
    start, stop = (np.array([getattr(s, side) for s in region]) for side in ("start", "stop"))
    lower = np.maximum(table.lower - margin, 0)
    upper = np.minimum(table.upper + margin, job.shape)
    return ((lower >= start) & (upper <= stop)).all(axis=1)


def _pieces_of(table: ObjectTable, number: int) -> Ints:
    classes = np.zeros(len(table), np.int64) if table.classes is None else table.classes
    columns = [np.full(len(table), number), table.label, table.first, classes]
    return np.column_stack([*columns, table.lower, table.upper])


def _inner_cut(
    labels: npt.NDArray[np.uint32],
    found: ObjectTable,
    is_inner: npt.NDArray[np.bool_],
    offset: Shape,
    shape: Shape,
    arrays: tuple[npt.NDArray[Any], ...],
) -> Cut:
    table = found.select(is_inner)
    if not is_inner.all():
        numbers = np.zeros(len(is_inner) + 1, np.uint32)
        numbers[1:][is_inner] = np.arange(1, len(table) + 1)
        labels = np.take(numbers, labels)
    classes = np.zeros(len(table), np.int64) if table.classes is None else table.classes
    return Cut(
        labels,
        table.first,
        classes,
        table.lower - offset,
        table.upper - offset,
        offset,
        shape,
        arrays,
    )


def join_pieces(own: Sequence[Outcome], others: Sequence[Outcome], connectivity: int) -> Joined:
    """Join blocks with their upper neighbours, which are among ``own`` or ``others``."""
    known = {outcome.index: outcome.faces for outcome in (*own, *others)}
    links = []
    for outcome in own:
        beside = {
            step: known[at]
            for step in upper_directions(len(outcome.index), connectivity)
            if (at := tuple(i + d for i, d in zip(outcome.index, step, strict=True))) in known
        }
        links.append(join_faces(outcome.faces, beside, connectivity=connectivity))
    return Joined(np.concatenate([o.pieces for o in own]), merge_links(links))


def merge_pieces(parts: Sequence[Joined]) -> Joined:
    """Combine neighbours in the tree."""
    return Joined(np.concatenate([p.pieces for p in parts]), merge_links(p.links for p in parts))


def share_pieces(
    cuts: tuple[tuple[int, ...], ...], blocks: Sequence[Index], joined: Joined
) -> Share:
    """Pieces of the objects whose first voxel lies in some of the blocks."""
    pieces, links = joined.pieces, joined.links
    begin = pieces[:, FIRST].copy()
    if len(links):
        at = np.minimum(np.searchsorted(links[:, 0], begin), len(links) - 1)
        begin = np.where(links[at, 0] == begin, links[at, 1], begin)
    order = np.lexsort((pieces[:, LOCAL], pieces[:, CHUNK], begin))
    pieces, begin = pieces[order], begin[order]
    starts = np.flatnonzero(np.diff(begin, prepend=-1))
    owner = pieces[pieces[:, FIRST] == begin, CHUNK]
    share = Share()
    numblocks = [len(cut) for cut in cuts]
    wanted = {int(np.ravel_multi_index(index, numblocks)): index for index in blocks}
    ends = np.append(starts[1:], len(pieces))
    for k in np.flatnonzero(np.isin(owner, list(wanted))):
        index = wanted[int(owner[k])]
        share.owned.setdefault(index, []).append(pieces[starts[k] : ends[k]])
    return share


def own_objects(job: ObjectJob, index: Index, share: Share) -> list[Any]:
    """Work on each object that a block owns; what is painted goes to disk."""
    results: list[Any] = []
    painter = _Painter(job, index)
    for pieces in share.owned.get(index, ()):
        cut = _whole_cut(job, pieces)
        result = job.function(cut)
        if job.inner is None:
            results.append(result)
        else:
            painter.add(cut, result, pieces)
    painter.flush()
    return results


def _whole_cut(job: ObjectJob, pieces: Ints) -> Cut:
    """Read the box of one object."""
    ndim = len(job.shape)
    lower = pieces[:, BOX : BOX + ndim].min(axis=0)
    upper = pieces[:, BOX + ndim :].max(axis=0)
    region = tuple(
        slice(int(max(0, a - job.margin)), int(min(b + job.margin, n)))
        for a, b, n in zip(lower, upper, job.shape, strict=True)
    )
    shape = region_shape(region)
    if prod(shape) > job.max_object_voxels:
        msg = (
            f"the object that begins at voxel {_place(pieces[:, FIRST].min(), job.shape)} crosses "
            f"blocks and has a box of {' × '.join(map(str, shape))} = {prod(shape)} voxels, more "
            f"than the {job.max_object_voxels} that one task may hold. Raise max_object_voxels if "
            'there is memory for it; a watershed of any size is method="forest".'
        )
        raise PlanError(msg)
    labels = np.zeros(shape, np.uint32)
    read = job.margin > 0
    arrays = tuple(
        files.read(region) if read else np.zeros(shape, files.dtype) for files in job.arrays
    )
    for chunk, rows in _by_chunk(pieces, job.labels.cuts):
        both, here = _overlap(region, _region_of(job.labels.cuts, chunk))
        part = job.labels.read(both)
        inside = np.isin(part, rows[:, LOCAL]) if len(rows) > 1 else part == rows[0, LOCAL]
        labels[here][inside] = 1
        for files, array in zip(job.arrays, arrays, strict=True):
            if not read:
                array[here] = files.read(both)
    start = np.array([s.start for s in region])
    first = pieces[:, FIRST].min(keepdims=True)
    return Cut(
        labels,
        first,
        pieces[:1, CLASS],
        (lower - start)[None],
        (upper - start)[None],
        tuple(int(s) for s in start),
        job.shape,
        arrays,
    )


class _Painter:
    """Collects what owned objects paint, chunk by chunk, and writes it before it is much."""

    def __init__(self, job: ObjectJob, index: Index) -> None:
        self._job, self._index = job, index
        self._parts: dict[Index, list[npt.NDArray[Any]]] = {}
        self._num_waiting = self._num_flushed = 0

    def add(self, cut: Cut, result: npt.NDArray[Any], pieces: Ints) -> None:
        """Take the array of one object."""
        region = tuple(slice(o, o + n) for o, n in zip(cut.offset, cut.labels.shape, strict=True))
        for chunk, _ in _by_chunk(pieces, self._job.labels.cuts):
            target = _region_of(self._job.labels.cuts, chunk)
            both, here = _overlap(region, target)
            inside = np.nonzero(cut.labels[here])
            at = [axis + b.start - t.start for axis, b, t in zip(inside, both, target, strict=True)]
            part = np.empty(len(inside[0]), _painted_type(result.dtype))
            part["place"] = np.ravel_multi_index(at, region_shape(target))
            part["value"] = result[here][inside]
            self._parts.setdefault(chunk, []).append(part)
            self._num_waiting += len(part)
        if self._num_waiting >= FLUSH_VOXELS:
            self.flush()

    def flush(self) -> None:
        """Write one file a chunk, whose name no other block uses."""
        for chunk, parts in self._parts.items():
            folder = _painted_folder(self._job.painted, chunk)
            folder.mkdir(parents=True, exist_ok=True)
            name = ".".join(map(str, (*self._index, self._num_flushed)))
            write_array(folder / f"{name}.npy", np.concatenate(parts))
        self._num_flushed += 1
        self._parts, self._num_waiting = {}, 0


def paint_block(
    inner: ChunkFiles, painted: str, index: Index, after: Any, scratch: Any
) -> npt.NDArray[Any]:
    """Put together what was painted in one chunk, inside it and from its objects' owners."""
    del after, scratch
    shape = region_shape(_region_of(inner.cuts, index))
    out = inner.read_chunk(index) if inner.has_chunk(index) else np.zeros(shape, inner.dtype)
    flat = out.reshape(-1)
    for path in sorted(_painted_folder(painted, index).glob("[!.]*.npy")):
        part = np.load(path, allow_pickle=False)
        flat[part["place"]] = part["value"]
    return out


def _painted_folder(painted: str, index: Index) -> Path:
    return Path(painted) / ".".join(map(str, index))


def _painted_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype([("place", np.uint32), ("value", dtype)])


def _by_chunk(pieces: Ints, cuts: tuple[tuple[int, ...], ...]) -> Iterator[tuple[Index, Ints]]:
    """Chunks that an object has pieces in, and the pieces, which are sorted by chunk."""
    numblocks = [len(cut) for cut in cuts]
    for rows in np.split(pieces, np.flatnonzero(np.diff(pieces[:, CHUNK])) + 1):
        yield tuple(int(i) for i in np.unravel_index(rows[0, CHUNK], numblocks)), rows


def _overlap(region: Region, other: Region) -> tuple[Region, Region]:
    """What two regions share, in voxels of the volume and of the first region."""
    both = tuple(
        slice(max(a.start, b.start), min(a.stop, b.stop))
        for a, b in zip(region, other, strict=True)
    )
    here = tuple(
        slice(b.start - a.start, b.stop - a.start) for a, b in zip(region, both, strict=True)
    )
    return both, here


def _region_of(cuts: tuple[tuple[int, ...], ...], index: Index) -> Region:
    edges = [(0, *accumulate(cut)) for cut in cuts]
    return tuple(slice(e[i], e[i + 1]) for e, i in zip(edges, index, strict=True))


def _place(first: int, shape: Shape) -> Shape:
    return tuple(int(i) for i in np.unravel_index(first, shape))
