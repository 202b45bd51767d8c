"""Maps beside a class map, in storage: probabilities, their variance, weights of voxels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.types import Region, Shape
from volproc.reduce.centres_regions import MOMENTS, SCORE, VARIANCE, WEIGHT
from volproc.reduce.probabilities import as_probabilities, as_variances, as_weights

Quantity = Literal["probability", "variance", "weight"]

READERS = {"probability": as_probabilities, "variance": as_variances, "weight": as_weights}
"""What turns stored voxels into numbers."""


@dataclass(frozen=True, slots=True)
class ClassMaps:
    """A quantity of some classes, each from a channel of its own, or all from one map.

    Parameters
    ----------
    values : tuple of int
        Values of the classes in class maps.
    names : tuple of str
        Their names.
    sources : tuple of Source
        Where the quantity of each is; one for all where it is one map.
    quantity : str
        What it is.
    """

    values: tuple[int, ...]
    names: tuple[str, ...]
    sources: tuple[Source, ...]
    quantity: Quantity = "probability"

    @property
    def shape(self) -> Shape:
        """Size in voxels, (z, y, x)."""
        return self.sources[0].shape

    def identity(self) -> str:
        """Text that changes when a voxel may have changed."""
        return "; ".join(source.identity() for source in self.sources)

    def read(self, value: int, region: Region) -> npt.NDArray[np.float64]:
        """Numbers of one class in one region.

        Raises
        ------
        NonFiniteError
            If some are NaN or infinite.
        """
        number = self.values.index(value)
        source = self.sources[number if len(self.sources) > 1 else 0]
        return READERS[self.quantity](source.read(region), self.names[number], region)

    def read_own(self, block: npt.NDArray[Any], region: Region) -> npt.NDArray[np.float64]:
        """Of each voxel the number of its own class; 0 in voxels of no class.

        Parameters
        ----------
        block : ndarray of int
            Class values of the region.
        region : tuple of slice
            Where it lies in the volume.
        """
        found = np.zeros(block.shape)
        present = [value for value in self.values if (block == value).any()]
        if present and len(self.sources) == 1:
            is_one = np.isin(block, present)
            found[is_one] = self.read(present[0], region)[is_one]
            return found
        for value in present:
            of_class = block == value
            found[of_class] = self.read(value, region)[of_class]
        return found


@dataclass(frozen=True, slots=True)
class BesideMaps:
    """All maps that say something of the voxels of a class map."""

    scores: ClassMaps | None = None
    """Probabilities."""

    variance: ClassMaps | None = None
    """Variance of the probability of the voxel's class, over views and models."""

    weights: ClassMaps | None = None
    """Weights of voxels in the centre of an object."""

    @property
    def by_name(self) -> dict[str, ClassMaps]:
        """Those that there are."""
        every = {SCORE: self.scores, VARIANCE: self.variance, WEIGHT: self.weights}
        return {name: one for name, one in every.items() if one is not None}

    def identity(self) -> dict[str, Any]:
        """What changes when a voxel may have changed."""
        return {name: (one.values, one.identity()) for name, one in self.by_name.items()}

    def columns(
        self, block: npt.NDArray[Any], region: Region
    ) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
        """Numbers of each voxel of a block by name, and its weight times its coordinates.

        Parameters
        ----------
        block : ndarray of int, (z, y, x)
            Class values.
        region : tuple of slice
            Where the block lies in the volume.

        Notes
        -----
        One map is read after the other, at 8 bytes a voxel, and two for weights.
        """
        for name, one in self.by_name.items():
            found = one.read_own(block, region)
            yield name, found
            if name == WEIGHT:
                for moment, axis in zip(MOMENTS, np.ogrid[region], strict=True):
                    yield moment, found * axis


def class_values(narrow: npt.NDArray[np.uint8], values: Sequence[int]) -> npt.NDArray[Any]:
    """Class values of a map in which classes are numbered 1, 2, ….

    >>> class_values(np.array([0, 2, 1], np.uint8), (7, 300)).tolist()
    [0, 300, 7]
    """
    if tuple(values) == tuple(range(1, len(values) + 1)):
        return narrow
    return np.array([0, *values])[narrow]
