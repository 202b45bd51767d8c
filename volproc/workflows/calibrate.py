"""How fast a segmentation is here: a few blocks of the real data through the real network."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from volproc.core.errors import ConfigError
from volproc.core.events import Observer, ignore
from volproc.core.executor import Executor, SerialExecutor
from volproc.core.types import Index, Region, region_shape
from volproc.core.volume import Volume
from volproc.graph.block_predict import predict_block
from volproc.graph.predict import check_input, make_job
from volproc.graph.predict_job import PredictJob, Product, ProductKind, intersection, union
from volproc.graph.run import run_stage
from volproc.graph.spill import Spill
from volproc.graph.tile_block import TilePredictJob, predict_tile_block
from volproc.graph.tile_settings import make_tile_job
from volproc.models.loading import load_model
from volproc.models.normalization import Scaling
from volproc.models.tile_network import unscaled
from volproc.models.warming import warm_up
from volproc.plan.inference import WRITE_MULTIPLE, Plan
from volproc.plan.patches import PatchGrid
from volproc.plan.storage import reading_grid, storage_chunks
from volproc.plan.tile_plan import TilePlan
from volproc.reduce.statistics import moments_block
from volproc.workflows.outputs import create_product
from volproc.workflows.plan import AnyPlan, Rate, SegmentPlan

if TYPE_CHECKING:
    from volproc.core.model import ModelSpec
    from volproc.workflows.segment_task import SegmentTask

MAX_SHAPES = 4
"""Shapes of blocks that are tried, the most frequent first."""

MAX_PASSES = 400
"""Passes through the network of all blocks together; blocks are made smaller where they would take
more."""


@dataclass(frozen=True, slots=True)
class CalibrateWork:
    """Does one block as a run would, and says how long it took."""

    job: PredictJob | TilePredictJob
    scaling: Scaling

    def __call__(self, index: Index) -> dict[str, Any]:
        """Prepare what a run would find there, then predict the block."""
        job = self.job
        if isinstance(job, TilePredictJob):
            for part in job.parts:
                load_model(unscaled(part.spec), job.device)
            return predict_tile_block(job, index)
        for sweep in job.sweeps:
            warm_up(load_model(sweep.spec, job.device), batch_size=job.batch_size)
        for giver in job.needs(index):
            strip = _shared(job, giver, index)
            zeros = np.zeros((job.num_classes, *region_shape(strip)), np.int64)
            for spill in job.spills:
                spill.give(giver, index, zeros)
        return predict_block(job, self.scaling, index)


@dataclass(frozen=True, slots=True)
class ReadWork:
    """Reads a block as the statistics do, and says how long it took a voxel."""

    volume: Volume

    def __call__(self, index: Index) -> dict[str, Any]:
        """Read one block."""
        source = self.volume.source
        assert source is not None  # an opened volume has one
        region = reading_grid(source.shape, source.chunks)[index].write
        moments_block(np.zeros((1, 1, 1), source.dtype))  # compiles what it has to
        begin = time.perf_counter()
        moments_block(source.read(region))
        return {"time_s": time.perf_counter() - begin, "voxels": prod(region_shape(region))}


def calibrate(
    task: SegmentTask,
    found: SegmentPlan,
    *,
    executor: Executor | None = None,
    observe: Observer = ignore,
) -> Rate:
    """Measure how fast workers are on a few blocks of a volume.

    Parameters
    ----------
    task : SegmentTask
        What is to be done. Nothing of its outputs is touched.
    found : SegmentPlan
        Its plan.
    executor : Executor
        Where blocks run; each worker gets one at least, since they slow each other down.
    observe : callable
        Takes events.

    Returns
    -------
    rate : Rate
        From blocks of the most frequent shapes, one of each.

    Raises
    ------
    VolprocError
        If the input, the model or the plan cannot be used.
    OSError
        If there is no room beside the output for what the blocks write meanwhile.

    Notes
    -----
    Takes some `MAX_PASSES` passes and the memory of the plan. What is written goes to a folder
    beside the output, which is removed.
    """
    runner = executor or SerialExecutor()
    volume, specs = task.open(), task.read_models()
    check_input(volume, specs[0])
    found.validate()
    plan = found.plan if isinstance(found.plan, TilePlan) else _small_plan(found.plan)
    with _job(task, volume, specs, plan) as job:
        facts: list[dict[str, Any]] = []
        if isinstance(plan, TilePlan):
            chosen = choose_tiles(plan, runner.num_workers)
        else:
            chosen = choose_blocks(plan, runner.num_workers)
        _run("calibrate", CalibrateWork(job, Scaling()), chosen, facts, runner, observe)
    grid = reading_grid(volume.shape, found.head.chunks)
    middle = tuple(n // 2 for n in grid.numblocks)
    read: list[dict[str, Any]] = []
    _run("reading", ReadWork(volume), [middle], read, runner, observe)
    passes = sum(fact["passes"] for fact in facts)
    return Rate(
        pass_s=sum(fact["time_s"] for fact in facts) / passes,
        voxel_s=read[0]["time_s"] / read[0]["voxels"],
        num_blocks=len(facts),
    )


def choose_blocks(plan: Plan, num_blocks: int) -> list[Index]:
    """Blocks of each distinct shape, as far as `MAX_SHAPES` allows, and more of the first ones.

    Parameters
    ----------
    plan : Plan
        Whose blocks are chosen from.
    num_blocks : int
        Least number, as far as there are so many.

    Notes
    -----
    Blocks are alike where they write as many voxels and own as many patches along each axis: no
    block of a large volume is looked at for that.
    """
    axes = [_kinds(plan.patches, plan, axis) for axis in range(len(plan.chunks))]
    shapes = [kinds for kinds in product(*(a.values() for a in axes)) if all(kinds)]
    shapes.sort(key=lambda kinds: -prod(map(len, kinds)))
    # The one in the middle: borders of tomograms are often empty.
    chosen = {tuple(kind[len(kind) // 2] for kind in kinds): None for kinds in shapes[:MAX_SHAPES]}
    others = (index for kinds in shapes for index in product(*kinds) if index not in chosen)
    more = list(islice(others, max(0, num_blocks - len(chosen))))
    return sorted([*chosen, *more])


def choose_tiles(plan: TilePlan, num_blocks: int) -> list[Index]:
    """Tiles in the middle of a volume, as many as wanted where there are so many.

    Parameters
    ----------
    plan : TilePlan
        Whose tiles are chosen from.
    num_blocks : int
        How many.
    """
    counts = plan.grid.numblocks
    middle = sum(n // 2 * prod(counts[axis + 1 :]) for axis, n in enumerate(counts))
    first = max(0, min(middle - num_blocks // 2, len(plan.grid) - num_blocks))
    return list(islice(plan.grid.indices(), first, first + max(1, num_blocks)))


def _kinds(patches: PatchGrid, plan: Plan, axis: int) -> dict[tuple[int, int], list[int]]:
    """Blocks along an axis by their voxels and patches; those without patches are left out."""
    chunk, size = plan.chunks[axis], plan.job.shape[axis]
    counts = dict[int, int]()
    for start in patches.starts[axis]:
        block = max(start, 0) // chunk
        counts[block] = counts.get(block, 0) + 1
    kinds: dict[tuple[int, int], list[int]] = {}
    for block, count in counts.items():
        kinds.setdefault((min(chunk, size - block * chunk), count), []).append(block)
    return kinds


def _small_plan(plan: Plan) -> Plan:
    """Plan with blocks of few enough passes."""
    chunks = list(plan.chunks)
    while True:
        small = Plan(plan.job, tuple(chunks), plan.host_limit, plan.device_limit)
        passes = sum(
            len(patches.owned(small.grid[index].write)) * plan.job.num_views
            for index in choose_blocks(small, 1)
            for patches in plan.job.patch_grids
        )
        axis = max(range(len(chunks)), key=lambda a: chunks[a])
        if passes <= MAX_PASSES or chunks[axis] <= WRITE_MULTIPLE:
            return small
        chunks[axis] -= WRITE_MULTIPLE


def _run(
    stage: str,
    work: Any,
    indices: list[Index],
    facts: list[dict[str, Any]],
    runner: Executor,
    observe: Observer,
) -> None:
    run_stage(
        stage,
        indices,
        work,
        executor=runner,
        observe=observe,
        collect=lambda _, fact: facts.append(fact),
        total=len(indices),
    )


@contextmanager
def _job(
    task: SegmentTask, volume: Volume, specs: tuple[ModelSpec, ...], plan: AnyPlan
) -> Iterator[PredictJob | TilePredictJob]:
    """Give what the blocks share, with outputs that are removed at the end."""
    source = volume.source
    assert source is not None  # an opened volume has one
    with ExitStack() as stack:
        place = Path(task.output).absolute().parent
        if not place.is_dir():
            msg = f"{place}, where the output goes, is not there. Make it, or choose another."
            raise ConfigError(msg)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=".calibrate-", dir=place))
        frame: dict[str, Any] = {
            "shape": volume.shape,
            "voxel_size": volume.voxel_size,
            "origin": volume.origin,
            "chunks": storage_chunks(plan.chunks),
        }
        kinds: dict[ProductKind, str] = {"classes": "", **task.stored}
        products = []
        for kind, dtype in kinds.items():
            sink = create_product(kind, f"{folder}/{kind}.zarr", specs[0], dtype, frame)
            stack.callback(sink.discard)
            products.append(Product(kind, sink))
        if isinstance(plan, TilePlan):
            yield make_tile_job(source, specs, task.settings, plan, tuple(products))
            return
        spill = Spill(f"{folder}/spill")
        yield make_job(source, specs, task.settings, plan, spill, tuple(products))


def _shared(job: PredictJob, giver: Index, taker: Index) -> Region:
    """Part of one block's write region that another block's patches reach."""
    # A region that one sweep does not reach takes zeros too: what counts is how long it takes.
    return intersection(union(job.grid[giver].write, job.reach(giver)), job.grid[taker].write)
