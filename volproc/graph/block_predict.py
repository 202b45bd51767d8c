"""What a worker does for one block of a prediction; lazy arrays and long runs both call it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Sink, Source
from volproc.core.errors import SpillError
from volproc.core.model import ModelSpec
from volproc.core.types import Index, Region, region_shape
from volproc.graph.block_pipeline import PieceWriter, SlabReader, cut_pieces
from volproc.graph.spill import Spill
from volproc.io.chunk_files import ChunkFiles
from volproc.models.loading import load_model
from volproc.models.normalization import Scaling
from volproc.models.sliding import (
    Accumulator,
    Inference,
    Largest,
    shifted,
    to_classes,
    to_probabilities,
)
from volproc.models.windows import sum_windows
from volproc.plan.block_memory import SLAB_PLANES
from volproc.plan.blocks import ChunkGrid
from volproc.plan.patches import PatchGrid

ProductKind = Literal["classes", "probabilities"]


@dataclass(frozen=True, slots=True)
class Product:
    """One output of a prediction.

    Parameters
    ----------
    kind : {"classes", "probabilities"}
        Class of the largest output, (z, y, x); or one probability a class, (c, z, y, x).
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
class PredictJob:
    """Everything that the blocks of one prediction share; pickled to workers.

    Parameters
    ----------
    source : Source
        The volume.
    grid : ChunkGrid
        The blocks.
    patches : PatchGrid
        The patches of the whole volume.
    inference : Inference
        Views, batch, window.
    spec : ModelSpec
        The network; loaded once per process.
    device : str
        Where it runs.
    spill : Spill
        Hands sums between blocks.
    products : tuple of Product
        What is written.
    """

    source: Source
    grid: ChunkGrid
    patches: PatchGrid
    inference: Inference
    spec: ModelSpec
    device: str
    spill: Spill
    products: tuple[Product, ...]

    def needs(self, index: Index) -> list[Index]:
        """Blocks whose spill a block waits for."""
        return self.patches.neighbours(self.grid, index)[0]


def predict_block(job: PredictJob, scaling: Scaling, index: Index) -> dict[str, Any]:
    """Predict the patches that a block owns, and finish its write region.

    ::

        +-----------+--+        patches that start in the block reach over its far sides;
        |  write    |  |  <---  what they add there is left for the neighbours (spill).
        |  region   |  |
        +-----------+  |        What earlier neighbours left for this block is added before
        |______________|        the sums are divided, so each patch is computed once.

    Parameters
    ----------
    job : PredictJob
        What the blocks share.
    scaling : Scaling
        Normalisation, with constants of the whole volume.
    index : tuple of int
        Which block. All of ``job.needs(index)`` are finished.

    Returns
    -------
    facts : dict
        ``patches`` computed, ``passes`` through the network, ``bytes_read``, ``time_s``.

    Raises
    ------
    SpillError
        If what an earlier neighbour left is missing or damaged; what this block gives to others
        is written by then.
    ModelError
        If the network gives what cannot be blended; nothing of that is written.

    Notes
    -----
    A thread reads ahead, another one finishes and writes planes that no later patch reaches, so
    that the network waits for the first patches and the last planes only. Which of them is ahead
    does not show in the voxels: sums are integers, and planes are finished when they are complete.
    """
    begin = time.perf_counter()
    region = job.grid[index].write
    model = load_model(job.spec, job.device)
    starts = job.patches.owned(region)
    extent = (
        job.patches.extent(starts) if starts else tuple(slice(s.start, s.start) for s in region)
    )
    sums = Accumulator(_union(region, extent), job.inference, model.device)
    with SlabReader(job.source, scaling, extent) as reader, _writer(job, sums) as writer:
        missing = _take_strips(job, index, sums)
        layers = deque(cut_pieces(region, [product.store for product in job.products]))
        largest = Largest()
        patches = _patches_of(reader, starts, job.inference.patch)
        outputs = job.inference.run(model, patches, model.device, largest=largest)
        for number, (start, output) in enumerate(zip(starts, outputs, strict=True), start=1):
            sums.add(start, output)
            following = starts[number][0] if number < len(starts) else start[0]
            # No later patch reaches the planes before the next row of patches.
            while following > start[0] and layers[0][0][0].stop <= following and not missing:
                writer.put((layers.popleft(), largest.so_far()))
        reader.close()
        largest.check()
        for layer in () if missing else layers:
            writer.put((layer, largest))
        _give_strips(job, index, sums)
        writer.finish()
    if missing:
        raise missing
    return {
        "patches": len(starts),
        "passes": len(starts) * job.inference.passes_per_patch,
        "bytes_read": reader.num_bytes,
        "time_s": time.perf_counter() - begin,
    }


def _take_strips(job: PredictJob, index: Index, sums: Accumulator) -> SpillError | None:
    """Add what earlier neighbours left; return the error if some of it is gone."""
    region = job.grid[index].write
    for giver in job.needs(index):
        try:
            strip = job.spill.take(giver, index)
        except SpillError as error:
            return error
        shape = strip.shape[1:]
        corner = (slice(s.start, s.start + n) for s, n in zip(region, shape, strict=True))
        sums.give(tuple(corner), strip)
    return None


def _give_strips(job: PredictJob, index: Index, sums: Accumulator) -> None:
    """Leave for later neighbours what the patches of a block add to them."""
    for taker in job.patches.neighbours(job.grid, index)[1]:
        shared = _intersection(sums.region, job.grid[taker].write)
        job.spill.give(index, taker, sums.take(shared))


def _writer(job: PredictJob, sums: Accumulator) -> PieceWriter[tuple[list[Region], Largest]]:
    """Finishes and writes layers of pieces, once all patches were added to them."""
    dtypes = {product.kind: product.dtype for product in job.products}

    def write(item: tuple[list[Region], Largest]) -> None:
        layer, largest = item
        largest.check()
        for piece in layer:
            outputs = finish_region(job, piece, sums, dtypes)
            for product in job.products:
                product.store.write(piece, outputs[product.kind])

    return PieceWriter(write)


def _patches_of(
    reader: SlabReader, starts: Iterable[Index], patch: Index
) -> Iterator[npt.NDArray[np.float32]]:
    """Cut patches as soon as their planes are read."""
    for start in starts:
        scaled = reader.up_to(start[0] + patch[0])
        yield from cut_patches(scaled, reader.extent, [start], patch)


def finish_region(
    job: PredictJob, region: Region, sums: Accumulator, dtypes: Mapping[ProductKind, np.dtype[Any]]
) -> dict[ProductKind, npt.NDArray[Any]]:
    """Divide, compare and quantise the sums over a region by slabs.

    Parameters
    ----------
    job : PredictJob
        What the blocks share.
    region : Region
        What is finished; the sums cover it.
    sums : Accumulator
        To which all patches that touch the region have been added.
    dtypes : mapping of kind to dtype
        What is wanted.
    """
    inference = job.inference
    shape = region_shape(region)
    outputs = {
        kind: np.empty(shape if kind == "classes" else (inference.num_classes, *shape), dtype)
        for kind, dtype in dtypes.items()
    }
    for slab in _slabs(region):
        here = shifted(slab, [s.start for s in region])
        weights = sum_windows(
            job.patches, slab, kind=inference.window, sigma_scale=inference.sigma_scale
        )
        mean = sums.mean(slab, weights)
        for kind, dtype in dtypes.items():
            if kind == "classes":
                outputs["classes"][here] = to_classes(mean, dtype=dtype)
            else:
                values = to_probabilities(mean, blend=inference.blend)
                outputs["probabilities"][(slice(None), *here)] = quantize(values, dtype)
    return outputs


def quantize(values: npt.NDArray[np.float32], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Probabilities in [0, 1] as ``dtype``; integers become ``round(p * 255)``.

    >>> quantize(np.array([0.0, 0.5, 1.0], np.float32), np.dtype("uint8"))
    array([  0, 128, 255], dtype=uint8)
    """
    if dtype.kind == "u":
        return np.rint(values * np.float32(np.iinfo(dtype).max)).astype(dtype)
    return values.astype(dtype)


def cut_patches(
    scaled: npt.NDArray[np.float32], extent: Region, starts: Iterable[Index], patch: Index
) -> Iterator[npt.NDArray[np.float32]]:
    """Cut views of the patches; one that hangs over the volume's edge is padded with zeros.

    Zero is the volume's mean once the voxels are normalised.
    """
    for start in starts:
        inside = tuple(
            slice(max(a, e.start), min(a + p, e.stop))
            for a, p, e in zip(start, patch, extent, strict=True)
        )
        part = scaled[shifted(inside, [e.start for e in extent])]
        if part.shape == tuple(patch):
            yield part
        else:
            padded = np.zeros(patch, np.float32)
            padded[shifted(inside, start)] = part
            yield padded


def _slabs(region: Region) -> Iterator[Region]:
    z, *rest = region
    for first in range(z.start, z.stop, SLAB_PLANES):
        yield (slice(first, min(first + SLAB_PLANES, z.stop)), *rest)


def _union(a: Region, b: Region) -> Region:
    return tuple(
        slice(min(s.start, t.start), max(s.stop, t.stop)) for s, t in zip(a, b, strict=True)
    )


def _intersection(a: Region, b: Region) -> Region:
    return tuple(
        slice(max(s.start, t.start), min(s.stop, t.stop)) for s, t in zip(a, b, strict=True)
    )
