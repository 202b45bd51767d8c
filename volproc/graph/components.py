"""Connected components across blocks: what blocks return, and how it is put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.types import Index, Shape
from volproc.io.chunk_files import ChunkFiles
from volproc.reduce.components import Union, label_block, merge_links, relabel, unite
from volproc.reduce.faces import BlockFaces, Links, join_faces, upper_directions
from volproc.reduce.tables import ObjectTable, empty_table, merge_tables


@dataclass(frozen=True, slots=True, eq=False)
class BlockReport:
    """What a block says of its components; its labels stay on disk."""

    index: Index
    table: ObjectTable
    faces: BlockFaces


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """Components of some blocks, joined among themselves and with their upper neighbours."""

    firsts: npt.NDArray[np.int64]
    links: Links


def label_chunk(
    mask: npt.NDArray[Any],
    index: Index,
    offset: Shape,
    shape: Shape,
    connectivity: int,
    files: ChunkFiles | None,
) -> BlockReport:
    """Label one chunk; keep its local labels in ``files``, if they are needed later."""
    found = label_block(mask, offset=offset, shape=shape, connectivity=connectivity)
    if files is not None:
        files.write_chunk(index, found.labels)
    return BlockReport(index, found.table, found.faces)


def join_chunks(
    own: Sequence[BlockReport], others: Sequence[BlockReport], connectivity: int
) -> Joined:
    """Join blocks with their upper neighbours, which are among ``own`` or ``others``."""
    known = {r.index: r.faces for r in (*own, *others)}
    links = [join_upwards(r.index, known, connectivity) for r in own]
    firsts = np.concatenate([r.table.first for r in own])
    return Joined(firsts, merge_links(links))


def join_upwards(index: Index, known: Mapping[Index, BlockFaces], connectivity: int) -> Links:
    """Links of one block with those of its upper neighbours that are known."""
    beside = {
        step: known[at]
        for step in upper_directions(len(index), connectivity)
        if (at := _moved(index, step)) in known
    }
    return join_faces(known[index], beside, connectivity=connectivity)


def merge_joined(parts: Sequence[Joined]) -> Joined:
    """Combine neighbours in the tree."""
    return Joined(np.concatenate([p.firsts for p in parts]), merge_links(p.links for p in parts))


def unite_joined(joined: Joined) -> Union:
    """Number the objects of the volume."""
    return unite([joined.firsts], [joined.links])


def lut_of(union: Union, report: BlockReport) -> npt.NDArray[Any]:
    """Labels of one block's own components: all that its relabelling needs."""
    return union.lut(report.table.first)


def relabel_chunk(
    files: ChunkFiles, index: Index, lut: npt.NDArray[Any], dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    """Final labels of one chunk."""
    return relabel(files.read_chunk(index), lut, dtype=dtype)


def objects_of(union: Union, reports: Iterable[BlockReport]) -> ObjectTable:
    """Table of the objects of some blocks, by final label."""
    tables = [
        merge_tables([r.table.with_labels(union.lut(r.table.first)[1:])])
        for r in reports
        if len(r.table)
    ]
    return merge_tables(tables) if tables else empty_table(3)


@dataclass
class Collector:
    """Joins blocks as they arrive, in any order, and forgets faces that nobody needs any more.

    Parameters
    ----------
    numblocks : tuple of int
        Blocks along each axis.
    connectivity : int
        As in `volproc.label`.
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
        ordered = [self._tables[i] for i in sorted(self._tables)]
        union = unite((t.first for t in ordered), self._links)
        tables = [t.with_labels(union.lut(t.first)[1:]) for t in ordered if len(t)]
        return merge_tables(tables) if tables else empty_table(len(self.numblocks))

    def _around(self, index: Index) -> list[Index]:
        near = product(
            *(
                range(max(0, i - 1), min(n, i + 2))
                for i, n in zip(index, self.numblocks, strict=True)
            )
        )
        return list(near)


def _moved(index: Index, step: Index, sign: int = 1) -> Index:
    return tuple(i + sign * d for i, d in zip(index, step, strict=True))
