"""What a prediction will take, before it runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil, prod

from volproc.core.errors import PlanError, ShapeError
from volproc.core.types import Shape
from volproc.plan.block_memory import (
    block_extent,
    class_bytes,
    device_block_bytes,
    growing_bytes,
    host_parts,
)
from volproc.plan.blocks import ChunkGrid
from volproc.plan.job import Job
from volproc.plan.memory import format_bytes
from volproc.plan.patches import PatchGrid
from volproc.plan.wavefront import run_time

BLOCK_TARGET_BYTES = 310_000_000
"""Memory that a block's arrays may take where no limit is given: large enough that halos and
spill are a small part of the work, small enough for a laptop."""

MANY_BLOCKS = 100_000
"""Blocks beyond which larger ones are worth their memory: a scheduler takes some milliseconds for
each, and each leaves a marker."""

WRITE_MULTIPLE = 64
"""Side of the storage chunks of an output, in voxels; a block is a multiple of it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a volume is cut for a prediction, and what that takes.

    Parameters
    ----------
    job : Job
        What is to be done.
    chunks : tuple of int
        Write region of a block, voxels.
    host_limit, device_limit : int or None
        Memory of one worker, bytes; None where unknown.

    Raises
    ------
    ShapeError
        If the chunks, the patch or the overlap cannot be.
    """

    job: Job
    chunks: Shape
    host_limit: int | None = None
    device_limit: int | None = None

    def __post_init__(self) -> None:
        # Both refuse what they cannot be made of, before it surfaces in some sum.
        _ = self.grid
        _ = self.job.patch_grids

    @property
    def grid(self) -> ChunkGrid:
        """The blocks."""
        return ChunkGrid(self.job.shape, self.chunks)

    @property
    def patches(self) -> PatchGrid:
        """The patches of the whole volume; the first grid of them where there are several."""
        return self.job.patch_grids[0]

    @property
    def num_passes(self) -> int:
        """Patches through networks, grids and views included."""
        return sum(map(len, self.job.patch_grids)) * self.job.num_views

    @property
    def extent(self) -> Shape:
        """Largest region that a block's patches cover, voxels."""
        return block_extent(self.job, self.chunks)

    @property
    def read_bytes(self) -> int:
        """Bytes decoded from storage over the whole run, storage chunks counted whole."""
        return self._decoded_voxels() * self.job.itemsize

    @property
    def read_ratio(self) -> float:
        """Bytes decoded from storage, over the bytes of the volume."""
        return self._decoded_voxels() / prod(self.job.shape)

    @property
    def host_bytes(self) -> int:
        """Peak memory of one worker on the host."""
        return sum(self.host_parts.values())

    @property
    def host_parts(self) -> dict[str, int]:
        """What that memory is for, bytes by name; see `volproc.plan.block_memory`."""
        return host_parts(self.job, self.chunks)

    @property
    def device_bytes(self) -> int:
        """Peak memory of one worker on its GPU; 0 without one."""
        return device_block_bytes(self.job, self.chunks) if self.job.on_device else 0

    @property
    def output_bytes(self) -> int:
        """Size of the outputs, uncompressed, without pyramids."""
        per_voxel = class_bytes(self.job.num_classes)
        per_voxel += self.job.probability_bytes * self.job.num_classes + self.job.map_bytes
        return prod(self.job.shape) * per_voxel

    @property
    def scratch_bytes(self) -> int:
        """Strips between blocks that are on disk at one time.

        A strip goes when its taker is finished: one along x waits for the next block, one along y
        for the next row, one along z for the next layer.
        """
        core = [min(c, n) for c, n in zip(self.chunks, self.job.shape, strict=True)]
        extent, (_, rows, row) = self.extent, self.grid.numblocks
        layer = rows * row
        z = (extent[0] - core[0]) * extent[1] * extent[2] * (layer + row + 2)
        y = core[0] * (extent[1] - core[1]) * extent[2] * 2 * row
        x = core[0] * core[1] * (extent[2] - core[2]) * row
        return (x + y + z) * self.job.num_classes * 8 if len(self.grid) > 1 else 0

    def explain(self) -> str:
        """Lines for people."""
        job, grid = self.job, self.grid
        lines = [
            f"volume    {_size(job.shape)} voxels, {format_bytes(prod(job.shape) * job.itemsize)}",
            f"blocks    {len(grid)} ({_size(grid.numblocks)}) of {_size(self.chunks)} voxels",
            f"patches   {self._counts()}: {self.num_passes} passes in batches of {job.batch_size}",
            f"reads     {format_bytes(self.read_bytes)}, {self.read_ratio:.2f} times the volume "
            f"(storage chunks {_size(job.storage_chunks)})",
            f"memory    {format_bytes(self.host_bytes)} peak per worker on the host"
            + _limit(self.host_limit),
            f"          {_parts(self.host_parts)}",
        ]
        if job.on_device:
            lines.append(
                f"          {format_bytes(self.device_bytes)} peak per worker on the device"
                + _limit(self.device_limit)
            )
        lines += [
            f"scratch   up to {format_bytes(self.scratch_bytes)} on disk",
            f"output    {format_bytes(self.output_bytes)} before compression, "
            f"{job.num_classes} classes"
            + (", with probabilities" if job.probability_bytes else ""),
        ]
        return "\n".join(lines)

    def _counts(self) -> str:
        """Patches and views of each kind of grid, for people."""
        job = self.job
        num_views = job.num_views * len(job.patch_grids) // job.num_models
        views = f"{num_views} view{'s' * (num_views > 1)}"
        views += f" of each of {job.num_models} models" if job.num_models > 1 else ""
        # Mirrored grids have as many patches.
        kinds = Counter((grid.patch, len(grid)) for grid in job.patch_grids)
        parts = [
            (f"{num_grids} grids of " if len(job.patch_grids) > 1 else "")
            + f"{num_patches} of {_size(patch)}"
            for (patch, num_patches), num_grids in kinds.items()
        ]
        return f"{', '.join(parts)}, overlap {job.overlap:g}, {views}"

    def validate(self) -> None:
        """Refuse what cannot be done.

        Raises
        ------
        ShapeError
            If the volume is smaller than a patch and padding was not asked for.
        PlanError
            If a worker's peak memory exceeds its limit; the message has both numbers.
        """
        for grid in () if self.job.pad else self.job.patch_grids:
            if grid.small_axes:
                msg = (
                    f"the volume, {_size(self.job.shape)} voxels, is smaller than one patch, "
                    f"{_size(grid.patch)}, along {', '.join(grid.small_axes)}. Use a model with a "
                    "smaller patch, or pad with the volume's mean: pad=True (--pad)."
                )
                raise ShapeError(msg)
        for place, need, limit in (
            ("host", self.host_bytes, self.host_limit),
            ("device", self.device_bytes, self.device_limit),
        ):
            if limit is not None and need > limit:
                msg = (
                    f"a block of {_size(self.chunks)} voxels needs {format_bytes(need)} on the "
                    f"{place}, a worker has {format_bytes(limit)}. Use smaller chunks, a smaller "
                    "batch, or fewer workers."
                )
                raise PlanError(msg)

    def _decoded_voxels(self) -> int:
        """Voxels of the storage chunks that all blocks touch: a product over the axes.

        Of several grids it is a bound: patches of one may start in a block along one axis only.
        """
        total = 1
        for axis, size in enumerate(self.job.shape):
            storage, chunk = self.job.storage_chunks[axis], self.chunks[axis]
            line = 0
            for first in range(0, size, chunk):
                mine = [
                    (a, a + grid.patch[axis])
                    for grid in self.job.patch_grids
                    for a in grid.starts[axis]
                    if first <= max(a, 0) < first + chunk
                ]
                if mine:
                    low = max(min(mine)[0], 0) // storage * storage
                    high = ceil(min(max(end for _, end in mine), size) / storage) * storage
                    line += min(high, size) - low
            total *= line
        return total


def make_plan(
    job: Job,
    *,
    chunks: Shape | None = None,
    host_limit: int | None = None,
    device_limit: int | None = None,
    min_blocks: int = 1,
    num_workers: int = 1,
) -> Plan:
    """Choose the blocks of a prediction.

    Blocks are multiples of `WRITE_MULTIPLE`. They grow along their shortest axis while they fit
    into the worker's memory, since a larger block decodes less of its neighbours; up to
    `BLOCK_TARGET_BYTES`, or further where there would be more than `MANY_BLOCKS` and memory is
    known to be there.

    Parameters
    ----------
    job : Job
        What is to be done.
    chunks : tuple of int
        Blocks of the caller's choice instead.
    host_limit, device_limit : int
        Memory of one worker, bytes.
    min_blocks : int
        Blocks stop growing where there would be fewer: several workers want to be busy, and
        people want to see progress.
    num_workers : int
        Workers that share the volume. On the CPU blocks are of the size with which all have done
        first, see `volproc.plan.wavefront`. A GPU is done with the patches of a small block before
        its strips are handed over, and so ``min_blocks`` alone counts there.

    Returns
    -------
    plan : Plan
        Not yet validated.
    """
    if chunks is not None:
        return Plan(job, tuple(chunks), host_limit, device_limit)
    target = BLOCK_TARGET_BYTES
    while True:
        grown = _grow(job, target, host_limit, device_limit, min_blocks)
        chosen = _soonest(job, grown, num_workers)
        target *= 2
        # Without a limit nobody knows how much larger a block may be.
        is_free = host_limit is not None and target < host_limit
        if len(ChunkGrid(job.shape, chosen)) <= MANY_BLOCKS or not is_free:
            return Plan(job, chosen, host_limit, device_limit)


def _grow(
    job: Job, target: int, host_limit: int | None, device_limit: int | None, min_blocks: int
) -> list[Shape]:
    """Blocks from the smallest to the largest that fits and takes no more than the target."""
    chosen = [min(WRITE_MULTIPLE, _whole(n)) for n in job.shape]
    steps = [tuple(chosen)]
    while True:
        grown = []
        for axis, size in enumerate(job.shape):
            trial = list(chosen)
            trial[axis] = min(trial[axis] + WRITE_MULTIPLE, _whole(size))
            if (
                trial[axis] > chosen[axis]
                and len(ChunkGrid(job.shape, tuple(trial))) >= min_blocks
                and _fits(job, tuple(trial), target, host_limit, device_limit)
            ):
                grown.append((chosen[axis], axis, trial))
        if not grown:
            return steps
        chosen = min(grown)[2]
        steps.append(tuple(chosen))


def _soonest(job: Job, steps: list[Shape], num_workers: int) -> Shape:
    """Blocks with which workers have done first; the largest of equals, as for one worker."""
    largest = steps[-1]
    if job.on_device or num_workers == 1:
        return largest
    grids = {chunks: ChunkGrid(job.shape, chunks) for chunks in reversed(steps)}
    few = [chunks for chunks, grid in grids.items() if len(grid) <= MANY_BLOCKS] or [largest]
    return min(few, key=lambda chunks: run_time(job.patch_grids, grids[chunks], num_workers))


def _fits(
    job: Job, chunks: Shape, target: int, host_limit: int | None, device_limit: int | None
) -> bool:
    # A hungry network is no reason for small blocks: what it needs does not depend on them.
    if growing_bytes(job, chunks) > target:
        return False
    if host_limit is not None and sum(host_parts(job, chunks).values()) > 0.8 * host_limit:
        return False
    if not job.on_device or device_limit is None:
        return True
    return device_block_bytes(job, chunks) < 0.8 * device_limit


def _whole(size: int) -> int:
    """Smallest multiple of the write multiple that holds an axis."""
    return ceil(size / WRITE_MULTIPLE) * WRITE_MULTIPLE


def _size(shape: Shape) -> str:
    return " × ".join(map(str, shape))


def _parts(parts: dict[str, int]) -> str:
    return ", ".join(f"{name} {format_bytes(part)}" for name, part in parts.items() if part)


def _limit(limit: int | None) -> str:
    return "" if limit is None else f" of {format_bytes(limit)}"
