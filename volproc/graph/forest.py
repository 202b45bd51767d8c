"""Watershed of objects of any size: costs settle block by block, then trees are followed.

        heights, markers, mask ──► begin ──► solve ──► trace ──► root ──► paint

`begin`, `trace` and `paint` are one task a block. `solve` and `root` are one task each: the first
works on blocks in threads until no cost can be lowered, the second joins the trees across blocks.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import accumulate, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.types import Index, Region
from volproc.graph.chunks import iterate_chunks
from volproc.graph.settle import ThreadExecutor, settle
from volproc.io.chunk_files import ChunkFiles, write_array
from volproc.reduce.forest import COST, UNREACHED, begin_costs, lower_costs, trace_block

logger = logging.getLogger(__name__)

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ForestJob:
    """All that the tasks of one watershed share; pickled to workers."""

    connectivity: int
    heights: ChunkFiles
    markers: ChunkFiles
    inside: ChunkFiles
    costs: ChunkFiles
    sources: ChunkFiles
    """Number of the beginning of each voxel's way in its block, from 1."""

    tables: str
    """Folder of the tables of beginnings."""

    @classmethod
    def lay_out(
        cls,
        folder: str,
        cuts: tuple[tuple[int, ...], ...],
        connectivity: int,
        heights: np.dtype[Any],
        markers: np.dtype[Any],
    ) -> ForestJob:
        """Plan the files of a watershed in a folder."""
        kinds = {
            "heights": heights,
            "markers": markers,
            "inside": np.dtype(bool),
            "costs": COST,
            "sources": np.dtype(np.uint32),
        }
        files = {name: ChunkFiles(f"{folder}/{name}", cuts, kind) for name, kind in kinds.items()}
        return cls(connectivity=connectivity, tables=f"{folder}/tables", **files)

    @property
    def cuts(self) -> tuple[tuple[int, ...], ...]:
        """Sizes of the chunks."""
        return self.heights.cuts

    @property
    def numblocks(self) -> Index:
        """Chunks along each axis."""
        return tuple(len(cut) for cut in self.cuts)

    @property
    def indices(self) -> list[Index]:
        """All chunks, in raster order."""
        return [chunk.index for chunk in iterate_chunks(self.cuts)]

    def read_table(self, kind: str, index: Index) -> npt.NDArray[Any]:
        """Table of one block: ``labels``, ``coming``, ``entries`` or, at last, ``final``."""
        return np.load(self._path(kind, index), allow_pickle=False)

    def write_table(self, kind: str, index: Index, table: npt.NDArray[Any]) -> None:
        """Write the table of one block."""
        Path(self.tables).mkdir(parents=True, exist_ok=True)
        write_array(self._path(kind, index), table)

    def _path(self, kind: str, index: Index) -> Path:
        return Path(self.tables) / f"{kind}.{'.'.join(map(str, index))}.npy"

    def region(self, index: Index) -> Region:
        """Voxels of a chunk."""
        edges = [(0, *accumulate(cut)) for cut in self.cuts]
        return tuple(slice(e[i], e[i + 1]) for e, i in zip(edges, index, strict=True))


def begin(
    job: ForestJob,
    index: Index,
    heights: npt.NDArray[Any],
    markers: npt.NDArray[Any],
    mask: npt.NDArray[Any] | None = None,
) -> None:
    """Store a block and its costs as if it were alone."""
    inside = np.ones(heights.shape, bool) if mask is None else mask != 0
    costs = begin_costs(heights, markers, inside, connectivity=job.connectivity)
    job.heights.write_chunk(index, heights)
    job.markers.write_chunk(index, markers)
    job.inside.write_chunk(index, inside)
    job.costs.write_chunk(index, costs)


def solve(job: ForestJob, num_threads: int, after: Any) -> int:
    """Lower the costs of all blocks until they are those of the whole volume."""
    del after
    executor = ThreadExecutor(num_threads)
    try:
        num_runs = settle(job.indices, _Lower(job), executor=executor)
    finally:
        executor.close()
    logger.info("watershed: %d blocks settled in %d runs", len(job.indices), num_runs)
    return num_runs


@dataclass(frozen=True, slots=True)
class _Lower:
    """Lowering of one block's costs, as the work of `settle`."""

    job: ForestJob

    def __call__(self, index: Index) -> list[Index]:
        """Write the lower costs; name the neighbours that see a change."""
        job = self.job
        inside = job.inside.read_chunk(index)
        if not inside.any():
            return []
        around = _read_around(job, index)
        heights = job.heights.read_chunk(index)
        costs = lower_costs(heights, around, inside, connectivity=job.connectivity)
        changed = costs != around[(slice(1, -1),) * costs.ndim]
        if not changed.any():
            return []
        job.costs.write_chunk(index, costs)
        return list(_who_sees(changed, index, job))


def _read_around(job: ForestJob, index: Index) -> npt.NDArray[Any]:
    """Costs of a block and of one voxel around it, `UNREACHED` beyond the volume."""
    region, shape = job.region(index), job.costs.shape
    around = np.full([s.stop - s.start + 2 for s in region], UNREACHED)
    read = tuple(
        slice(max(0, s.start - 1), min(n, s.stop + 1)) for s, n in zip(region, shape, strict=True)
    )
    here = tuple(
        slice(r.start - s.start + 1, r.stop - s.start + 1)
        for r, s in zip(read, region, strict=True)
    )
    around[here] = job.costs.read(read)
    return around


def _who_sees(changed: npt.NDArray[np.bool_], index: Index, job: ForestJob) -> list[Index]:
    """Neighbours that have a changed voxel beside them."""
    found = []
    for step in product((-1, 0, 1), repeat=changed.ndim):
        other = tuple(i + d for i, d in zip(index, step, strict=True))
        if not 0 < sum(map(abs, step)) <= job.connectivity:
            continue
        if not all(0 <= i < n for i, n in zip(other, job.numblocks, strict=True)):
            continue
        ends = {-1: slice(0, 1), 0: slice(None), 1: slice(-1, None)}
        if changed[tuple(ends[d] for d in step)].any():
            found.append(other)
    return found


def trace(job: ForestJob, index: Index, after: Any) -> None:
    """Follow the ways of a block back to markers and to where they enter it."""
    del after
    traced = trace_block(
        job.heights.read_chunk(index),
        job.markers.read_chunk(index),
        _read_around(job, index),
        job.inside.read_chunk(index),
        connectivity=job.connectivity,
    )
    job.sources.write_chunk(index, traced.source)
    job.write_table("labels", index, traced.labels)
    job.write_table("coming", index, traced.coming)
    start = np.array([s.start for s in job.region(index)])
    job.write_table("entries", index, traced.entries + start)


def join_trees(job: ForestJob, after: Any) -> None:
    """Find the marker of each way that enters a block, through however many blocks it came."""
    del after
    coming = {index: job.read_table("coming", index) for index in job.indices}
    starts = dict(
        zip(coming, accumulate((len(c) for c in coming.values()), initial=0), strict=False)
    )
    total = sum(map(len, coming.values()))
    ahead = np.arange(total)  # the way before this one, or itself where it begins at a marker
    labels = np.zeros(total, job.markers.dtype)
    for index, start in starts.items():
        entries = job.read_table("entries", index)
        for other, rows in _by_block(job, entries):
            place = entries[rows] - [s.start for s in job.region(other)]
            numbers = job.sources.read_chunk(other)[tuple(place.T)]
            labels[start + rows] = job.read_table("labels", other)[numbers]
            at = np.searchsorted(coming[other], numbers)
            goes_on = np.isin(numbers, coming[other])
            ahead[(start + rows)[goes_on]] = starts[other] + at[goes_on]
    while True:
        further = ahead[ahead]
        if (further == ahead).all():
            break
        ahead = further
    for index, start in starts.items():
        final = job.read_table("labels", index)
        final[coming[index]] = labels[ahead[start : start + len(coming[index])]]
        job.write_table("final", index, final)


def _by_block(job: ForestJob, voxels: Ints) -> list[tuple[Index, Ints]]:
    """Blocks that voxels lie in, and the rows of those in each."""
    if not len(voxels):
        return []
    edges = [[0, *accumulate(cut)] for cut in job.cuts]
    blocks = np.column_stack(
        [np.searchsorted(e, voxels[:, axis], side="right") - 1 for axis, e in enumerate(edges)]
    )
    numbers = np.ravel_multi_index(tuple(blocks.T), job.numblocks)
    order = np.argsort(numbers, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
    return [(tuple(int(i) for i in blocks[rows[0]]), rows) for rows in groups]


def paint(job: ForestJob, index: Index, after: Any, scratch: Any) -> npt.NDArray[Any]:
    """Labels of one block."""
    del after, scratch
    return np.take(job.read_table("final", index), job.sources.read_chunk(index))
