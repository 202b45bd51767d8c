"""Tasks that label a lazy array: blocks, and the tree of super-blocks that numbers objects."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, product
from math import prod
from operator import add
from typing import Any

import dask.array as da
import numpy as np

from volproc.core.types import Index
from volproc.graph.chunks import Chunk, iterate_chunks
from volproc.graph.component_ids import (
    count_of,
    hand_down,
    join_superblocks,
    luts_of_blocks,
    number_layers,
    rank_layer,
)
from volproc.graph.components import LabelChunk, Measure, join_blocks
from volproc.graph.layers import Graph, listed, new_task, ref, refs, unique_name, without_collector
from volproc.graph.scratch import Scratch
from volproc.io.run_files import RunFiles
from volproc.io.scratch_tables import ScratchTables
from volproc.plan.superblocks import plan_superblocks
from volproc.reduce.faces import upper_directions

Key = Any


@dataclass(frozen=True, slots=True)
class ComponentTasks:
    """A graph that labels an array, and where its results are."""

    tasks: Graph
    """All tasks; they take the chunks of the array and of those beside it."""

    name: str
    """Begins all keys."""

    chunks: list[Chunk]
    """Blocks in raster order."""

    groups: list[list[Index]]
    """Blocks of each smallest super-block, some sixteen: what one task of the tree serves."""

    luts: list[Key]
    """For each group, its `Luts`: tables in the order of the group's blocks."""

    count: Key
    """Number of objects."""

    files: RunFiles
    """Local labels, where they are kept. Who reads them takes a result of ``luts`` as an argument,
    so that they are not removed before."""

    tables: ScratchTables
    """What else waits in scratch storage."""

    def report(self, index: Index) -> Key:
        """`BlockReport` of one block."""
        return (f"{self.name}-block", *index)


@without_collector()
def components_of(
    array: da.Array,
    connectivity: int,
    *,
    dtype: np.dtype[Any] = np.dtype(np.int64),  # noqa: B008  (never changed)
    scratch: str | os.PathLike[str] | None = None,
    keeps_labels: bool = False,
    measure: Measure | None = None,
    beside: Sequence[da.Array] = (),
) -> ComponentTasks:
    """Plan the labelling of all chunks of an array.

    Parameters
    ----------
    array : dask array
        Mask or classes, (z, y, x) or (y, x).
    connectivity : int
        As in `volproc.label`.
    dtype : dtype
        Type of the labels in the tables.
    scratch : path
        Folder for what stands between the stages, seen by all workers; a temporary one by default.
        It is removed at the end of each computation.
    keeps_labels : bool
        Keep the local labels in scratch storage too, for relabelling.
    measure : callable, optional
        What the labelling task does with the local labels besides: see `Measure`. Its table comes
        with the block's report.
    beside : sequence of dask array
        Other arrays with the same chunks; ``measure`` gets their chunks too.

    Notes
    -----
    One task a block, and some two and a half for sixteen blocks. What a task of the tree holds
    follows the components on the outer sides of what it joins; the ranks need eight bytes for
    each object that begins in one layer of blocks along the first axis.
    """
    name = unique_name("components")
    store = Scratch(scratch)
    files, tables = RunFiles(store.path("labels")), ScratchTables(store.path("tables"))
    chunks = list(iterate_chunks(array.chunks))
    tasks: Graph = {}
    work = LabelChunk(array.shape, connectivity, store, files if keeps_labels else None, measure)
    tree = _Tree(name, array, connectivity, tables)
    for chunk in chunks:
        key = tree.blocks[chunk.index].key
        mask = ref((array.name, *chunk.index))
        others = [ref((other.name, *chunk.index)) for other in beside]
        tasks[key] = new_task(key, work, mask, chunk, *others)
    for key, *call in (*tree.ways_up(), *tree.numbering(dtype), *tree.ways_down(dtype)):
        tasks[key] = new_task(key, *call)
    lowest = tree.levels[0]
    return ComponentTasks(
        tasks,
        name,
        chunks,
        [lowest.children(box) for box in lowest.indices()],
        [tree.key("down", 0, box) for box in lowest.indices()],
        f"{name}-count",
        files,
        tables,
    )


class _Tree:
    """Keys and tasks of the super-blocks of one array: a key, a function and its arguments each.

    Dask's ordering of a graph is quick as long as few tasks depend on different parts of it: on
    the way down each task has one task above it, and reads the rest from scratch storage.
    """

    def __init__(
        self, name: str, array: da.Array, connectivity: int, tables: ScratchTables
    ) -> None:
        self.name = name
        self.tables = tables
        self.numblocks: Index = array.numblocks
        self.connectivity = connectivity
        self.directions = upper_directions(len(self.numblocks), connectivity)
        block = f"{name}-block"  # one string for all keys
        self.blocks = {i: ref((block, *i)) for i in product(*map(range, self.numblocks))}
        self.beyond: dict[Index, list[Index]] = {}
        self.levels = plan_superblocks(self.numblocks)
        # The axis along which raster order goes layer by layer: the first that is no single voxel.
        self.axis = next((a for a, n in enumerate(array.shape) if n > 1), 0)
        self.num_layers = self.levels[0].boxes[self.axis]
        edges = [0, *accumulate(array.chunks[self.axis])][:: self.levels[0].box[self.axis]]
        stride = prod(array.shape[self.axis + 1 :])
        self.starts = np.array(edges[: self.num_layers], np.int64) * stride

    def key(self, stage: str, level: int, box: Index) -> Key:
        """Key of one super-block's task."""
        return (f"{self.name}-{stage}", level, *box)

    def ways_up(self) -> Iterator[tuple[Any, ...]]:
        """Tasks that join."""
        smallest = partial(join_blocks, connectivity=self.connectivity, tables=self.tables)
        larger = partial(join_superblocks, tables=self.tables)
        for number, level in enumerate(self.levels):
            for box in level.indices():
                parts, sides = level.children(box), level.outer_sides(box)
                name, key = _file_name(number, box), self.key("up", number, box)
                if number == 0:
                    others = self._blocks(self._upper_neighbours(parts))
                    yield key, smallest, self._blocks(parts), others, sides, name
                else:
                    below = refs(self.key("up", number - 1, p) for p in parts)
                    yield key, larger, below, sides, name

    def numbering(self, dtype: np.dtype[Any]) -> Iterator[tuple[Any, ...]]:
        """Tasks that rank the first voxels of objects, layer by layer."""
        smallest: list[list[str]] = [[] for _ in range(self.num_layers)]
        larger: list[list[str]] = [[] for _ in range(self.num_layers)]
        step = 1
        for number, level in enumerate(self.levels):
            step *= level.box[self.axis] if number else 1
            for box in level.indices():
                at = box[self.axis]
                for layer in range(at * step, min((at + 1) * step, self.num_layers)):
                    (larger if number else smallest)[layer].append(_file_name(number, box))
        top = ref(self.key("up", len(self.levels) - 1, (0,) * len(self.numblocks)))
        counts = [(f"{self.name}-layer", layer) for layer in range(self.num_layers)]
        for layer, key in enumerate(counts):
            yield key, rank_layer, top, layer, smallest[layer], larger[layer], self.tables
        number_all = partial(number_layers, starts=self.starts, dtype=dtype)
        yield f"{self.name}-numbering", number_all, refs(counts), top
        yield f"{self.name}-count", count_of, ref(f"{self.name}-numbering")

    def ways_down(self, dtype: np.dtype[Any]) -> Iterator[tuple[Any, ...]]:
        """Tasks that hand ids to parts, and at last tables to blocks."""
        smallest = partial(luts_of_blocks, tables=self.tables, dtype=dtype)
        larger = partial(hand_down, tables=self.tables)
        for number, level in enumerate(self.levels):
            for box in level.indices():
                above, place = f"{self.name}-numbering", 0
                if number + 1 < len(self.levels):
                    parent, place = self.levels[number + 1].parent(box)
                    above = self.key("down", number + 1, parent)
                give = larger if number else smallest
                key = self.key("down", number, box)
                yield key, give, ref(above), place, _file_name(number, box)

    def _blocks(self, indices: Iterable[Index]) -> Any:
        return listed(map(self.blocks.__getitem__, indices))

    def _upper_neighbours(self, own: Sequence[Index]) -> list[Index]:
        """Blocks beyond a group that its blocks are joined with, in raster order."""
        first, last = own[0], own[-1]
        steps = self._steps_beyond(tuple(b - a + 1 for a, b in zip(first, last, strict=True)))
        found = (tuple(map(add, first, step)) for step in steps)
        return [index for index in found if index in self.blocks]

    def _steps_beyond(self, extent: Index) -> list[Index]:
        """Steps from the first block of a group to those beyond: few groups differ in extent."""
        if extent not in self.beyond:
            own = set(product(*map(range, extent)))
            found = {tuple(map(add, i, step)) for i in own for step in self.directions}
            self.beyond[extent] = sorted(found - own)
        return self.beyond[extent]


def _file_name(level: int, box: Index) -> str:
    return "-".join(map(str, (level, *box)))
