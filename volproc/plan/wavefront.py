"""How many workers the blocks of a prediction keep busy.

A block waits for those whose patches reach into it, so that blocks run as a wave from one corner of
the volume to the other: few at its beginning and its end, most in between.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from heapq import heappop, heappush
from math import prod

from volproc.core.types import Index
from volproc.plan.blocks import ChunkGrid
from volproc.plan.patches import PatchGrid, neighbours

BLOCK_COST = 0.25
"""What a block costs beside its patches, in patches: reading, strips, writing, its marker."""

MOST_PLAYED = 4096
"""Blocks up to which a run is played through: a tenth of a second."""


def run_time(grids: Sequence[PatchGrid], blocks: ChunkGrid, num_workers: int) -> float:
    """Time that workers need for a volume, as far as blocks wait for each other.

    Parameters
    ----------
    grids : sequence of PatchGrid
        All patches of the volume; each takes the same time.
    blocks : ChunkGrid
        The blocks.
    num_workers : int
        Workers, which take the blocks that are ready in the order in which they became so.

    Returns
    -------
    time : float
        In times of one patch; each block takes that of its patches and of `BLOCK_COST` more.

    Notes
    -----
    The run is played through, some microseconds a block. Where blocks are many (`MOST_PLAYED`), it
    takes as long as the workers make it, or as the longest chain of blocks, from corner to corner,
    if each of them had its share of the patches.

    Examples
    --------
    Blocks in one row run one after another; with patches that do not overlap, all at once:

    >>> shape, patch = (64, 64, 256), (64, 64, 64)
    >>> row = ChunkGrid(shape, patch)
    >>> [run_time([PatchGrid(shape, patch, 0.5)], row, num) for num in (1, 2)]
    [8.0, 8.0]
    >>> [run_time([PatchGrid(shape, patch, 0.0)], row, num) for num in (1, 2)]
    [5.0, 2.5]
    """
    total = sum(map(len, grids)) + BLOCK_COST * len(blocks)
    if num_workers == 1 or len(blocks) > MOST_PLAYED:
        chain = total / len(blocks) * (sum(blocks.numblocks) - len(blocks.numblocks) + 1)
        return max(total / num_workers, chain)
    costs = _costs(grids, blocks)
    missing: dict[Index, int] = {}
    unlocks: dict[Index, list[Index]] = {index: [] for index in costs}
    for index in costs:
        needs = neighbours(grids, blocks, index)[0]
        missing[index] = len(needs)
        for other in needs:
            unlocks[other].append(index)
    ready = deque(index for index, count in missing.items() if not count)
    running: list[tuple[float, Index]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < num_workers:
            index = ready.popleft()
            heappush(running, (now + costs[index], index))
        now, ended = heappop(running)
        for index in unlocks[ended]:
            missing[index] -= 1
            if not missing[index]:
                ready.append(index)
    return now


def _costs(grids: Sequence[PatchGrid], blocks: ChunkGrid) -> dict[Index, float]:
    """Time of each block, in that of a patch."""
    costs = dict.fromkeys(blocks.indices(), BLOCK_COST)
    for grid in grids:
        lines = [
            Counter(max(start, 0) // chunk for start in starts)
            for starts, chunk in zip(grid.starts, blocks.chunks, strict=True)
        ]
        for index in costs:
            costs[index] += prod(line[i] for line, i in zip(lines, index, strict=True))
    return costs
