"""Cuts follow from memory, and say what they take."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import pytest

from volproc.core.errors import ConfigError, PlanError
from volproc.core.model import ModelSpec
from volproc.graph.cut_tiles import (
    MOST_BYTES,
    describe_tiles,
    halo_tiles,
    planned_bytes,
    process_bytes,
    tile_work,
)
from volproc.models.cryosiam_flow import plan_flow
from volproc.models.cryosiam_networks import SEMANTIC
from volproc.models.streaming import demand, sizes_along
from volproc.plan.tiles import HaloTiles, QuarterTiles, iterate_tiles

PUBLISHED: dict[str, Any] = {
    "num_layers": [1, 1, 1, 1], "num_filters": [64, 128, 256, 512], "fpn_channels": 128,
    "projector": [128, 128, 64], "activation": "softmax",
}  # fmt: skip
SPEC = ModelSpec(SEMANTIC, "", (128,) * 3, tuple(f"class-{i}" for i in range(14)), PUBLISHED)
TOMOGRAM = (464, 960, 928)
CRYOSIAM = 9.13
"""Voxels through the network a voxel of that tomogram in CryoSiam's 1800 patches."""


def test_a_large_tomogram_takes_less_than_3_gb_and_two_fifths_of_the_work() -> None:
    tiles = halo_tiles(SPEC, TOMOGRAM, memory_bytes=10**12, device="cpu", has_outputs=False)
    assert process_bytes(SPEC, tiles, on_device=False, has_outputs=False) < 3e9
    work = tile_work(SPEC, tiles)
    assert work.part < 0.2 * CRYOSIAM
    assert max(work.levels) < 0.2 * CRYOSIAM
    assert len(work.levels) == 4
    text = describe_tiles(SPEC, tiles, on_device=False, has_outputs=False)
    assert f"{prod(tiles.numblocks)} tiles, {work.part:.2f} times the network's work" in text
    assert "GB of memory a process" in text
    all_outputs = halo_tiles(SPEC, TOMOGRAM, memory_bytes=10**12, device="cpu")
    assert process_bytes(SPEC, all_outputs, on_device=False) < 3e9
    assert tile_work(SPEC, all_outputs).part < 0.4 * CRYOSIAM


@pytest.mark.parametrize("memory", [400_000_000, 900_000_000])
@pytest.mark.parametrize("has_outputs", [False, True])
def test_less_memory_makes_smaller_tiles(memory: int, has_outputs: bool) -> None:
    tiles = halo_tiles(SPEC, TOMOGRAM, memory_bytes=memory, device="cpu", has_outputs=has_outputs)
    planned = planned_bytes(SPEC, tiles, on_device=False, has_outputs=has_outputs)
    assert sum(planned) <= memory
    free = halo_tiles(
        SPEC, TOMOGRAM, memory_bytes=MOST_BYTES, device="cpu", has_outputs=has_outputs
    )
    assert prod(tiles.core) < prod(free.core)
    assert tile_work(SPEC, tiles).part > tile_work(SPEC, free).part


def test_what_does_not_fit_is_refused_with_both_numbers() -> None:
    with pytest.raises(PlanError, match=r"needs 2\d\d MB, and 1 kB may be used"):
        halo_tiles(SPEC, TOMOGRAM, memory_bytes=1000, device="cpu")
    with pytest.raises(PlanError, match=r"a tile of \(464, 960, 928\) .* needs .* GB, and 2 GB"):
        halo_tiles(SPEC, TOMOGRAM, memory_bytes=2 * 10**9, device="cpu", core=960)
    with pytest.raises(ConfigError, match="got a core of 0"):
        halo_tiles(SPEC, TOMOGRAM, memory_bytes=10**10, core=0)


def test_a_core_that_is_given_is_taken() -> None:
    tiles = halo_tiles(SPEC, (100, 200, 70), memory_bytes=10**10, device="cpu", core=50)
    assert tiles.core == (56, 56, 40)
    assert tiles.halo == 48


@pytest.mark.parametrize("length", [96, 97, 103, 250])
def test_what_is_read_lies_within_the_halo(length: int) -> None:
    tiles = HaloTiles((length,), (16,), 48, 8)
    flow = plan_flow(SPEC)
    sizes = sizes_along(flow, length)
    for index in iterate_tiles(tiles):
        (read,), (keep,) = tiles[index]
        first, stop = demand(flow, sizes, (keep.start, keep.stop))[0]
        assert read.start <= first < stop <= read.stop


def test_one_tile_does_the_work_once() -> None:
    tiles = HaloTiles((60, 50, 90), (64, 56, 96), 48, 8)
    work = tile_work(SPEC, tiles)
    assert work.part == 1
    assert set(work.levels) == {1}
    assert tile_work(SPEC, replace(tiles, core=(64, 56, 48))).part > 1.2


def test_patches_of_cryosiam_are_planned_as_they_are_run() -> None:
    tiles = QuarterTiles(TOMOGRAM, (128,) * 3)
    network, host = planned_bytes(SPEC, tiles, on_device=False)
    assert network > 2 * 4 * 3 * 128 * 128**3  # batches of two, 128 channels at full size
    assert process_bytes(SPEC, tiles, on_device=False) > network + host
    text = describe_tiles(SPEC, tiles, on_device=True)
    assert "7.46 voxels through the network a voxel" in text
    assert "of the GPU and" in text
