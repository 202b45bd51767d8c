"""What a prediction will take, before it runs."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

from volproc.core.errors import PlanError, ShapeError
from volproc.core.types import Shape
from volproc.plan.blocks import ChunkGrid
from volproc.plan.memory import format_bytes
from volproc.plan.patches import PatchGrid

BASE_BYTES = 700_000_000
"""Resident size of a worker with torch, Dask and numba loaded, before any block; measured."""

BLOCK_TARGET_BYTES = 300_000_000
"""Memory that a block's arrays may take where no limit is given: large enough that halos and
spill are a small part of the work, small enough for a laptop."""

WRITE_MULTIPLE = 64
"""Side of the storage chunks of an output, in voxels; a block is a multiple of it."""


@dataclass(frozen=True, slots=True)
class Job:
    """The sizes that a plan is made from.

    Parameters
    ----------
    shape : tuple of int
        Size of the volume, (z, y, x), voxels.
    itemsize : int
        Bytes per input voxel.
    storage_chunks : tuple of int
        What storage reads at once, voxels.
    patch : tuple of int
        Size of a patch.
    overlap : float
        Part of a patch shared with the next.
    num_views : int
        Passes of each patch.
    num_classes : int
        Output channels.
    batch_size : int
        Patches per pass.
    probability_bytes : int
        Bytes per voxel and class of stored probabilities; 0 stores none.
    activation_bytes : int
        Memory of the network for one batch, and its weights.
    on_device : bool
        Whether network and accumulators are on a GPU.
    pad : bool
        Whether a volume smaller than a patch is padded.
    """

    shape: Shape
    itemsize: int
    storage_chunks: Shape
    patch: Shape
    overlap: float
    num_views: int
    num_classes: int
    batch_size: int = 1
    probability_bytes: int = 0
    activation_bytes: int = 0
    on_device: bool = False
    pad: bool = False


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
        _ = self.patches

    @property
    def grid(self) -> ChunkGrid:
        """The blocks."""
        return ChunkGrid(self.job.shape, self.chunks)

    @property
    def patches(self) -> PatchGrid:
        """The patches of the whole volume."""
        return PatchGrid(self.job.shape, self.job.patch, self.job.overlap)

    @property
    def num_passes(self) -> int:
        """Patches through the network, views included."""
        return len(self.patches) * self.job.num_views

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
        return BASE_BYTES + host_block_bytes(self.job, self.chunks)

    @property
    def device_bytes(self) -> int:
        """Peak memory of one worker on its GPU; 0 without one."""
        return device_block_bytes(self.job, self.chunks) if self.job.on_device else 0

    @property
    def output_bytes(self) -> int:
        """Size of the outputs, uncompressed, without pyramids."""
        per_voxel = class_bytes(self.job.num_classes)
        per_voxel += self.job.probability_bytes * self.job.num_classes
        return prod(self.job.shape) * per_voxel

    @property
    def scratch_bytes(self) -> int:
        """Spill between blocks that is on disk at one time: that of two layers of blocks."""
        core = prod(min(c, n) for c, n in zip(self.chunks, self.job.shape, strict=True))
        layers, *rest = self.grid.numblocks
        if len(self.grid) == 1:
            return 0
        return (prod(self.extent) - core) * self.job.num_classes * 8 * min(layers, 2) * prod(rest)

    def explain(self) -> str:
        """Lines for people."""
        job, grid = self.job, self.grid
        lines = [
            f"volume    {_size(job.shape)} voxels, {format_bytes(prod(job.shape) * job.itemsize)}",
            f"blocks    {len(grid)} ({_size(grid.numblocks)}) of {_size(self.chunks)} voxels",
            f"patches   {len(self.patches)} of {_size(job.patch)}, overlap {job.overlap:g}, "
            f"{job.num_views} view{'s' * (job.num_views > 1)}: {self.num_passes} passes in "
            f"batches of {job.batch_size}",
            f"reads     {format_bytes(self.read_bytes)}, {self.read_ratio:.2f} times the volume "
            f"(storage chunks {_size(job.storage_chunks)})",
            f"memory    {format_bytes(self.host_bytes)} peak per worker on the host"
            + _limit(self.host_limit),
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

    def validate(self) -> None:
        """Refuse what cannot be done.

        Raises
        ------
        ShapeError
            If the volume is smaller than a patch and padding was not asked for.
        PlanError
            If a worker's peak memory exceeds its limit; the message has both numbers.
        """
        small = self.patches.small_axes
        if small and not self.job.pad:
            msg = (
                f"the volume, {_size(self.job.shape)} voxels, is smaller than one patch, "
                f"{_size(self.job.patch)}, along {', '.join(small)}. Use a model with a smaller "
                "patch, or pad with the volume's mean: pad=True (--pad)."
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
        """Voxels of the storage chunks that all blocks touch: a product over the axes."""
        total = 1
        for axis, size in enumerate(self.job.shape):
            starts, patch = self.patches.starts[axis], self.job.patch[axis]
            storage, chunk = self.job.storage_chunks[axis], self.chunks[axis]
            line = 0
            for first in range(0, size, chunk):
                mine = [a for a in starts if first <= max(a, 0) < first + chunk]
                if mine:
                    low = max(mine[0], 0) // storage * storage
                    high = ceil(min(mine[-1] + patch, size) / storage) * storage
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
) -> Plan:
    """Choose the blocks of a prediction.

    Blocks are multiples of `WRITE_MULTIPLE`. They grow along their shortest axis while they fit
    into the worker's memory, since a larger block decodes less of its neighbours.

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

    Returns
    -------
    plan : Plan
        Not yet validated.
    """
    if chunks is not None:
        return Plan(job, tuple(chunks), host_limit, device_limit)
    chosen = [min(WRITE_MULTIPLE, _whole(n)) for n in job.shape]
    while True:
        grown = []
        for axis, size in enumerate(job.shape):
            trial = list(chosen)
            trial[axis] = min(trial[axis] + WRITE_MULTIPLE, _whole(size))
            if (
                trial[axis] > chosen[axis]
                and len(ChunkGrid(job.shape, tuple(trial))) >= min_blocks
                and _fits(job, trial, host_limit, device_limit)
            ):
                grown.append((chosen[axis], axis, trial))
        if not grown:
            return Plan(job, tuple(chosen), host_limit, device_limit)
        chosen = min(grown)[2]


def block_extent(job: Job, chunks: Shape) -> Shape:
    """Largest region that a block's write region and the patches starting in it cover."""
    grid = PatchGrid(job.shape, job.patch, job.overlap)
    extent = []
    for starts, patch, chunk, size in zip(grid.starts, job.patch, chunks, job.shape, strict=True):
        # The last start of a chunk wins.
        ends = {max(a, 0) // chunk: min(a + patch, size) for a in starts}
        reach = max(end - i * chunk for i, end in ends.items())
        extent.append(max(reach, min(chunk, size)))
    return tuple(extent)


def host_block_bytes(job: Job, chunks: Shape) -> int:
    """Memory of one block on the host: input, float32 copy, sums, strips, outputs."""
    extent = prod(block_extent(job, chunks))
    core = prod(min(c, n) for c, n in zip(chunks, job.shape, strict=True))
    read = extent * (job.itemsize + 4)
    outputs = core * (class_bytes(job.num_classes) + job.probability_bytes * job.num_classes)
    # Weights are float64; a slab of means passes through float64, float32 and its softmax.
    finish = slab_voxels(job, chunks) * (8 + job.num_classes * 24)
    sums = 0 if job.on_device else extent * job.num_classes * 8 + job.activation_bytes
    strip = max(0, extent - core) * job.num_classes * 8 // 2
    return read + sums + strip + max(outputs + finish, 0)


def device_block_bytes(job: Job, chunks: Shape) -> int:
    """Memory of one block on the device: sums, a slab of means, the network."""
    sums = prod(block_extent(job, chunks)) * job.num_classes * 8
    return sums + slab_voxels(job, chunks) * job.num_classes * 24 + job.activation_bytes


def slab_voxels(job: Job, chunks: Shape) -> int:
    """Voxels that are finished at once: eight planes of a block."""
    z, *rest = (min(c, n) for c, n in zip(chunks, job.shape, strict=True))
    return min(z, SLAB_PLANES) * prod(rest)


SLAB_PLANES = 8
"""Planes of a block that are divided, compared and quantised at once."""


def class_bytes(num_classes: int) -> int:
    """Bytes of a class map's voxel: uint8 up to 256 classes, uint16 above."""
    return 1 if num_classes <= 256 else 2


def _fits(job: Job, chunks: list[int], host_limit: int | None, device_limit: int | None) -> bool:
    need = host_block_bytes(job, tuple(chunks))
    # A hungry network is no reason for small blocks: what it needs does not depend on them.
    network = 0 if job.on_device else job.activation_bytes
    if need - network > BLOCK_TARGET_BYTES:
        return False
    if host_limit is not None and need > int(0.8 * host_limit) - BASE_BYTES:
        return False
    if not job.on_device or device_limit is None:
        return True
    return device_block_bytes(job, tuple(chunks)) < 0.8 * device_limit


def _whole(size: int) -> int:
    """Smallest multiple of the write multiple that holds an axis."""
    return ceil(size / WRITE_MULTIPLE) * WRITE_MULTIPLE


def _size(shape: Shape) -> str:
    return " × ".join(map(str, shape))


def _limit(limit: int | None) -> str:
    return "" if limit is None else f" of {format_bytes(limit)}"
