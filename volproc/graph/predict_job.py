"""What the blocks of a prediction share: the volume, its blocks, the networks slid over it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from volproc.core.arrays import Sink, Source
from volproc.core.model import ModelSpec
from volproc.core.types import Index, Region
from volproc.graph.spill import Spill
from volproc.io.chunk_files import ChunkFiles
from volproc.models.sliding import Inference
from volproc.plan.blocks import ChunkGrid
from volproc.plan.patches import PatchGrid, neighbours

ProductKind = Literal["classes", "probabilities", "maximum", "variance", "distances", "intensity"]
"""Class of the largest output, (z, y, x); one probability a class, (c, z, y, x); the largest of
them, (z, y, x); the variance of that class's probability over views and models, (z, y, x); what a
distance head of CryoSiam gives, (c, z, y, x); and what its denoiser gives, (z, y, x)."""


@dataclass(frozen=True, slots=True)
class Product:
    """One output of a prediction.

    Parameters
    ----------
    kind : str
        What it holds; see `ProductKind`.
    store : Sink or ChunkFiles
        Takes the write region of each block.
    """

    kind: ProductKind
    store: Sink | ChunkFiles

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels; integers hold ``round(255 * probability)``."""
        return self.store.dtype


@dataclass(frozen=True, slots=True)
class Sweep:
    """A network that is slid over one grid of patches.

    Parameters
    ----------
    patches : PatchGrid
        The patches of the whole volume.
    inference : Inference
        Views that share the grid, batch, window.
    spec : ModelSpec
        The network; loaded once per process.
    """

    patches: PatchGrid
    inference: Inference
    spec: ModelSpec


@dataclass(frozen=True, slots=True)
class PredictJob:
    """Everything that the blocks of one prediction share; pickled to workers.

    Parameters
    ----------
    source : Source
        The volume.
    grid : ChunkGrid
        The blocks.
    sweeps : tuple of Sweep
        One or several: of each model, and of each view that has a grid of its own. Each counts as
        much as another.
    device : str
        Where networks run.
    spill : Spill
        Hands sums between blocks.
    products : tuple of Product
        What is written.
    is_apart : bool
        Whether a block completes each sweep by itself, since more than the mean of all is wanted;
        otherwise one array of sums serves all.
    """

    source: Source
    grid: ChunkGrid
    sweeps: tuple[Sweep, ...]
    device: str
    spill: Spill
    products: tuple[Product, ...]
    is_apart: bool = False

    @property
    def num_classes(self) -> int:
        """Output channels, the background included."""
        return self.sweeps[0].inference.num_classes

    @property
    def batch_size(self) -> int:
        """Patches per forward pass."""
        return self.sweeps[0].inference.batch_size

    def with_batch_size(self, batch_size: int) -> PredictJob:
        """The same with other batches."""
        sweeps = (
            replace(sweep, inference=replace(sweep.inference, batch_size=batch_size))
            for sweep in self.sweeps
        )
        return replace(self, sweeps=tuple(sweeps))

    @property
    def spills(self) -> tuple[Spill, ...]:
        """Hand over what is summed: all sweeps together, or each apart."""
        if not self.is_apart:
            return (self.spill,)
        return tuple(self.spill.part(number) for number in range(len(self.sweeps)))

    @property
    def _grids(self) -> list[PatchGrid]:
        return [sweep.patches for sweep in self.sweeps]

    def needs(self, index: Index) -> list[Index]:
        """Blocks whose spill a block waits for."""
        return neighbours(self._grids, self.grid, index)[0]

    def takers(self, index: Index) -> list[Index]:
        """Blocks that wait for the spill of a block."""
        return neighbours(self._grids, self.grid, index)[1]

    def reach(self, index: Index) -> Region:
        """Region that the patches cover that start in a block; empty where none does."""
        region = self.grid[index].write
        parts = [
            patches.extent(starts) for patches in self._grids if (starts := patches.owned(region))
        ]
        return union(*parts) if parts else tuple(slice(s.start, s.start) for s in region)


def union(*regions: Region) -> Region:
    """Smallest region that holds all the given ones.

    >>> union((slice(2, 5),), (slice(4, 9),))
    (slice(2, 9, None),)
    """
    return tuple(
        slice(min(s.start for s in axis), max(s.stop for s in axis))
        for axis in zip(*regions, strict=True)
    )


def intersection(a: Region, b: Region) -> Region:
    """Region that two share; its ends are crossed where there is none.

    >>> intersection((slice(2, 5),), (slice(4, 9),))
    (slice(4, 5, None),)
    """
    return tuple(
        slice(max(s.start, t.start), min(s.stop, t.stop)) for s, t in zip(a, b, strict=True)
    )
