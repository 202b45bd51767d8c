"""Links across blocks: what is done with blocks, with slabs of slices, and with chunks again.

A slab is all chunks with the same slices. Sections, overlaps and chains are worked out slab by
slab; the tables of a slab and of the slices just above it are all that stands in memory at once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import DtypeError
from volproc.core.types import Index, Shape
from volproc.io.chunk_files import write_array
from volproc.reduce.linking import (
    Chains,
    LinkRule,
    fill_slices,
    link_sections,
    no_chains,
    number_chains,
)
from volproc.reduce.linking_stitch3d import Stitching, no_stitching, stitch_slices
from volproc.reduce.linking_tables import (
    SliceRuns,
    SliceTable,
    join_slices,
    measure_slices,
    merge_slices,
)

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class BlockSections:
    """What a block says of its sections; their voxels stay on disk."""

    index: Index
    table: SliceTable


@dataclass(frozen=True, slots=True)
class LinkJob:
    """What all tasks of a linking know: the rule, and where things are kept between them."""

    rule: LinkRule
    folder: str
    cuts: tuple[tuple[int, ...], ...]
    dtype: np.dtype[Any]

    @property
    def shape(self) -> Shape:
        """Size of the volume, voxels."""
        return tuple(map(sum, self.cuts))

    @property
    def _edges(self) -> tuple[int, ...]:
        return (0, *accumulate(self.cuts[0]))

    def slices(self, slab: int) -> tuple[int, int]:
        """First and last slice of a slab, the last exclusive."""
        return self._edges[slab], self._edges[slab + 1]

    def slabs_above(self, slab: int, num_slices: int) -> list[int]:
        """Slabs that hold the next slices above a slab."""
        edges = self._edges
        end = bisect_left(edges, edges[slab + 1] + num_slices)
        return list(range(slab + 1, min(end, len(edges) - 1)))

    def slabs_below(self, slab: int, num_slices: int) -> list[int]:
        """Slabs that hold the next slices below a slab."""
        edges = self._edges
        begin = bisect_right(edges, edges[slab] - num_slices) - 1
        return list(range(max(0, begin), slab))

    def runs_path(self, index: Index) -> Path:
        """File of the runs of a block's sections."""
        return Path(self.folder) / "runs" / f"{'.'.join(map(str, index))}.npy"

    def names_path(self, index: Index) -> Path:
        """File of the slice and label of each section of a block."""
        return Path(self.folder) / "names" / f"{'.'.join(map(str, index))}.npy"

    def objects_path(self, slab: int) -> Path:
        """File of the objects of a slab's sections: slice, label, object, reach; one a row."""
        return Path(self.folder) / "objects" / f"{slab}.npy"


def measure_chunk(labels: npt.NDArray[Any], index: Index, offset: Shape, job: LinkJob) -> Any:
    """Measure the sections of one chunk; keep their runs for later."""
    runs, table = measure_slices(
        labels, offset=offset, shape=job.shape, max_distance_z=job.rule.distance
    )
    _write(job.runs_path(index), runs.rows)
    _write(job.names_path(index), np.stack([table.z, table.label]))
    return BlockSections(index, table)


def join_chunks(
    own: Sequence[BlockSections], above: Sequence[BlockSections], job: LinkJob
) -> SliceTable:
    """Merge blocks of one slab, with the overlaps of their last slices and those above."""
    known = {report.index: report.table for report in above}
    tables = [report.table for report in own]
    for report in own:
        slab, *column = report.index
        uppers = [(k, *column) for k in job.slabs_above(slab, job.rule.distance)]
        if uppers:
            lower = (_last_slices(job, report.index, job.rule.distance), report.table)
            others = [(_first_slices(job, i, job.rule.distance), known[i]) for i in uppers]
            tables.append(join_slices(lower, others, job.rule.distance))
    return merge_slices(tables)


def link_slab(own: SliceTable, above: Sequence[SliceTable], slab: int, job: LinkJob) -> Ints:
    """Links from the slices of one slab upwards."""
    stop = job.slices(slab)[1]
    # what follows in the slices above decides who is still free there
    reach = stop + job.rule.distance
    table = merge_slices([own.below(reach), *(t.below(reach) for t in above)])
    links = link_sections(table, job.rule)
    return links[links[:, 0] < stop * job.shape[1] * job.shape[2]]


def number_slab(
    before: Chains | None, table: SliceTable, links: Ints, slab: int, job: LinkJob
) -> Chains:
    """Number the objects of one slab, and keep them for its chunks."""
    own = table.below(job.slices(slab)[1])
    plane = job.shape[1] * job.shape[2]
    after, ids, reach = number_chains(before or no_chains(), own, links, plane)
    _write_objects(job, slab, own, ids, reach)
    return after


def stitch_slab(before: Stitching | None, table: SliceTable, slab: int, job: LinkJob) -> Stitching:
    """Number the objects of one slab by the rule of Cellpose, and keep them for its chunks."""
    start, stop = job.slices(slab)
    after, ids = stitch_slices(
        before or no_stitching(), table, start=start, stop=stop, min_iou=job.rule.min_iou
    )
    _write_objects(job, slab, table.below(stop), ids, np.zeros_like(ids))
    return after


def _write_objects(job: LinkJob, slab: int, own: SliceTable, ids: Ints, reach: Ints) -> None:
    greatest = int(ids.max(initial=0))
    if greatest > np.iinfo(job.dtype).max:
        msg = f"objects up to {greatest} do not fit into {job.dtype}. Use dtype=numpy.uint64."
        raise DtypeError(msg)
    _write(job.objects_path(slab), np.stack([own.z, own.label, ids, reach]))


def relabel_chunk(job: LinkJob, index: Index) -> npt.NDArray[Any]:
    """Final labels of one chunk."""
    return _runs_of(job, index).paint(_objects_of(job, index)[0].astype(job.dtype))


def fill_chunk(job: LinkJob, index: Index) -> npt.NDArray[Any]:
    """Final labels of one chunk, with the gaps of the objects painted."""
    slab, *column = index
    near = job.rule.distance - 1
    below = [(k, *column) for k in job.slabs_below(slab, near)]
    above = [(k, *column) for k in job.slabs_above(slab, near)]
    parts = [(at, _last_slices(job, at, near)) for at in below]
    parts.append((index, _runs_of(job, index)))
    parts += [(at, _first_slices(job, at, near)) for at in above]
    ids, leaps = [], []
    for at, runs in parts:
        objects, reach = _objects_of(job, at)
        ids.append(runs.paint(objects.astype(job.dtype)))
        leaps.append(runs.paint(reach.astype(np.uint32)))
    start = sum(len(part) for part in ids[: len(below)])
    return fill_slices(
        np.concatenate(ids),
        np.concatenate(leaps),
        start=start,
        stop=start + job.cuts[0][slab],
        max_distance_z=job.rule.distance,
    )


def _runs_of(job: LinkJob, index: Index) -> SliceRuns:
    shape = tuple(cut[i] for cut, i in zip(job.cuts, index, strict=True))
    return SliceRuns(np.load(job.runs_path(index), allow_pickle=False), shape)


def _first_slices(job: LinkJob, index: Index, num_slices: int) -> SliceRuns:
    return _mapped(job, index).between(0, num_slices)


def _last_slices(job: LinkJob, index: Index, num_slices: int) -> SliceRuns:
    runs = _mapped(job, index)
    return runs.between(runs.shape[0] - num_slices, runs.shape[0])


def _mapped(job: LinkJob, index: Index) -> SliceRuns:
    """Runs of a block on disk, of which only what is taken is read."""
    shape = tuple(cut[i] for cut, i in zip(job.cuts, index, strict=True))
    path = job.runs_path(index)
    return SliceRuns(np.load(path, mmap_mode="r", allow_pickle=False), shape)


def _objects_of(job: LinkJob, index: Index) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Object and reach of a block's own sections, by their numbers there; [0] is 0."""
    z, label = np.load(job.names_path(index), allow_pickle=False)
    table = np.load(job.objects_path(index[0]), mmap_mode="r", allow_pickle=False)
    rows = np.empty(len(z), np.int64)
    slices, begins = np.unique(z, return_index=True)
    ends = np.append(begins, len(z))[1:]
    for plane, begin, end in zip(slices, begins, ends, strict=True):
        start, stop = np.searchsorted(table[0], [plane, plane + 1])
        rows[begin:end] = start + np.searchsorted(table[1, start:stop], label[begin:end])
    objects, reach = np.zeros((2, len(z) + 1), np.uint64)
    objects[1:], reach[1:] = table[2][rows], table[3][rows]
    return objects, reach


def _write(path: Path, array: npt.NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_array(path, array)
