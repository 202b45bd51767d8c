"""What a worker does for one tile of a prediction; lazy arrays and long runs both call it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source, decoded_chunks
from volproc.core.types import Index, Region, Shape, region_shape
from volproc.graph.block_finish import LARGEST_VARIANCE, quantize
from volproc.graph.predict_job import Product
from volproc.graph.spill import Spill
from volproc.graph.tile_predict import TileJob
from volproc.models.tile_network import TileOutputs, choose_labels
from volproc.plan.tile_grid import TileGrid


@dataclass(frozen=True, slots=True)
class Replaced:
    """A source whose NaN and infinite voxels are replaced.

    Parameters
    ----------
    source : Source
        What is read.
    value : float
        What they become.
    """

    source: Source
    value: float

    @property
    def shape(self) -> Shape:
        """Size in voxels."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels."""
        return self.source.dtype

    @property
    def chunks(self) -> Shape:
        """Region that storage reads at once, voxels."""
        return self.source.chunks

    @property
    def decoded_chunks(self) -> Shape:
        """Region that storage has to decode at once, voxels."""
        return decoded_chunks(self.source)

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Read a region."""
        voxels = self.source.read(region)
        if voxels.dtype.kind == "f":
            voxels = np.where(np.isfinite(voxels), voxels, voxels.dtype.type(self.value))
        return voxels

    def identity(self) -> str:
        """Text that changes when the content may have changed."""
        return f"{self.source.identity()} with {self.value} for what is not finite"


@dataclass(frozen=True, slots=True)
class TilePredictJob:
    """Everything that the tiles of one prediction share; pickled to workers.

    Parameters
    ----------
    parts : tuple of TileJob
        One for each view of each model; their probabilities are averaged.
    orders : tuple of tuple of int
        Channel of each class, by part.
    grid : TileGrid
        The passes.
    thresholds : tuple of float
        Of each channel of the network.
    products : tuple of Product
        What is written.
    """

    parts: tuple[TileJob, ...]
    orders: tuple[tuple[int, ...], ...]
    grid: TileGrid
    thresholds: tuple[float, ...]
    products: tuple[Product, ...]

    @property
    def device(self) -> str:
        """Where networks run."""
        return self.parts[0].device

    @property
    def batch_size(self) -> int:
        """Tiles of a pass."""
        return self.grid.batch_size

    @property
    def spills(self) -> tuple[Spill, ...]:
        """Nothing is handed from tile to tile."""
        return ()

    def needs(self, index: Index) -> list[Index]:
        """Blocks that a block waits for: none."""
        del index
        return []


def predict_tile_block(job: TilePredictJob, index: Index) -> dict[str, Any]:
    """Predict the tiles of a pass, and write what they keep.

    Parameters
    ----------
    job : TilePredictJob
        What the tiles share.
    index : tuple of int
        Which pass.

    Returns
    -------
    facts : dict
        ``tiles`` that were computed, ``outside`` the mask and so not computed, ``passes`` through
        networks, ``time_s``.

    Notes
    -----
    Views follow each other: their sums are in memory, and what one view gave.
    """
    begin = time.perf_counter()
    sums: dict[int, _Sums] = {}
    regions: dict[int, Region] = {}
    has_variance = any(product.kind == "variance" for product in job.products)
    for part, order in zip(job.parts, job.orders, strict=True):
        for number, result in enumerate(part(index)):
            regions[number] = result.region
            if result.outputs is None:
                continue
            if number in sums:
                sums[number].add(result.outputs, order)
            else:
                sums[number] = _Sums(result.outputs, order, has_variance=has_variance)
    region = job.grid[index].write
    shape = region_shape(region)
    channels = {"probabilities": _num_classes(job), "distances": len(job.thresholds)}
    for product in job.products:
        lead = (channels[product.kind],) if product.kind in channels else ()
        block = np.zeros((*lead, *shape), product.dtype)
        for number, found in sums.items():
            here = tuple(
                slice(s.start - r.start, s.stop - r.start)
                for s, r in zip(regions[number], region, strict=True)
            )
            block[(..., *here)] = _finish(job, product, found, regions[number])
        product.store.write(region, block)
    return {
        "tiles": len(sums),
        "outside": len(regions) - len(sums),
        "passes": len(job.parts) * bool(sums),
        "time_s": time.perf_counter() - begin,
    }


class _Sums:
    """What the views of a tile gave, summed."""

    def __init__(
        self, outputs: TileOutputs, order: Sequence[int], *, has_variance: bool = False
    ) -> None:
        self.count = 1
        self.labels = outputs.labels
        self.probabilities = _ordered(outputs.probabilities, order)
        self.distances = outputs.distances
        if outputs.distances is not None:
            self.distances = _ordered(outputs.distances, order)
        self.squares = self.probabilities**2 if has_variance else None

    def add(self, outputs: TileOutputs, order: Sequence[int]) -> None:
        """Add another view."""
        self.count += 1
        found = _ordered(outputs.probabilities, order)
        self.probabilities += found
        if self.distances is not None and outputs.distances is not None:
            self.distances += _ordered(outputs.distances, order)
        if self.squares is not None:
            self.squares += found * found

    def mean(self, sums: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Mean over the views."""
        return sums if self.count == 1 else sums / np.float32(self.count)


def _ordered(channels: npt.NDArray[np.float32], order: Sequence[int]) -> npt.NDArray[np.float32]:
    """Channels in the order of the first model; a foreground alone has none."""
    if len(channels) != len(order) or tuple(order) == tuple(range(len(order))):
        return channels
    return channels[list(order)]


def _finish(job: TilePredictJob, product: Product, sums: _Sums, region: Region) -> npt.NDArray[Any]:
    """What is stored of one product of a tile."""
    kind = product.kind
    if kind == "distances":
        assert sums.distances is not None  # its head was asked for
        return sums.mean(sums.distances).astype(product.dtype)
    is_chosen = sums.count == 1 and len(set(job.thresholds)) == 1
    if kind == "classes" and is_chosen:
        return sums.labels.astype(product.dtype)
    mean = sums.mean(sums.probabilities)
    if kind == "intensity":
        return mean[0].astype(product.dtype)
    labels = sums.labels if is_chosen else choose_labels(mean, job.thresholds)
    if kind == "classes":
        return labels.astype(product.dtype)
    mean = _with_background(job, mean, region)
    if kind == "probabilities":
        return quantize(mean, product.dtype)
    own = np.take_along_axis(mean, labels[None], axis=0)[0]
    if kind == "maximum":
        return quantize(own, product.dtype)
    assert sums.squares is not None  # the variance was asked for
    return quantize(_spread(sums, labels, own), product.dtype, largest=LARGEST_VARIANCE)


def _spread(
    sums: _Sums, labels: npt.NDArray[Any], own: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Variance over the views of the probability of each voxel's class."""
    assert sums.squares is not None
    if len(sums.squares) == 1:  # the background varies as the foreground does
        own, squares = sums.mean(sums.probabilities)[0], sums.mean(sums.squares)[0]
    else:
        squares = np.take_along_axis(sums.mean(sums.squares), labels[None], axis=0)[0]
    found: npt.NDArray[np.float32] = np.maximum(squares - own * own, np.float32(0))
    return found


def _num_classes(job: TilePredictJob) -> int:
    return job.parts[0].spec.num_classes


def _with_background(
    job: TilePredictJob, mean: npt.NDArray[np.float32], region: Region
) -> npt.NDArray[np.float32]:
    """Add the background to a foreground that is alone; outside of a mask there is neither."""
    if len(mean) > 1:
        return mean
    background = 1 - mean
    mask = job.parts[0].mask
    if mask is not None:
        background *= mask.read(region)
    return np.concatenate([background, mean])
