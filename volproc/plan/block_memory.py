"""Memory of a worker that predicts a block, part by part."""

from __future__ import annotations

from math import prod

from volproc.core.types import Shape
from volproc.plan.job import Job
from volproc.plan.storage import READING_VOXELS

BASE_BYTES = 740_000_000
"""Resident size of a worker with torch, Dask and numba loaded, before any block; measured."""

CACHE_BYTES = 2**27
"""Most that a process keeps of its input: decoded chunks, or mapped pages of a file."""

ALLOCATOR_PART = 0.1
"""What the C library keeps of memory that was given back, as a part of what is in use; measured."""

FIXED_PARTS = frozenset({"weights", "batch", "network", "windows"})
"""Parts of a block's memory that are the same for blocks of all sizes."""

READ_PLANES = 16
"""Least planes that are read at once: whole storage chunks, and as few as that."""

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
    return max(_moments(job, chunks), key=lambda parts: sum(parts.values()))


def _moments(job: Job, chunks: Shape) -> tuple[dict[str, int], ...]:
    """Memory of a block while patches pass, while strips are handed over, and at its end."""
    sides = block_extent(job, chunks)
    extent = prod(sides)
    core = prod(min(c, n) for c, n in zip(chunks, job.shape, strict=True))
    slab = prod(sides[1:]) * min(sides[0], max(READ_PLANES, job.storage_chunks[0]))
    on_host = not job.on_device
    sums = {"sums": extent * job.num_classes * 8 * on_host, "weights": job.weight_bytes * on_host}
    if job.kept_bytes:
        sums["kept"] = core * job.kept_bytes
    # The outputs of a batch, and of each view those in the volume's axes; the sum over views.
    held = 2 + (job.num_views > 1)
    outputs_of_network = prod(job.patch) * job.num_classes * 4 * held * job.batch_size
    passing = sums | {
        "voxels": extent * 4 + slab * (job.itemsize + 4),
        "batch": 2 * job.batch_size * prod(job.patch) * 4,
        "network": (job.activation_bytes - job.weight_bytes + outputs_of_network) * on_host,
    }
    if len(job.patch_grids) > 1:  # each patch has weights of its own, made in float64
        passing["windows"] = prod(job.patch) * 16
    handing_over = sums | {"strips": strip_voxels(job, chunks) * job.num_classes * 8}
    # Weights are float64; a slab of means passes through float64, float32 and its softmax.
    per_voxel = class_bytes(job.num_classes) + job.probability_bytes * job.num_classes
    finishing = sums | {
        "outputs": core * (per_voxel + job.map_bytes),
        "finishing": slab_voxels(job, chunks) * (8 + job.num_classes * 24),
    }
    return passing, handing_over, finishing


def growing_bytes(job: Job, chunks: Shape) -> int:
    """Memory on the host that gets less with smaller blocks, bytes; what the network takes is not.

    What the allocator keeps of it is included.
    """
    largest = max(
        sum(part for name, part in parts.items() if name not in FIXED_PARTS)
        for parts in _moments(job, chunks)
    )
    return int((1 + ALLOCATOR_PART) * largest)


def device_block_bytes(job: Job, chunks: Shape) -> int:
    """Memory of one block on the device: sums, a slab of means, the network, a patch to add."""
    sums = prod(block_extent(job, chunks)) * job.num_classes * 8
    # Its weighted outputs in float32, float64 and int64, besides those of the network.
    added = prod(job.patch) * job.num_classes * 20
    return sums + max(slab_voxels(job, chunks) * job.num_classes * 24, added) + job.activation_bytes


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


def strip_voxels(job: Job, chunks: Shape) -> int:
    """Voxels of the largest part of a neighbour that the patches of a block reach."""
    core = [min(c, n) for c, n in zip(chunks, job.shape, strict=True)]
    reach = [e - c for e, c in zip(block_extent(job, chunks), core, strict=True)]
    return max(min(r, c) * prod(core) // c for r, c in zip(reach, core, strict=True))


def slab_voxels(job: Job, chunks: Shape) -> int:
    """Voxels that are finished at once: eight planes of a block."""
    z, *rest = (min(c, n) for c, n in zip(chunks, job.shape, strict=True))
    return min(z, SLAB_PLANES) * prod(rest)


def class_bytes(num_classes: int) -> int:
    """Bytes of a class map's voxel: uint8 up to 256 classes, uint16 above."""
    return 1 if num_classes <= 256 else 2
