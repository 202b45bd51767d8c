"""Whole objects of a class map, block by block: all classes in one pass.

class map ──► narrow ──► eroded, or not ──► labelled ──► measured, under maps too ──► ObjectReport
                                                                                         │
        Regions, one row an object ◄── ObjectCollector, over the faces of blocks ◄───────┘
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.types import Index, Region
from volproc.graph.class_maps import BesideMaps, class_values
from volproc.graph.components import BlockReport, Collector
from volproc.graph.particle_blocks import erode_block
from volproc.plan.blocks import ChunkGrid
from volproc.reduce.centres_regions import (
    Nearest,
    Regions,
    merge_nearest,
    nearest_voxels,
    regions_of_objects,
    with_values,
)
from volproc.reduce.centres_watershed import narrow_classes
from volproc.reduce.components import label_block
from volproc.reduce.objects import measure_block
from volproc.reduce.tables import IntensityTable, ObjectTable, merge_tables

Ints = npt.NDArray[np.int64]
Labels = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

SLAB_VOXELS = 2**20
"""Voxels that are compared with their object's centre at once."""

CORNERS = 3
"""Connectivity of eroded objects: faces, edges and corners, 26 neighbours."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectReport:
    """What a block says of its objects."""

    found: BlockReport
    """Components, and what their geometry sums up to."""

    sums: dict[str, IntensityTable]
    """What maps sum up to under each component, by name; empty where there is no component."""


@dataclass(frozen=True, slots=True)
class LabelWork:
    """Finds the objects of one block, all classes at once, and measures them.

    Parameters
    ----------
    source : Source
        Class map, (z, y, x).
    grid : ChunkGrid
        Its blocks.
    values : tuple of int
        Values of the classes, ascending; everything else is background.
    connectivity : int
        1 (faces), 2 (edges) or 3 (corners).
    is_eroded : bool
        Whether each class is eroded first, with the cross of seven voxels; beyond the volume
        everything counts as inside.
    maps : BesideMaps
        What is measured under the objects.
    """

    source: Source
    grid: ChunkGrid
    values: tuple[int, ...]
    connectivity: int = CORNERS
    is_eroded: bool = True
    maps: BesideMaps = field(default_factory=BesideMaps)

    def __call__(self, index: Index) -> ObjectReport:
        """Read one block with its halo, erode, label and measure it."""
        region, shape = self.grid[index].write, self.source.shape
        place: dict[str, Any] = {"offset": tuple(side.start for side in region), "shape": shape}
        kept = self.read(region)
        found = label_block(kept, connectivity=self.connectivity, **place)
        table = measure_block(found.labels, **place)
        sums: dict[str, IntensityTable] = {}
        if len(table) and self.maps.by_name:
            for name, column in self.maps.columns(class_values(kept, self.values), region):
                measured = measure_block(found.labels, intensity=column, **place).intensity
                assert measured is not None  # there was an intensity
                sums[name] = measured
        table = replace(table, classes=found.classes)
        return ObjectReport(BlockReport(index, found.first, found.faces, table), sums)

    def read(self, region: Region) -> npt.NDArray[np.uint8]:
        """Classes of a region, numbered 1, 2, …, eroded where they shall be."""
        if self.is_eroded:
            return erode_block(self._narrow, region, self.source.shape)
        return self._narrow(region)

    def _narrow(self, region: Region) -> npt.NDArray[np.uint8]:
        return narrow_classes(self.source.read(region), self.values)


class ObjectCollector:
    """Joins the objects of blocks, in any order.

    Parameters
    ----------
    numblocks : tuple of int
        Blocks along each axis.
    connectivity : int
        As in `LabelWork`.
    names : collection of str
        Maps that are measured.

    Notes
    -----
    As `volproc.graph.components.Collector`, with some 200 bytes more an object and map.
    """

    def __init__(self, numblocks: Index, connectivity: int, names: Collection[str] = ()) -> None:
        self._objects = Collector(numblocks, connectivity)
        self._names = names
        self._tables: dict[Index, ObjectTable] = {}
        self._sums: dict[Index, dict[str, IntensityTable]] = {}

    def add(self, index: Index, report: ObjectReport) -> None:
        """Take the report of one block."""
        self._objects.add(index, report.found)
        self._tables[index], self._sums[index] = report.found.table, report.sums

    def finish(self) -> tuple[Regions, dict[Index, Ints]]:
        """All objects by first voxel, and the row of each component of each block, by its label.

        Returns
        -------
        regions : Regions
            One row an object; classes are numbers.
        rows : dict
            Of each block, (n + 1,): the first one, of the background, is -1.
        """
        objects, luts = self._objects.join()
        names = {name for sums in self._sums.values() for name in sums}
        others = {name: self._merged(name, luts) for name in sorted(names)}
        rows = {index: lut.astype(np.int64) - 1 for index, lut in luts.items()}
        return with_values(regions_of_objects(objects, others), self._names), rows

    def _merged(self, name: str, luts: dict[Index, Labels]) -> ObjectTable:
        """All objects with the sums of one map."""
        return merge_tables(
            [
                replace(self._tables[i], intensity=self._sums[i][name]).with_labels(luts[i][1:])
                for i in sorted(self._sums)
                if name in self._sums[i]
            ]
        )


class BlockObjects(tuple[int, ...]):
    """Index of a block with the rows and centres of some objects that it has voxels of.

    A task gets these alone, and not the table of the volume.
    """

    rows: Ints
    """Row of each component by its label in the block; -1 of those that nobody asks for."""

    centres: Floats
    """Centre of each row, (n, 3)."""

    names: Ints
    """What the rows are called in the volume, (n,)."""

    @classmethod
    def of(cls, index: Index, lut: Ints, wanted: Ints, centres: Floats) -> BlockObjects | None:
        """Give an index the objects of its block that are wanted; None if it has none of them.

        Parameters
        ----------
        index : tuple of int
            The block.
        lut : ndarray of int64
            As `ObjectCollector.finish` gives it.
        wanted : ndarray of int64, (m,)
            Rows of the volume, ascending.
        centres : ndarray of float64, (m, 3)
            Their centres.
        """
        at = np.minimum(np.searchsorted(wanted, lut), len(wanted) - 1)
        is_wanted = (lut >= 0) & (wanted[at] == lut) if len(wanted) else np.zeros(len(lut), bool)
        if not is_wanted.any():
            return None
        one = cls(index)
        names, local = np.unique(at[is_wanted], return_inverse=True)
        one.rows = np.full(len(lut), -1, np.int64)
        one.rows[is_wanted] = local
        one.names, one.centres = names.astype(np.int64), centres[names]
        return one


@dataclass(frozen=True, slots=True)
class InsideWork:
    """Finds, of the objects of one block, the voxels that are nearest to their centres."""

    labelling: LabelWork

    def __call__(self, index: Index) -> Nearest:
        """Read, erode and label the block once more."""
        assert isinstance(index, BlockObjects)
        region = self.labelling.grid[index].write
        offset = np.array([side.start for side in region])
        found = label_block(
            self.labelling.read(region),
            offset=tuple(offset.tolist()),
            shape=self.labelling.source.shape,
            connectivity=self.labelling.connectivity,
        )
        labels, parts = found.labels, []
        step = max(1, SLAB_VOXELS // max(1, labels[0].size))
        for z in range(0, len(labels), step):
            rows = index.rows[labels[z : z + step]]
            voxels = np.argwhere(rows >= 0)
            own = rows[tuple(voxels.T)]
            parts.append(nearest_voxels(voxels + offset + [z, 0, 0], own, index.centres))
        near = merge_nearest(parts)
        return replace(near, rows=index.names[near.rows])
