"""What a worker does for one block of a prediction; lazy arrays and long runs both call it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import SpillError
from volproc.core.types import Index, Region, Shape
from volproc.graph.block_batches import BatchRunner, batches_of, cut_patch
from volproc.graph.block_finish import ApartSums, Blended, JointSums, finish_region
from volproc.graph.block_pipeline import PieceWriter, SlabReader, cut_pieces
from volproc.graph.predict_job import PredictJob, intersection, union
from volproc.graph.spill import Spill
from volproc.models.normalization import Scaling
from volproc.models.sliding import Accumulator, Largest


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
        ``patches`` computed, ``passes`` through networks, ``bytes_read``, ``time_s``.

    Raises
    ------
    SpillError
        If what an earlier neighbour left is missing or damaged; what this block gives to others
        is written by then.
    ModelError
        If a network gives what cannot be blended; nothing of that is written.

    Notes
    -----
    A thread reads ahead, another one finishes and writes planes that no later patch reaches, so
    that the network waits for the first patches and the last planes only. Which of them is ahead
    does not show in the voxels: sums are integers, and planes are finished when they are complete.

    Patches of all sweeps are taken together, from plane to plane. Sweeps that are kept apart
    follow each other, and all planes are finished after the last one.
    """
    begin = time.perf_counter()
    runner = BatchRunner(job)
    with SlabReader(job.source, scaling, job.reach(index)) as reader:
        predict = _predict_apart if job.is_apart else _predict_jointly
        missing = predict(job, index, reader, runner)
    if missing:
        raise missing
    return {
        "patches": runner.num_patches,
        "passes": runner.num_passes,
        "bytes_read": reader.num_bytes,
        "time_s": time.perf_counter() - begin,
    }


def _predict_jointly(
    job: PredictJob, index: Index, reader: SlabReader, runner: BatchRunner
) -> SpillError | None:
    """Add all sweeps to one array of sums; return the error if a part of them is gone."""
    region, (spill,) = job.grid[index].write, job.spills
    sums = runner.new_sums(union(region, reader.extent))
    with _writer(job, JointSums(job, sums)) as writer:
        missing = _take_strips(job, spill, job.needs(index), index, sums)
        layers = deque(cut_pieces(region, [product.store for product in job.products]))
        starts = [sweep.patches.owned(region) for sweep in job.sweeps]
        batches = batches_of(job.sweeps, starts)
        for number, batch in enumerate(batches, start=1):
            runner.add(batch, sums, _cutter(reader))
            # No later patch reaches the planes before the next batch.
            following = batches[number].first if number < len(batches) else region[0].start
            while layers and layers[0][0][0].stop <= following and not missing:
                writer.put((layers.popleft(), runner.largest.so_far()))
        reader.close()
        runner.largest.check()
        for layer in () if missing else layers:
            writer.put((layer, runner.largest))
        _give_strips(job, spill, index, job.takers(index), sums)
        writer.finish()
    return missing


def _predict_apart(
    job: PredictJob, index: Index, reader: SlabReader, runner: BatchRunner
) -> SpillError | None:
    """Complete one sweep after the other; return the error if a part of one is gone."""
    region = job.grid[index].write
    kept = ApartSums(job, region, {product.kind for product in job.products})
    missing = None
    for number, (sweep, spill) in enumerate(zip(job.sweeps, job.spills, strict=True)):
        starts = sweep.patches.owned(region)
        sums = runner.new_sums(union(region, sweep.patches.extent(starts)) if starts else region)
        givers, takers = sweep.patches.neighbours(job.grid, index)
        missing = _take_strips(job, spill, givers, index, sums) or missing
        mine = [starts if i == number else [] for i in range(len(job.sweeps))]
        for batch in batches_of(job.sweeps, mine):
            runner.add(batch, sums, _cutter(reader))
        runner.largest.check()
        _give_strips(job, spill, index, takers, sums)
        if not missing:
            kept.add(sums)
        del sums  # before there are those of the next sweep
    reader.close()
    if not missing:
        with _writer(job, kept) as writer:
            for layer in cut_pieces(region, [product.store for product in job.products]):
                writer.put((layer, runner.largest))
            writer.finish()
    return missing


def _take_strips(
    job: PredictJob, spill: Spill, givers: Sequence[Index], index: Index, sums: Accumulator
) -> SpillError | None:
    """Add what earlier neighbours left; return the error if some of it is gone."""
    region = job.grid[index].write
    for giver in givers:
        try:
            strip = spill.take(giver, index)
        except SpillError as error:
            return error
        shape = strip.shape[1:]
        corner = (slice(s.start, s.start + n) for s, n in zip(region, shape, strict=True))
        sums.give(tuple(corner), strip)
    return None


def _give_strips(
    job: PredictJob, spill: Spill, index: Index, takers: Sequence[Index], sums: Accumulator
) -> None:
    """Leave for later neighbours what the patches of a block add to them."""
    for taker in takers:
        shared = intersection(sums.region, job.grid[taker].write)
        spill.give(index, taker, sums.take(shared))


def _writer(job: PredictJob, blended: Blended) -> PieceWriter[tuple[list[Region], Largest]]:
    """Finishes and writes layers of pieces, once all patches were added to them."""
    dtypes = {product.kind: product.dtype for product in job.products}

    def write(item: tuple[list[Region], Largest]) -> None:
        layer, largest = item
        largest.check()
        for piece in layer:
            outputs = finish_region(job, piece, blended, dtypes)
            for product in job.products:
                product.store.write(piece, outputs[product.kind])

    return PieceWriter(write)


def _cutter(reader: SlabReader) -> Callable[[Index, Shape], npt.NDArray[np.float32]]:
    """Cuts patches as soon as their planes are read."""

    def cut(start: Index, patch: Shape) -> npt.NDArray[np.float32]:
        return cut_patch(reader.up_to(start[0] + patch[0]), reader.extent, start, patch)

    return cut
