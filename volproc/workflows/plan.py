"""What a segmentation will take, from the head of its input alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from volproc.core.arrays import Source, decoded_chunks
from volproc.core.errors import ConfigError
from volproc.core.types import Shape
from volproc.core.volume import Volume
from volproc.graph.settings import Models, as_models
from volproc.graph.tile_settings import is_tiled, plan_tiles, refuse_of_tiles
from volproc.models.devices import choose_device, device_bytes
from volproc.plan.blocks import ChunkGrid
from volproc.plan.inference import Plan, make_plan
from volproc.plan.memory import format_bytes
from volproc.plan.storage import decoded_ratio, reading_grid, storage_chunks
from volproc.plan.tile_plan import TilePlan

if TYPE_CHECKING:
    from volproc.workflows.segment_task import SegmentTask

MIN_BLOCKS = 8
"""Blocks a worker gets at least, where the volume allows it."""

MIN_BLOCK_VOXELS = 2**20
"""Voxels below which a block is not worth its own reading, spilling and marking: many small volumes
are busy enough for many workers."""

LATER_HALO = 16
"""Halo of the later stage that a plan speaks of, voxels: that of a particle's radius."""

PROBABILITY_BYTES = {"none": 0, "float16": 2, "uint8": 1, "float32": 4}

AnyPlan = Plan | TilePlan
"""Of blended patches, or of tiles."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a plan has to know of a volume.

    Parameters
    ----------
    shape : tuple of int
        (z, y, x), voxels.
    dtype : dtype
        Type of the voxels.
    chunks : tuple of int
        What storage reads at once, voxels.
    decoded_chunks : tuple of int
        What it has to decode at once: one voxel of a memory map.
    """

    shape: Shape
    dtype: np.dtype[Any]
    chunks: Shape
    decoded_chunks: Shape

    @classmethod
    def of(cls, volume: Volume) -> Head:
        """Head of an opened volume."""
        assert volume.source is not None  # an opened volume has one
        return cls.of_source(volume.source)

    @classmethod
    def of_source(cls, source: Source) -> Head:
        """Head of what reads a volume."""
        return cls(source.shape, source.dtype, tuple(source.chunks), decoded_chunks(source))


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a worker was, measured on a few blocks."""

    pass_s: float
    """Seconds a pass through the network, with all that a block does beside it."""

    voxel_s: float
    """Seconds a voxel of the statistics."""

    num_blocks: int
    """Blocks it was measured on."""


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """A plan of a segmentation with what its run adds to the prediction.

    Parameters
    ----------
    plan : Plan or TilePlan
        Of the prediction.
    head : Head
        Of the volume.
    num_readings : int
        Times that the statistics read the volume.
    num_workers : int
        Calls that run at the same time.
    """

    plan: AnyPlan
    head: Head
    num_readings: int
    num_workers: int

    @property
    def num_tasks(self) -> int:
        """Calls of all stages."""
        statistics = len(reading_grid(self.head.shape, self.head.chunks))
        return self.num_readings * statistics + len(self.plan.grid)

    @property
    def read_bytes(self) -> int:
        """Bytes decoded from storage by all stages."""
        volume = prod(self.head.shape) * self.head.dtype.itemsize
        return self.num_readings * volume + self.plan.read_bytes

    def work_s(self, rate: Rate) -> float:
        """Seconds that one worker alone takes for all stages, at a rate."""
        readings = self.num_readings * prod(self.head.shape)
        return self.plan.num_passes * rate.pass_s + readings * rate.voxel_s

    def duration_s(self, rate: Rate) -> float:
        """Seconds that all workers take together, at a rate of each."""
        # The last blocks leave workers idle: a run is no shorter than its blocks allow.
        rounds = ceil(len(self.plan.grid) / self.num_workers)
        return self.work_s(rate) * rounds / len(self.plan.grid)

    def explain(self, rate: Rate | None = None) -> str:
        """Lines for people.

        Parameters
        ----------
        rate : Rate
            Where it was measured; without one no time is given.
        """
        written = storage_chunks(self.plan.chunks)
        later = reading_grid(self.head.shape, written)
        halo = tuple(min(LATER_HALO, c) for c in later.chunks)
        ratio = decoded_ratio(ChunkGrid(later.shape, later.chunks, halo), written)
        num_blocks = len(self.plan.grid)
        statistics = format_bytes(self.read_bytes - self.plan.read_bytes)
        lines = [
            self.plan.explain(),
            f"          in storage chunks of {_size(written)}: blocks of {_size(later.chunks)} "
            f"with a halo of {LATER_HALO} decode {ratio:.2f} times the volume later",
            f"tasks     {self.num_tasks}: {num_blocks} predict, "
            f"{self.num_tasks - num_blocks} read {statistics} for the statistics; one wave, "
            f"{2 * self.num_workers} under way at a time",
        ]
        if rate is None:
            lines.append("time      not known; --calibrate runs a few blocks to find out")
        else:
            said = describe_time(self.duration_s(rate), rate, self.num_workers)
            lines.append(f"time      {said}")
        return "\n".join(lines)

    def validate(self) -> None:
        """Refuse what cannot be done, as `volproc.plan.inference.Plan.validate` does."""
        self.plan.validate()


def plan_head(
    task: SegmentTask,
    model: Models,
    head: Head,
    *,
    num_workers: int = 1,
    chunks: Shape | None = None,
    slab: int | None = None,
) -> AnyPlan:
    """Plan the prediction of a volume of which the head is known.

    Parameters
    ----------
    task : SegmentTask
        Settings, products and limits; its input is not looked at.
    model : ModelSpec or sequence of ModelSpec
        One or several models.
    head : Head
        Of the volume.
    num_workers : int
        Workers that share the memory of this machine, where the task gives no limit.
    chunks : tuple of int
        Blocks, where they are not to be chosen.
    slab : int
        Planes that a network of CryoSiam computes at once, likewise.

    Returns
    -------
    plan : Plan or TilePlan
        Not validated. Tiles are those of networks of CryoSiam.

    Raises
    ------
    ConfigError
        If the task asks for maps of an unknown type, for the variance of one view, or for what
        the models do not have.
    PlanError
        If not even the smallest tile fits into memory.
    """
    for kind, dtype in task.stored.items():
        if dtype not in PROBABILITY_BYTES:
            known = ", ".join(PROBABILITY_BYTES)
            msg = f'{kind} is "{dtype}". Choose one of {known}.'
            raise ConfigError(msg)
    num_views = len(task.settings.views) * len(as_models(model))
    has_variance = "variance" in task.stored
    if has_variance and num_views == 1:
        msg = (
            "the variance is over views and models, got one view of one model. Ask for views, "
            "tta=octopi4 (--tta octopi4), or leave the variance out."
        )
        raise ConfigError(msg)
    host_limit = task.host_limit or int(psutil.virtual_memory().available // num_workers)
    device_limit = device_bytes(choose_device(task.settings.device))
    if is_tiled(task.settings, model):
        return plan_tiles(
            task.settings,
            model,
            shape=head.shape,
            dtype=head.dtype,
            storage_chunks=head.decoded_chunks,
            chunks=chunks,
            slab=slab,
            stored={kind: PROBABILITY_BYTES[dtype] for kind, dtype in task.stored.items()},
            host_limit=host_limit,
            device_limit=device_limit,
            num_workers=num_workers,
        )
    refuse_of_tiles(mask=bool(task.mask), distances="distances" in task.stored)
    job = task.settings.job(
        model,
        shape=head.shape,
        dtype=head.dtype,
        storage_chunks=head.decoded_chunks,
        probability_bytes=PROBABILITY_BYTES[task.probabilities],
        map_bytes=PROBABILITY_BYTES[task.maximum] + PROBABILITY_BYTES[task.variance],
        has_variance=has_variance,
    )
    return make_plan(
        job,
        chunks=chunks,
        host_limit=host_limit,
        device_limit=device_limit,
        min_blocks=min(MIN_BLOCKS * num_workers, prod(head.shape) // MIN_BLOCK_VOXELS),
        num_workers=num_workers,
    )


def plan_run(task: SegmentTask, model: Models, head: Head, *, num_workers: int = 1) -> SegmentPlan:
    """Plan all stages of a segmentation; parameters are those of `plan_head`."""
    found = plan_head(task, model, head, num_workers=num_workers, chunks=task.chunks)
    num_readings = 3 if as_models(model)[0].normalization == "percentile" else 1
    return SegmentPlan(found, head, num_readings, num_workers)


def describe_time(seconds: float, rate: Rate, num_workers: int) -> str:
    """Say how long a run takes, and what that was measured on.

    >>> describe_time(5400.0, Rate(0.25, 1e-8, 3), 4)
    'about 1.5 hours with 4 workers: 0.25 s a pass, measured on 3 blocks'
    """
    return (
        f"about {format_duration(seconds)} with {num_workers} worker{'s' * (num_workers > 1)}: "
        f"{rate.pass_s:.3g} s a pass, measured on {rate.num_blocks} "
        f"block{'s' * (rate.num_blocks > 1)}"
    )


def format_duration(seconds: float) -> str:
    """Write a time of which the first two digits are known.

    >>> format_duration(41.7), format_duration(600), format_duration(9e6)
    ('42 s', '10 minutes', '2500 hours')
    """
    if seconds < 100:
        return f"{seconds:.2g} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    hours = seconds / 3600
    return f"{hours:.1f} hours" if hours < 100 else f"{hours:.0f} hours"


def _size(shape: Shape) -> str:
    return " × ".join(map(str, shape))
