"""Memory of a worker that predicts a block, part by part."""

from __future__ import annotations

from math import prod

from volproc.core.types import Shape
from volproc.plan.job import Job
from volproc.plan.storage import READING_VOXELS

BASE_BYTES = 780_000_000
"""Resident size of a worker with torch, Dask and numba loaded, before any block; measured."""

CACHE_BYTES = 2**27
"""Most that a process keeps of its input: decoded chunks, or mapped pages of a file."""

ALLOCATOR_PART = 0.1
"""What the C library keeps of memory that was given back, as a part of what is in use; measured."""

SLAB_PLANES = 8
"""Planes of a block that are divided, compared and quantised at once."""


def host_parts(job: Job, chunks: Shape) -> dict[str, int]:
    """Memory of one worker on the host at its worst moment, bytes by name.

    Parameters
    ----------
    job : Job
        What is predicted.
    chunks : tuple of int
        Write region of a block, voxels.

    Returns
    -------
    parts : dict
        ``libraries``, ``cache`` and ``allocator`` are always there; between them stands what is in
        use at the worst of four moments: patches pass the network, strips are handed over, the
        sums are finished, or the statistics of the volume are found.
    """
    voxels = min(READING_VOXELS, prod(job.shape))
    moments = ({"statistics": 2 * voxels * job.itemsize}, block_parts(job, chunks))
    block = max(moments, key=lambda parts: sum(parts.values()))
    cache = min(CACHE_BYTES, prod(job.shape) * job.itemsize)
    kept = int(ALLOCATOR_PART * sum(block.values()))
    return {"libraries": BASE_BYTES, "cache": cache, **block, "allocator": kept}


def block_parts(job: Job, chunks: Shape) -> dict[str, int]:
    """Memory that one block takes on the host at its worst moment, bytes by name."""
    extent = prod(block_extent(job, chunks))
    core = prod(min(c, n) for c, n in zip(chunks, job.shape, strict=True))
    on_host = not job.on_device
    sums = {"sums": extent * job.num_classes * 8 * on_host, "weights": job.weight_bytes * on_host}
    if job.kept_bytes:
        sums["kept"] = core * job.kept_bytes
    # The outputs of a batch, of its view and of their sum; a patch in float32, float64, int64.
    outputs_of_network = prod(job.patch) * job.num_classes * (12 * job.batch_size + 20)
    passing = sums | {
        "voxels": extent * (job.itemsize + 4),
        "batch": 2 * job.batch_size * prod(job.patch) * 4,
        "network": (job.activation_bytes - job.weight_bytes + outputs_of_network) * on_host,
    }
    if len(job.patch_grids) > 1:  # each patch has weights of its own, made in float64
        passing["windows"] = prod(job.patch) * 16
    handing_over = sums | {"strips": max(0, extent - core) * job.num_classes * 8 // 2}
    # Weights are float64; a slab of means passes through float64, float32 and its softmax.
    per_voxel = class_bytes(job.num_classes) + job.probability_bytes * job.num_classes
    finishing = sums | {
        "outputs": core * (per_voxel + job.map_bytes),
        "finishing": slab_voxels(job, chunks) * (8 + job.num_classes * 24),
    }
    return max((passing, handing_over, finishing), key=lambda parts: sum(parts.values()))


def host_block_bytes(job: Job, chunks: Shape) -> int:
    """Memory that one block takes on the host, what the allocator keeps included, bytes."""
    return int((1 + ALLOCATOR_PART) * sum(block_parts(job, chunks).values()))


def device_block_bytes(job: Job, chunks: Shape) -> int:
    """Memory of one block on the device: sums, a slab of means, the network."""
    sums = prod(block_extent(job, chunks)) * job.num_classes * 8
    return sums + slab_voxels(job, chunks) * job.num_classes * 24 + job.activation_bytes


def block_extent(job: Job, chunks: Shape) -> Shape:
    """Largest region that a block's write region and the patches starting in it cover."""
    extent = []
    for axis, (chunk, size) in enumerate(zip(chunks, job.shape, strict=True)):
        ends: dict[int, int] = {}
        for grid in job.patch_grids:
            for a in grid.starts[axis]:
                block = max(a, 0) // chunk
                ends[block] = max(ends.get(block, 0), min(a + grid.patch[axis], size))
        reach = max(end - i * chunk for i, end in ends.items())
        extent.append(max(reach, min(chunk, size)))
    return tuple(extent)


def slab_voxels(job: Job, chunks: Shape) -> int:
    """Voxels that are finished at once: eight planes of a block."""
    z, *rest = (min(c, n) for c, n in zip(chunks, job.shape, strict=True))
    return min(z, SLAB_PLANES) * prod(rest)


def class_bytes(num_classes: int) -> int:
    """Bytes of a class map's voxel: uint8 up to 256 classes, uint16 above."""
    return 1 if num_classes <= 256 else 2
