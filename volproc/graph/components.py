"""Connected components across blocks: what tasks return, and how it is put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from volproc.core.types import Index, Shape
from volproc.graph.chunks import Chunk
from volproc.graph.component_ids import Joined, Luts, keep
from volproc.graph.scratch import Scratch, ScratchUse, use_scratch
from volproc.io.run_files import RunFiles
from volproc.io.scratch_tables import ScratchTables
from volproc.reduce.components import label_block, merge_links, unite
from volproc.reduce.faces import BlockFaces, Links, join_faces, upper_directions
from volproc.reduce.superblocks import join_parts, outside_of_block
from volproc.reduce.tables import ObjectTable, empty_table, merge_tables

Ints = npt.NDArray[np.int64]


class Measure(Protocol):
    """What else a labelling task does with the local labels of its block."""

    def __call__(
        self, labels: npt.NDArray[np.uint32], *others: Any, offset: Shape, shape: Shape
    ) -> ObjectTable:
        """Give one row a component, by local label.

        Parameters
        ----------
        labels : ndarray of uint32
            Local labels 1..n.
        *others : ndarray
            The same chunk of other arrays, such as an intensity.
        offset, shape : tuple of int
            First voxel of the block, and size of the volume.
        """


@dataclass(frozen=True, slots=True, eq=False)
class BlockReport:
    """What a block says of its components; its labels stay on disk."""

    index: Index
    first: Ints
    faces: BlockFaces
    measured: ObjectTable | None = None
    scratch: ScratchUse | None = None

    @property
    def table(self) -> ObjectTable:
        """Measurements by local label."""
        assert self.measured is not None, "the block was labelled without measuring"
        return self.measured


def label_chunk(
    mask: npt.NDArray[Any],
    index: Index,
    offset: Shape,
    shape: Shape,
    connectivity: int,
    files: RunFiles | None,
) -> BlockReport:
    """Label and measure one chunk; keep its local labels in ``files``, if they are needed."""
    found = label_block(mask, offset=offset, shape=shape, connectivity=connectivity)
    if files is not None:
        files.write(index, found.runs)
    return BlockReport(index, found.first, found.faces, found.table)


@dataclass(frozen=True, slots=True)
class LabelChunk:
    """The labelling task of one lazy array."""

    shape: Shape
    connectivity: int
    scratch: Scratch
    files: RunFiles | None
    measure: Measure | None

    def __call__(
        self, mask: npt.NDArray[Any], chunk: Chunk, *others: npt.NDArray[Any]
    ) -> BlockReport:
        """Label one chunk."""
        use = use_scratch(self.scratch)
        place = {"offset": chunk.offset, "shape": self.shape}
        found = label_block(mask, connectivity=self.connectivity, **place)
        if self.files is not None:
            self.files.write(chunk.index, found.runs)
        table = None
        if self.measure is not None:
            table = self.measure(found.labels, *others, **place)
            table = replace(table, classes=found.classes)
        return BlockReport(chunk.index, found.first, found.faces, table, use)


def join_blocks(
    own: Sequence[BlockReport],
    others: Sequence[BlockReport],
    outer_sides: Sequence[int],
    name: str,
    *,
    connectivity: int,
    tables: ScratchTables,
) -> Joined:
    """Join the blocks of a smallest super-block; ``others`` are their upper neighbours beyond."""
    known = {r.index: r.faces for r in (*own, *others)}
    parts = [
        outside_of_block(r.first, r.faces, join_upwards(r.index, known, connectivity)) for r in own
    ]
    use = own[0].scratch
    assert use is not None, "the blocks were labelled by a task"
    return keep(join_parts(parts, outer_sides), name, tables, use, is_smallest=True)


def join_upwards(index: Index, known: Mapping[Index, BlockFaces], connectivity: int) -> Links:
    """Links of one block with those of its upper neighbours that are known."""
    beside = {
        step: known[at]
        for step in upper_directions(len(index), connectivity)
        if (at := _moved(index, step)) in known
    }
    return join_faces(known[index], beside, connectivity=connectivity)


def objects_of(luts: Luts, reports: Sequence[BlockReport]) -> ObjectTable:
    """Table of the objects of a smallest super-block, by final label.

    Parameters
    ----------
    luts : Luts
        Result of the group's task, see `volproc.graph.component_tree.ComponentTasks.luts`.
    reports : sequence of BlockReport
        Of the group's blocks in their order, with their measurements.
    """
    tables = [
        r.table.with_labels(lut[r.table.label])
        for lut, r in zip(luts.tables, reports, strict=True)
        if len(r.table)
    ]
    return merge_tables(tables) if tables else empty_table(len(reports[0].index))


@dataclass
class Collector:
    """Joins blocks as they arrive, in any order, and forgets faces that nobody needs any more.

    Parameters
    ----------
    numblocks : tuple of int
        Blocks along each axis.
    connectivity : int
        As in `volproc.label`.

    Notes
    -----
    Holds one row of measurements a component of all blocks, and unites them in one go: for
    workflows, whose result is such a table anyway.
    """

    numblocks: Index
    connectivity: int
    _tables: dict[Index, ObjectTable] = field(default_factory=dict)
    _faces: dict[Index, BlockFaces] = field(default_factory=dict)
    _links: list[Links] = field(default_factory=list)

    def add(self, index: Index, report: BlockReport) -> None:
        """Take the report of one block."""
        self._tables[index] = report.table
        self._faces[index] = report.faces
        for step in upper_directions(len(index), self.connectivity):
            for lower, upper in (
                (index, _moved(index, step)),
                (_moved(index, step, -1), index),
            ):
                if lower in self._faces and upper in self._faces:
                    faces = {step: self._faces[upper]}
                    self._links.append(
                        join_faces(self._faces[lower], faces, connectivity=self.connectivity)
                    )
        for near in self._around(index):
            if near in self._faces and all(n in self._tables for n in self._around(near)):
                del self._faces[near]
        if len(self._links) > 1000:
            self._links = [merge_links(self._links)]

    def finish(self) -> ObjectTable:
        """Table of all objects, numbered by their first voxels."""
        return self.join()[0]

    def join(self) -> tuple[ObjectTable, dict[Index, Ints]]:
        """The same, and for each block the numbers of its components by local label, 0 for 0."""
        indices = sorted(self._tables)
        ordered = [self._tables[i] for i in indices]
        union = unite((t.first for t in ordered), self._links)
        luts = [union.lut(t.first) for t in ordered]
        tables = [t.with_labels(lut[1:]) for t, lut in zip(ordered, luts, strict=True) if len(t)]
        table = merge_tables(tables) if tables else empty_table(len(self.numblocks))
        return table, dict(zip(indices, luts, strict=True))

    def _around(self, index: Index) -> Iterable[Index]:
        return product(
            *(
                range(max(0, i - 1), min(n, i + 2))
                for i, n in zip(index, self.numblocks, strict=True)
            )
        )


def _moved(index: Index, step: Index, sign: int = 1) -> Index:
    return tuple(i + sign * d for i, d in zip(index, step, strict=True))
