"""The stages of a localization: objects of each block, then each object split by its owner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.arrays import Source
from volproc.core.events import Observer
from volproc.core.executor import Executor
from volproc.core.types import Index, Region
from volproc.graph.class_maps import BesideMaps
from volproc.graph.components import BlockReport, Collector, label_chunk
from volproc.graph.ledger import fingerprint
from volproc.graph.object_blocks import (
    BlockObjects,
    InsideWork,
    LabelWork,
    ObjectCollector,
    ObjectReport,
)
from volproc.graph.particle_blocks import (
    Found,
    finish_regions,
    merge_found,
    narrow_block,
    open_block,
    share_objects,
    split_objects,
)
from volproc.graph.run import run_stage
from volproc.graph.scaling import statistics_grid
from volproc.graph.sidecars import Sidecars
from volproc.plan.blocks import ChunkGrid
from volproc.reduce.centres_regions import (
    Nearest,
    Regions,
    merge_nearest,
    move_centres,
    with_values,
)
from volproc.reduce.centres_watershed import ObjectVoxels, class_boxes, merge_boxes
from volproc.reduce.class_peaks import ClassPeaks
from volproc.reduce.exact_sums import Window
from volproc.reduce.faces import BlockFaces
from volproc.reduce.particle_rule import ParticleRule
from volproc.reduce.particle_table import particle_table
from volproc.reduce.tables import IntensityTable, ObjectTable
from volproc.workflows.record import make_room, work_path

STAGE = "localize"

SPLIT = "split"
"""Stage in which objects are split at their necks."""

INSIDE = "inside"
"""Stage in which centres are moved into their objects."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

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
    ObjectReport,
    Nearest,
)
"""What results of blocks consist of."""


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
    maps: BesideMaps = field(default_factory=BesideMaps)

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
            self._read_columns if self.maps.by_name else None,
        )

    def _read_columns(self, number: int, region: Region) -> dict[str, npt.NDArray[np.float64]]:
        value = self.read.rule.values[number - 1]
        return {name: one.read(value, region) for name, one in self.maps.by_name.items()}


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
    output: str, source: Source, rule: ParticleRule, maps: BesideMaps | None = None
) -> Sidecars | None:
    """Tables beside the output; none where there is no output, or but one block."""
    if not output or len(statistics_grid(source)) < 2:
        return None
    make_room(output)
    return Sidecars(str(work_path(output)), stage_marks(source, rule, maps), TABLES)


def stage_marks(
    source: Source, rule: ParticleRule, maps: BesideMaps | None = None
) -> dict[str, str]:
    """Fingerprint, by stage, of all that its tables depend on."""
    found = {
        "input": source.identity(),
        "blocks": statistics_grid(source).dask_chunks,
        "method": rule.method,
        "connectivity": rule.connectivity,
        "values": rule.values,
        "maps": maps.identity() if maps is not None else {},
    }
    if rule.method == "peaks":  # what a block gives depends on all that a peak is
        found["rule"] = repr(rule)
    whole = fingerprint({**found, "rule": repr(rule)})
    return {STAGE: fingerprint(found), SPLIT: whole, INSIDE: whole}


def find_particles(
    source: Source,
    rule: ParticleRule,
    stages: Stages,
    *,
    voxel_size: tuple[float, ...] | None,
    maps: BesideMaps | None = None,
    grid: ChunkGrid | None = None,
) -> pd.DataFrame:
    """Objects of a class map that are particles; of any method but peaks.

    Parameters
    ----------
    source : Source
        Class map.
    rule : ParticleRule
        What a particle is.
    stages : Stages
        What runs the blocks.
    voxel_size : tuple of float or None
        Å per voxel, (z, y, x), where it is known.
    maps : BesideMaps
        Maps that say more of the voxels.
    grid : ChunkGrid
        Blocks; those of a stage that only reads if not given.

    Returns
    -------
    table : DataFrame
        As `volproc.reduce.particle_table.particle_table` gives it, equal for every grid.
    """
    grid = grid or statistics_grid(source)
    how: dict[str, Any] = {"rule": rule, "voxel_size": voxel_size, "shape": source.shape}
    beside = maps or BesideMaps()
    if rule.method == "watershed":
        return particle_table(_find_regions(source, rule, stages, grid, beside), **how)
    is_eroded = rule.method == "erosion"
    work = LabelWork(source, grid, rule.values, rule.connectivity, is_eroded, beside)
    collector = ObjectCollector(grid.numblocks, rule.connectivity, tuple(beside.by_name))
    stages.run(STAGE, list(grid.indices()), work, collector.add)
    found, rows = collector.finish()
    move = partial(_move_inside, work, stages, rows) if rule.inside else None
    return particle_table(found, move_inside=move, **how)


def _move_inside(
    work: LabelWork, stages: Stages, rows: dict[Index, Ints], wanted: Ints, centres: Floats
) -> Floats:
    """Move the centres of some objects that lie beside them: their blocks are read once more."""
    every = (BlockObjects.of(index, rows[index], wanted, centres) for index in sorted(rows))
    indices = [index for index in every if index is not None]
    parts: dict[Index, Nearest] = {}
    stages.run(INSIDE, indices, InsideWork(work), parts.__setitem__)
    return move_centres(centres, merge_nearest([parts[index] for index in indices]))


def _find_regions(
    source: Source, rule: ParticleRule, stages: Stages, grid: ChunkGrid, maps: BesideMaps
) -> Regions:
    """Objects of the opened map, block by block; then each of them split by the block it is in."""
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
    work = SplitWork(read, merge_boxes(boxes), maps)
    stages.run(SPLIT, owned, work, parts.__setitem__)
    found = merge_found([parts[index] for index in owned])
    return with_values(finish_regions(found, source.shape, rule), maps.by_name)
