"""The stages of a localization: objects of each block, then each object split by its owner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.events import Observer
from volproc.core.executor import Executor
from volproc.core.types import Index, Region
from volproc.graph.components import BlockReport, Collector, label_chunk
from volproc.graph.ledger import fingerprint
from volproc.graph.particle_blocks import (
    Found,
    finish_regions,
    merge_found,
    narrow_block,
    open_block,
    share_objects,
    split_objects,
)
from volproc.graph.particles import ParticleRule
from volproc.graph.run import run_stage
from volproc.graph.scaling import statistics_grid
from volproc.graph.sidecars import Sidecars
from volproc.plan.blocks import ChunkGrid
from volproc.reduce.centres_watershed import ObjectVoxels, Regions, class_boxes, merge_boxes
from volproc.reduce.class_peaks import ClassPeaks
from volproc.reduce.components import label_block
from volproc.reduce.exact_sums import Window
from volproc.reduce.faces import BlockFaces
from volproc.reduce.objects import measure_block
from volproc.reduce.tables import IntensityTable, ObjectTable
from volproc.workflows.particle_scores import ClassScores
from volproc.workflows.record import make_room, work_path

STAGE = "localize"

SPLIT = "split"
"""Stage in which objects are split at their necks."""

TABLES = (
    BlockReport,
    BlockFaces,
    ObjectTable,
    IntensityTable,
    Window,
    Found,
    Regions,
    ObjectVoxels,
    ClassPeaks,
)
"""What results of blocks consist of."""


@dataclass(frozen=True, slots=True)
class LabelWork:
    """Finds the components of one block, and sums up the probabilities of each."""

    source: Source
    grid: ChunkGrid
    connectivity: int
    scores: ClassScores | None = None

    def __call__(self, index: Index) -> BlockReport:
        """Read one block and label it."""
        region, shape = self.grid[index].write, self.source.shape
        offset = tuple(s.start for s in region)
        block = self.source.read(region)
        if self.scores is None:
            return label_chunk(block, index, offset, shape, self.connectivity, None)
        units = np.zeros(block.shape, np.uint16)
        for value in self.scores.values:
            of_class = block == value
            if of_class.any():
                units[of_class] = self.scores.read_units(value, region)[of_class]
        found = label_block(block, offset=offset, shape=shape, connectivity=self.connectivity)
        table = measure_block(found.labels, offset=offset, shape=shape, intensity=units)
        return BlockReport(index, found.first, found.faces, replace(table, classes=found.classes))


@dataclass(frozen=True, slots=True)
class NarrowSource:
    """A class map in storage, of which only the particle classes are seen."""

    source: Source
    rule: ParticleRule

    def __call__(self, region: Region) -> npt.NDArray[np.uint8]:
        """Read one region."""
        return narrow_block(self.source.read(region), self.rule)


@dataclass(frozen=True, slots=True)
class OpenWork:
    """Finds the components of one block of an opened class map, and the boxes of its classes."""

    read: NarrowSource
    grid: ChunkGrid

    def __call__(self, index: Index) -> tuple[BlockReport, npt.NDArray[np.int64]]:
        """Read one block with its halo, open and label it."""
        region, shape = self.grid[index].write, self.read.source.shape
        offset = tuple(s.start for s in region)
        boxes = class_boxes(self.read(region), len(self.read.rule.values), offset)
        opened = open_block(self.read, region, shape)
        return label_chunk(opened, index, offset, shape, 1, None), boxes


class OwnedObjects(tuple[int, ...]):
    """Index of a block with the objects that the block owns.

    A task gets these alone, and not the table of the volume.
    """

    objects: ObjectTable

    @classmethod
    def of(cls, index: Index, objects: ObjectTable) -> OwnedObjects:
        """Give an index its objects."""
        owned = cls(index)
        owned.objects = objects
        return owned


@dataclass(frozen=True, slots=True)
class SplitWork:
    """Splits the objects of one block."""

    read: NarrowSource
    boxes: npt.NDArray[np.int64]
    scores: ClassScores | None = None

    def __call__(self, index: Index) -> Found:
        """Read the boxes of the objects, and split each."""
        assert isinstance(index, OwnedObjects)
        read = self.read
        return split_objects(
            read,
            index.objects,
            self.boxes,
            read.source.shape,
            read.rule,
            None if self.scores is None else self._read_scores,
        )

    def _read_scores(self, number: int, region: Region) -> npt.NDArray[np.uint16]:
        assert self.scores is not None
        return self.scores.read_units(self.read.rule.values[number - 1], region)


@dataclass(frozen=True, slots=True)
class Stages:
    """Runs stages, with the tables that a killed run has left."""

    executor: Executor
    observe: Observer
    sidecars: Sidecars | None

    def run(
        self,
        stage: str,
        indices: Sequence[Index],
        work: Callable[[Index], Any],
        collect: Callable[[Index, Any], None],
    ) -> None:
        """Hand the result of each block over, computed now or before."""
        if self.sidecars is not None:
            for index in indices:
                if (kept := self.sidecars.result(stage, index)) is not None:
                    collect(index, kept)
        run_stage(
            stage,
            indices,
            work,
            executor=self.executor,
            observe=self.observe,
            ledger=self.sidecars,
            collect=collect,
            total=len(indices),
        )


def make_sidecars(
    output: str, source: Source, rule: ParticleRule, scores: ClassScores | None = None
) -> Sidecars | None:
    """Tables beside the output; none where there is no output, or but one block."""
    grid = statistics_grid(source)
    if not output or len(grid) < 2:
        return None
    found = {
        "input": source.identity(),
        "blocks": grid.dask_chunks,
        "method": rule.method,
        "connectivity": rule.connectivity,
        "values": rule.values if rule.method == "watershed" else (),
    }
    if scores is not None:
        found["scores"] = (scores.values, scores.identity())
    if rule.method == "peaks":  # what a block gives depends on all that a peak is
        found["rule"] = repr(rule)
    marks = {STAGE: fingerprint(found), SPLIT: fingerprint({**found, "rule": repr(rule)})}
    make_room(output)
    return Sidecars(str(work_path(output)), marks, TABLES)


def find_objects(
    source: Source,
    rule: ParticleRule,
    stages: Stages,
    grid: ChunkGrid | None = None,
    scores: ClassScores | None = None,
) -> ObjectTable:
    """Connected components, block by block."""
    grid = grid or statistics_grid(source)
    collector = Collector(grid.numblocks, rule.connectivity)
    work = LabelWork(source, grid, rule.connectivity, scores)
    stages.run(STAGE, list(grid.indices()), work, collector.add)
    return collector.finish()


def find_regions(
    source: Source,
    rule: ParticleRule,
    stages: Stages,
    grid: ChunkGrid | None = None,
    scores: ClassScores | None = None,
) -> Regions:
    """Objects of the opened map, block by block; then each of them split by the block it is in."""
    grid = grid or statistics_grid(source)
    collector = Collector(grid.numblocks, 1)
    read, boxes = NarrowSource(source, rule), []

    def collect(index: Index, result: tuple[BlockReport, npt.NDArray[np.int64]]) -> None:
        collector.add(index, result[0])
        boxes.append(result[1])

    stages.run(STAGE, list(grid.indices()), OpenWork(read, grid), collect)
    shares = share_objects(collector.finish(), grid.dask_chunks, source.shape)
    owned = [
        OwnedObjects.of(index, objects)
        for index, objects in zip(grid.indices(), shares, strict=True)
        if len(objects)
    ]
    parts: dict[Index, Found] = {}
    work = SplitWork(read, merge_boxes(boxes), scores)
    stages.run(SPLIT, owned, work, parts.__setitem__)
    found = merge_found([parts[index] for index in owned])
    return finish_regions(found, source.shape, rule)
