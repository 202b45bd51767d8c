"""Storage chunks of what is written, and what reading them again in blocks costs."""

from __future__ import annotations

from math import ceil, prod

from volproc.core.types import Shape
from volproc.plan.blocks import ChunkGrid

STORAGE_SIDE = 128
"""Longest side of a storage chunk that is proposed for an output, voxels."""

LEAST_SIDE = 32
"""Shortest side, but of blocks that are shorter: files of a few kilobytes are slow on any disk."""

READING_VOXELS = 2**24
"""Voxels of a block of a stage that only reads: 64 MiB of float32."""


def storage_chunks(blocks: Shape) -> Shape:
    """Storage chunks that divide blocks evenly: half a block a side, at most `STORAGE_SIDE`.

    A later stage reads blocks with a halo. With storage chunks as large as a block it would decode
    27 of them for each block, with half that side 64 of an eighth of the size: 8 blocks.

    >>> storage_chunks((256, 128, 50))
    (128, 64, 50)
    >>> storage_chunks((192, 64, 512))
    (96, 32, 128)

    A prime side has no divisor that would do:

    >>> storage_chunks((131, 2 * 131, 256))
    (131, 131, 128)
    """
    return tuple(map(_storage_side, blocks))


def reading_grid(shape: Shape, chunks: Shape, *, max_voxels: int = READING_VOXELS) -> ChunkGrid:
    """Blocks for a stage that reads a volume: whole storage chunks, doubled while they fit.

    They are doubled along the shortest axis, up to ``max_voxels``.

    >>> reading_grid((600, 600, 600), (64, 64, 64)).chunks
    (256, 256, 256)
    """
    sizes = [min(c, n) for c, n in zip(chunks, shape, strict=True)]
    while 2 * prod(sizes) <= max_voxels:
        growable = [a for a, n in enumerate(shape) if sizes[a] < n]
        if not growable:
            break
        axis = min(growable, key=lambda a: (sizes[a], a))
        sizes[axis] = min(2 * sizes[axis], shape[axis])
    return ChunkGrid(shape, tuple(sizes))


def decoded_ratio(grid: ChunkGrid, chunks: Shape) -> float:
    """Voxels that blocks with their halos decode, over the voxels of the volume.

    Parameters
    ----------
    grid : ChunkGrid
        The blocks, with their halo.
    chunks : tuple of int
        What storage decodes at once, voxels.

    Returns
    -------
    ratio : float
        At least 1; nothing is taken to be left in a cache.

    Examples
    --------
    Of a block that is one storage chunk all neighbours are decoded; of one that is two a side, a
    layer of half its width.

    >>> grid = ChunkGrid((640, 640, 640), (64, 64, 64), (16, 16, 16))
    >>> round(decoded_ratio(grid, (64, 64, 64)), 1), round(decoded_ratio(grid, (32, 32, 32)), 1)
    (22.0, 6.9)
    """
    ratio = 1.0
    for size, block, halo, chunk in zip(grid.shape, grid.chunks, grid.halo, chunks, strict=True):
        line = 0
        for start in range(0, size, block):
            low = max(0, start - halo) // chunk * chunk
            high = ceil(min(size, start + block + halo) / chunk) * chunk
            line += min(high, size) - low
        ratio *= line / size
    return ratio


def _storage_side(block: int) -> int:
    divisors = [c for c in range(1, block + 1) if block % c == 0]
    half = [c for c in divisors if LEAST_SIDE <= c <= min(STORAGE_SIDE, block // 2)]
    if half:
        return max(half)
    if block <= STORAGE_SIDE:
        return block
    return min(c for c in divisors if c > STORAGE_SIDE)
