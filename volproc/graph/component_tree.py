"""Tasks that label a lazy array: blocks, and the tree of super-blocks that numbers objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from math import prod
from operator import attrgetter, itemgetter
from typing import Any

import dask.array as da
import numpy as np

from volproc.core.types import Index
from volproc.graph.components import (
    LabelChunk,
    Layer,
    Measure,
    closed_ids,
    ids_of_parts,
    join_blocks,
    luts_of_blocks,
    offsets_of,
    rank_layer,
)
from volproc.graph.layers import Chunk, Graph, iterate_chunks, unique_name
from volproc.graph.scratch import Scratch, use_scratch
from volproc.io.run_files import RunFiles
from volproc.plan.superblocks import plan_superblocks
from volproc.reduce.faces import upper_directions
from volproc.reduce.superblocks import join_parts

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
    """For each group, the labels of its blocks' components, as a list of tables by local label in
    the order of the group's blocks."""

    count: Key
    """Number of objects."""

    scratch: Key
    """Holds the folder of the provisional labels for as long as a task needs it."""

    def report(self, index: Index) -> Key:
        """`BlockReport` of one block."""
        return (f"{self.name}-block", *index)


def components_of(
    array: da.Array,
    connectivity: int,
    *,
    dtype: np.dtype[Any] = np.dtype(np.int64),  # noqa: B008  (never changed)
    files: RunFiles | None = None,
    scratch: Scratch | None = None,
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
    files : RunFiles, optional
        Where the local labels are kept for the relabelling.
    scratch : Scratch, optional
        The folder around ``files``.
    measure : callable, optional
        What the labelling task does with the local labels besides: see `Measure`. Its table comes
        with the block's report.
    beside : sequence of dask array
        Other arrays with the same chunks; ``measure`` gets their chunks too.

    Notes
    -----
    One task a block, and some five for sixteen blocks. What a task of the tree holds follows the
    components on the outer sides of what it joins; the ranks need eight bytes for each object
    that begins in one layer of blocks along the first axis.
    """
    name = unique_name("components")
    chunks = list(iterate_chunks(array.chunks))
    hold = f"{name}-scratch"
    tasks: Graph = {hold: (use_scratch, scratch)}
    work = LabelChunk(array.shape, connectivity, files, measure)
    for chunk in chunks:
        others = [(other.name, *chunk.index) for other in beside]
        tasks[(f"{name}-block", *chunk.index)] = (
            work,
            (array.name, *chunk.index),
            chunk,
            hold,
            *others,
        )
    tree = _Tree(name, array, connectivity, np.dtype(dtype))
    tasks |= dict(tree.ways_up()) | dict(tree.numbering()) | dict(tree.ways_down())
    lowest = tree.levels[0]
    return ComponentTasks(
        tasks,
        name,
        chunks,
        [lowest.children(box) for box in lowest.indices()],
        [tree.key("down", 0, box) for box in lowest.indices()],
        f"{name}-count",
        hold,
    )


class _Tree:
    """Keys and tasks of the super-blocks of one array."""

    def __init__(self, name: str, array: da.Array, connectivity: int, dtype: np.dtype[Any]) -> None:
        self.name = name
        self.numblocks: Index = array.numblocks
        self.connectivity = connectivity
        self.dtype = dtype
        self.levels = plan_superblocks(self.numblocks)
        # The axis along which raster order goes layer by layer: the first that is no single voxel.
        self.axis = next((a for a, n in enumerate(array.shape) if n > 1), 0)
        self.layers = self._layers(array)

    def key(self, stage: str, level: int, box: Index) -> Key:
        """Key of one super-block's task."""
        return (f"{self.name}-{stage}", level, *box)

    def ways_up(self) -> Iterator[tuple[Key, Any]]:
        """Tasks that join; what goes up is a task of its own, so that it alone travels."""
        leaf = partial(join_blocks, connectivity=self.connectivity)
        for number, level in enumerate(self.levels):
            for box in level.indices():
                parts, sides = level.children(box), level.outer_sides(box)
                up = self.key("join", number, box)
                if number == 0:
                    others = self._upper_neighbours(parts)
                    yield up, (leaf, self._blocks(parts), self._blocks(others), sides)
                else:
                    below = [self.key("outside", number - 1, p) for p in parts]
                    yield up, (join_parts, below, sides)
                yield self.key("outside", number, box), (attrgetter("outside"), up)

    def numbering(self) -> Iterator[tuple[Key, Any]]:
        """Tasks that rank the first voxels of objects, layer by layer."""
        found: list[list[Key]] = [[] for _ in self.layers]
        absorbed: list[list[Key]] = [[] for _ in self.layers]
        for number, level in enumerate(self.levels):
            for box in level.indices():
                up = self.key("join", number, box)
                for layer in self._span(number, box):
                    (absorbed if number else found)[layer.number].append(up)
        counts = []
        for layer in self.layers:
            ranks = self._ranks(layer)
            yield ranks, (rank_layer, found[layer.number], absorbed[layer.number])
            counts.append((f"{self.name}-number", layer.number))
            yield counts[-1], (len, ranks)
        offsets = f"{self.name}-offsets"
        yield offsets, (partial(offsets_of, dtype=self.dtype), counts)
        yield f"{self.name}-count", (itemgetter(-1), offsets)
        for number, level in enumerate(self.levels):
            for box in level.indices():
                up = self.key("join", number, box)
                for layer in self._span(number, box):
                    wanted = self._closed(number, box, layer)
                    yield wanted, (closed_ids, up, layer, self._ranks(layer), offsets)

    def ways_down(self) -> Iterator[tuple[Key, Any]]:
        """Tasks that hand ids to parts, and at last tables to blocks."""
        for number, level in enumerate(self.levels):
            give: Callable[..., Any] = ids_of_parts
            if number == 0:
                give = partial(luts_of_blocks, dtype=self.dtype)
            for box in level.indices():
                closed = [self._closed(number, box, layer) for layer in self._span(number, box)]
                above, place = None, 0
                if number + 1 < len(self.levels):
                    parent, place = self.levels[number + 1].parent(box)
                    above = self.key("down", number + 1, parent)
                up = self.key("join", number, box)
                yield self.key("down", number, box), (give, up, closed, above, place)

    def _layers(self, array: da.Array) -> list[Layer]:
        """Stretches of the raster order that the smallest super-blocks begin and end with."""
        lowest, stride = self.levels[0], prod(array.shape[self.axis + 1 :])
        edges = [0, *accumulate(array.chunks[self.axis])][:: lowest.box[self.axis]]
        starts = edges[: lowest.boxes[self.axis]]
        stops = [*starts[1:], array.shape[self.axis]]
        return [
            Layer(number, start * stride, stop * stride)
            for number, (start, stop) in enumerate(zip(starts, stops, strict=True))
        ]

    def _span(self, number: int, box: Index) -> Sequence[Layer]:
        """Layers that a super-block reaches into."""
        step = prod(level.box[self.axis] for level in self.levels[1 : number + 1])
        at = box[self.axis]
        return self.layers[at * step : (at + 1) * step]

    def _ranks(self, layer: Layer) -> Key:
        return (f"{self.name}-ranks", layer.number)

    def _closed(self, number: int, box: Index, layer: Layer) -> Key:
        return (f"{self.name}-closed", number, *box, layer.number)

    def _blocks(self, indices: Sequence[Index]) -> list[Key]:
        return [(f"{self.name}-block", *i) for i in indices]

    def _upper_neighbours(self, own: Sequence[Index]) -> list[Index]:
        """Blocks beyond a group that its blocks are joined with."""
        found = {
            tuple(i + d for i, d in zip(index, step, strict=True))
            for index in own
            for step in upper_directions(len(self.numblocks), self.connectivity)
        }
        inside = {
            i for i in found if all(0 <= a < n for a, n in zip(i, self.numblocks, strict=True))
        }
        return sorted(inside - set(own))
