"""Memory of a block, part by part."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest

from volproc.io.chunk_cache import CACHE_BYTES as CHUNK_CACHE_BYTES
from volproc.io.mapped import RELEASE_BYTES
from volproc.plan.block_memory import (
    BASE_BYTES,
    CACHE_BYTES,
    block_extent,
    block_parts,
    device_block_bytes,
    growing_bytes,
    host_parts,
    strip_voxels,
)
from volproc.plan.blocks import ChunkGrid
from volproc.plan.inference import Plan
from volproc.plan.job import Job
from volproc.plan.patches import PatchGrid
from volproc.plan.storage import READING_VOXELS

JOB = Job(
    shape=(300, 500, 400),
    itemsize=4,
    storage_chunks=(64, 64, 64),
    patch=(64, 64, 64),
    overlap=0.25,
    num_views=4,
    num_classes=3,
    probability_bytes=2,
    activation_bytes=110_000_000,
    weight_bytes=10_000_000,
)
CHUNKS = (128, 128, 128)


def test_what_a_process_keeps_of_its_input_is_what_readers_allow_themselves() -> None:
    assert max(CHUNK_CACHE_BYTES, RELEASE_BYTES) == CACHE_BYTES
    assert host_parts(replace(JOB, shape=(128,) * 3), CHUNKS)["cache"] == 128**3 * 4
    assert host_parts(replace(JOB, shape=(1024,) * 3), CHUNKS)["cache"] == CACHE_BYTES


def test_the_parts_sum_up_to_what_the_plan_says() -> None:
    plan = Plan(JOB, CHUNKS)
    assert sum(plan.host_parts.values()) == plan.host_bytes
    assert plan.host_bytes - BASE_BYTES > prod(block_extent(JOB, CHUNKS)) * 3 * 8
    for name in plan.host_parts:
        assert f"{name} " in plan.explain()


def test_the_worst_moment_is_that_of_the_network_or_that_of_the_outputs() -> None:
    assert {"network", "voxels"} < set(block_parts(JOB, (64, 64, 64)))
    whole = replace(JOB, probability_bytes=4)
    assert {"outputs", "finishing"} < set(block_parts(whole, JOB.shape))
    # What the network took while patches passed it is given back before the outputs are made.
    assert "network" not in block_parts(whole, JOB.shape)
    assert block_parts(whole, JOB.shape)["weights"] == JOB.weight_bytes


def test_the_statistics_are_the_worst_moment_of_the_smallest_blocks() -> None:
    # Blocks of the statistics do not depend on those of the prediction.
    bare = replace(JOB, activation_bytes=0, weight_bytes=0, num_classes=2)
    assert host_parts(bare, (16, 16, 16))["statistics"] == 2 * READING_VOXELS * 4
    assert "statistics" not in host_parts(bare, (256, 256, 256))


def test_on_a_device_the_host_holds_neither_sums_nor_network() -> None:
    job = replace(JOB, on_device=True)
    parts = block_parts(job, CHUNKS)
    assert not parts["sums"]
    assert not parts["weights"]
    assert growing_bytes(job, CHUNKS) < growing_bytes(JOB, CHUNKS)
    assert device_block_bytes(job, CHUNKS) > prod(block_extent(job, CHUNKS)) * 3 * 8 + 110_000_000


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_larger_batch_holds_more_outputs(batch_size: int) -> None:
    small = replace(JOB, batch_size=batch_size)
    large = replace(JOB, batch_size=batch_size + 1)
    assert block_parts(large, CHUNKS)["network"] > block_parts(small, CHUNKS)["network"]


def test_outputs_of_several_views_are_held_besides_their_sum() -> None:
    single = replace(JOB, num_views=1)
    patch_bytes = prod(JOB.patch) * JOB.num_classes * 4
    found, due = (block_parts(job, (64, 64, 64))["network"] for job in (single, JOB))
    assert found == JOB.activation_bytes - JOB.weight_bytes + 2 * patch_bytes
    assert due - found == patch_bytes


def test_what_a_network_takes_does_not_grow_with_blocks() -> None:
    hungry = replace(JOB, activation_bytes=10**10, weight_bytes=10**9, batch_size=8)
    for chunks in ((64, 64, 64), CHUNKS):
        assert growing_bytes(hungry, chunks) == growing_bytes(JOB, chunks)
        assert growing_bytes(JOB, chunks) > prod(block_extent(JOB, chunks)) * 3 * 8
    assert growing_bytes(JOB, CHUNKS) > 2 * growing_bytes(JOB, (64, 64, 64))


@pytest.mark.parametrize("chunks", [(6, 5, 8), (8, 8, 8), (4, 12, 20)])
def test_no_strip_is_larger_than_what_a_plan_says(chunks: tuple[int, int, int]) -> None:
    mirrored = PatchGrid((18, 20, 20), (7, 6, 5), 0.5, (False, True, False))
    grids = (PatchGrid((18, 20, 20), (7, 6, 5), 0.25), mirrored)
    job = replace(JOB, shape=(18, 20, 20), patch=(7, 6, 5), grids=grids)
    grid = ChunkGrid(job.shape, chunks)
    largest = 0
    for block in grid:
        for taker in grid:
            for patches in grids:
                starts = patches.owned(block.write)
                if starts and taker.index != block.index:
                    reach = patches.extent(starts)
                    sides = [
                        min(a.stop, b.stop) - max(a.start, b.start)
                        for a, b in zip(reach, taker.write, strict=True)
                    ]
                    largest = max(largest, prod(max(side, 0) for side in sides))
    assert largest <= strip_voxels(job, chunks) <= 2 * largest
