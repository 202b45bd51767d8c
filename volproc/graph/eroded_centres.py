"""Objects of an eroded class map, block by block: all classes in one pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt
from volproc.core.arrays import Source
from volproc.core.errors import PlanError
from volproc.core.types import Index, Region
from volproc.graph.chunks import widen
from volproc.graph.components import BlockReport
from volproc.plan.blocks import ChunkGrid
from volproc.reduce.components import label_block
from volproc.reduce.erosion import EROSION_HALO, byte_classes, erode_classes
from volproc.reduce.objects import measure_block
from volproc.reduce.probabilities import as_probabilities
from volproc.reduce.tables import ObjectTable

CORNERS = 3
"""Connectivity of the objects: faces, edges and corners, 26 neighbours."""

MAX_BOX_VOXELS = 2**27
"""Largest box of an object that is read at once."""


@dataclass(frozen=True, slots=True)
class ErodeWork:
    """Finds the objects of one block of a class map that are left after an erosion.

    Parameters
    ----------
    source : Source
        Class map, (z, y, x).
    grid : ChunkGrid
        Its blocks.
    num_classes : int
        Values 1 to this one are classes, everything else is background.
    probabilities : tuple of Source
        Probability of each class, that of class 1 first; empty where there is none.
    is_eroded : bool
        Whether the map is eroded first.
    """

    source: Source
    grid: ChunkGrid
    num_classes: int
    probabilities: tuple[Source, ...] = ()
    is_eroded: bool = True

    def __call__(self, index: Index) -> BlockReport:
        """Read one block with its halo, erode, label and measure it."""
        region, shape = self.grid[index].write, self.source.shape
        offset = tuple(side.start for side in region)
        kept = self.read(region)
        found = label_block(kept, offset=offset, shape=shape, connectivity=CORNERS)
        scores = self._read_scores(region, kept)
        table = measure_block(found.labels, offset=offset, shape=shape, intensity=scores)
        return BlockReport(index, found.first, found.faces, replace(table, classes=found.classes))

    def read(self, region: Region) -> npt.NDArray[np.uint8]:
        """Classes of a region, as bytes, eroded where they shall be."""
        if not self.is_eroded:
            return byte_classes(self.source.read(region), self.num_classes)
        wide = widen(region, EROSION_HALO, self.source.shape)
        classes = byte_classes(self.source.read(wide), self.num_classes)
        return erode_classes(classes, wide, region)

    def _read_scores(
        self, region: Region, kept: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.float32] | None:
        """Probability of each voxel's class; only of classes that the block has."""
        if not self.probabilities:
            return None
        scores = np.zeros(kept.shape, np.float32)
        for number in np.flatnonzero(np.bincount(kept.ravel(), minlength=1)[1:]) + 1:
            found = self.probabilities[number - 1].read(region)
            of_class = kept == number
            scores[of_class] = as_probabilities(found, f"class {number}", region)[of_class]
        return scores


def centres_inside(
    work: ErodeWork, objects: ObjectTable, *, max_voxels: int = MAX_BOX_VOXELS
) -> npt.NDArray[np.float64]:
    """Centres of objects, each inside of its object: bent ones have their mean beside them.

    Parameters
    ----------
    work : ErodeWork
        Gives the map in which the objects were found.
    objects : ObjectTable
        Whole objects.
    max_voxels : int
        Largest box of an object that is read.

    Returns
    -------
    centres : ndarray of float64, (n, 3)
        The mean where the voxel that it lies in is one of the object; else the object's voxel
        that is nearest to the mean, the first one in raster order where several are.

    Raises
    ------
    PlanError
        If the box of an object is larger.

    Notes
    -----
    The box of each object is read by itself, at some ten bytes a voxel.
    """
    shape, centres = work.source.shape, objects.centroids.copy()
    for row, mean in enumerate(objects.centroids):
        lower, upper = objects.lower[row], objects.upper[row]
        size = tuple((upper - lower).tolist())
        if prod(size) > max_voxels:
            msg = (
                f"the object with its mean at {mean.round(1).tolist()} has a box of "
                f"{' × '.join(map(str, size))} voxels, more than the {max_voxels} that are read at "
                "once. Leave it out by its size (--max-size), or do without a centre inside."
            )
            raise PlanError(msg)
        box = tuple(map(slice, lower.tolist(), upper.tolist()))
        offset = tuple(lower.tolist())
        found = label_block(work.read(box), offset=offset, shape=shape, connectivity=CORNERS)
        # An object is connected within its box, and begins with the same voxel there.
        number = int(np.searchsorted(found.first, objects.first[row])) + 1
        places = np.argwhere(found.labels == number)
        squared = ((places - np.rint(mean - lower)) ** 2).sum(axis=1)
        if squared.min() > 0:
            nearest = ((places - (mean - lower)) ** 2).sum(axis=1).argmin()
            centres[row] = places[nearest] + lower
    return centres


def numbers_in_class(objects: ObjectTable) -> npt.NDArray[np.int64]:
    """Number of each object within its class, from 1, in raster order of first voxels.

    Parameters
    ----------
    objects : ObjectTable
        Objects of the whole volume, all of them, in the order of their first voxels.

    Examples
    --------
    >>> from volproc.reduce.tables import empty_table
    >>> from dataclasses import replace
    >>> table = replace(empty_table(3), classes=np.array([2, 1, 2]))
    >>> numbers_in_class(table)
    array([1, 1, 2])
    """
    assert objects.classes is not None, "the objects were found in a class map"
    numbers = np.empty(len(objects.classes), np.int64)
    for value in np.unique(objects.classes):
        rows = np.flatnonzero(objects.classes == value)
        numbers[rows] = np.arange(1, len(rows) + 1)
    return numbers
