"""Plans: what they say, what they refuse, and that they cost nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import ceil, prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import PlanError, ShapeError
from volproc.core.types import Region
from volproc.plan.block_memory import BASE_BYTES, block_extent, class_bytes
from volproc.plan.blocks import ChunkGrid
from volproc.plan.inference import MANY_BLOCKS, WRITE_MULTIPLE, Plan, make_plan
from volproc.plan.job import Job
from volproc.plan.patches import PatchGrid
from volproc.plan.wavefront import run_time

JOB = Job(
    shape=(300, 500, 400),
    itemsize=4,
    storage_chunks=(1, 500, 400),
    patch=(64, 64, 64),
    overlap=0.25,
    num_views=4,
    num_classes=3,
    batch_size=2,
    probability_bytes=2,
    activation_bytes=10_000_000,
)


@st.composite
def small_plans(draw: st.DrawFn) -> Plan:
    def triple(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(3))

    job = Job(
        shape=triple(1, 12),
        itemsize=2,
        storage_chunks=triple(1, 6),
        patch=triple(1, 7),
        overlap=draw(st.sampled_from([0.0, 0.25, 0.5])),
        num_views=1,
        num_classes=2,
        pad=True,
    )
    if draw(st.booleans()):
        mirrored = tuple(draw(st.booleans()) for _ in range(3))
        other = PatchGrid(job.shape, triple(1, 7), draw(st.sampled_from([0.0, 0.5])), mirrored)
        job = replace(job, grids=(*job.patch_grids, other))
    return Plan(job, triple(1, 12))


def reach(plan: Plan, region: Region) -> Region | None:
    """Region that the patches of all grids cover that start in a block; None if there are none."""
    found = [(grid, grid.owned(region)) for grid in plan.job.patch_grids]
    parts = [grid.extent(owned) for grid, owned in found if owned]
    if not parts:
        return None
    return tuple(
        slice(min(s.start for s in axis), max(s.stop for s in axis))
        for axis in zip(*parts, strict=True)
    )


def decoded(plan: Plan) -> int:
    """Voxels of the storage chunks that each block touches, counted one by one."""
    total = 0
    for block in plan.grid:
        extent = reach(plan, block.write)
        if extent:
            sides = [
                {v // c for v in range(s.start, s.stop)}
                for s, c in zip(extent, plan.job.storage_chunks, strict=True)
            ]
            for chunk in product(*sides):
                total += prod(
                    min((i + 1) * c, n) - i * c
                    for i, c, n in zip(chunk, plan.job.storage_chunks, plan.job.shape, strict=True)
                )
    return total


@given(small_plans())
def test_bytes_read_are_those_of_all_storage_chunks_that_blocks_touch(plan: Plan) -> None:
    touched = decoded(plan)
    if len(plan.job.patch_grids) == 1:
        assert plan.read_bytes == touched * plan.job.itemsize
        assert plan.read_ratio == touched / prod(plan.job.shape)
    else:
        assert plan.read_bytes >= touched * plan.job.itemsize


@given(small_plans())
def test_the_extent_holds_every_block_with_its_patches(plan: Plan) -> None:
    largest = [0, 0, 0]
    for block in plan.grid:
        region = reach(plan, block.write) or block.write
        for axis, (a, b) in enumerate(zip(region, block.write, strict=True)):
            span = max(a.stop, b.stop) - min(a.start, b.start)
            largest[axis] = max(largest[axis], span)
    assert block_extent(plan.job, plan.chunks) == tuple(largest)


def test_a_plan_counts_patches_views_and_outputs() -> None:
    plan = make_plan(JOB)
    per_axis = [ceil((n - 64) / 48) + 1 for n in JOB.shape]
    assert len(plan.patches) == prod(per_axis)
    assert plan.num_passes == 4 * prod(per_axis)
    assert plan.output_bytes == prod(JOB.shape) * (1 + 3 * 2)


def test_a_plan_counts_the_patches_of_every_grid_and_says_them() -> None:
    own = PatchGrid(JOB.shape, (64, 64, 64), 0.5)
    turned = PatchGrid(JOB.shape, (64, 64, 64), 0.5, (False, True, False))
    wide = PatchGrid(JOB.shape, (96, 96, 96), 0.5)
    far = PatchGrid(JOB.shape, (96, 96, 96), 0.5, (False, True, False))
    grids = (own, turned, wide, far)
    plan = make_plan(replace(JOB, num_views=1, overlap=0.5, grids=grids, num_models=2))
    assert plan.num_passes == 2 * len(own) + 2 * len(wide)
    said = f"2 grids of {len(own)} of 64 × 64 × 64, 2 grids of {len(wide)} of 96 × 96 × 96"
    assert f"{said}, overlap 0.5, 2 views of each of 2 models" in plan.explain()


def test_grids_that_are_completed_apart_take_memory_and_blocks_get_smaller() -> None:
    plain = make_plan(JOB)
    apart = make_plan(replace(JOB, kept_bytes=8 * JOB.num_classes * 4, map_bytes=2))
    assert prod(apart.chunks) < prod(plain.chunks)
    assert apart.host_parts["kept"] == prod(apart.chunks) * 8 * JOB.num_classes * 4
    assert apart.output_bytes == plain.output_bytes + 2 * prod(JOB.shape)


def test_a_plan_explains_itself_with_its_own_numbers() -> None:
    plan = make_plan(JOB, chunks=(128, 128, 128), host_limit=4_000_000_000)
    text = plan.explain()
    for part in (
        "300 × 500 × 400 voxels, 240 MB",
        f"{len(plan.grid)} (3 × 4 × 4) of 128 × 128 × 128",
        f"{len(plan.patches)} of 64 × 64 × 64, overlap 0.25, 4 views: {plan.num_passes} passes",
        f"{plan.read_ratio:.2f} times the volume",
        "peak per worker on the host of 4 GB",
        "420 MB before compression, 3 classes, with probabilities",
    ):
        assert part in text, text
    assert "device" not in text
    assert "peak per worker on the device of 2 GB" in (
        make_plan(replace(JOB, on_device=True), device_limit=2_000_000_000).explain()
    )


def test_what_does_not_fit_into_memory_is_refused_with_both_numbers() -> None:
    plan = make_plan(JOB, chunks=(300, 500, 400), host_limit=1_000_000_000)
    need = plan.host_bytes / 1e9
    with pytest.raises(PlanError, match=rf"needs {need:.3g} GB on the host, a worker has 1 GB"):
        plan.validate()


def test_what_does_not_fit_on_the_device_is_refused_with_both_numbers() -> None:
    job = replace(JOB, on_device=True)
    plan = make_plan(job, chunks=(300, 500, 400), device_limit=1_000_000_000)
    need = plan.device_bytes / 1e9
    with pytest.raises(PlanError, match=rf"needs {need:.3g} GB on the device, a worker has 1 GB"):
        plan.validate()


def test_a_volume_smaller_than_a_patch_is_refused_unless_padded() -> None:
    job = replace(JOB, shape=(300, 60, 63))
    with pytest.raises(ShapeError, match=r"300 × 60 × 63 voxels, .* 64 × 64 × 64, along y, x.*pad"):
        make_plan(job).validate()
    make_plan(replace(job, pad=True)).validate()


@pytest.mark.parametrize("limit", [None, BASE_BYTES + 450_000_000, 2 * BASE_BYTES, 3 * BASE_BYTES])
def test_chosen_blocks_fit_and_are_multiples_of_what_is_written(limit: int | None) -> None:
    plan = make_plan(JOB, host_limit=limit)
    plan.validate()
    for chunk, size in zip(plan.chunks, JOB.shape, strict=True):
        assert chunk % WRITE_MULTIPLE == 0
        assert chunk < size + WRITE_MULTIPLE


def test_more_memory_gives_larger_blocks_that_read_less() -> None:
    small = make_plan(JOB, host_limit=BASE_BYTES + 450_000_000)
    large = make_plan(JOB, host_limit=4_000_000_000)
    assert prod(small.chunks) < prod(large.chunks)
    assert small.read_ratio > large.read_ratio


def test_a_hungry_network_does_not_shrink_blocks_that_memory_would_hold() -> None:
    hungry = replace(JOB, activation_bytes=3_000_000_000)
    assert make_plan(hungry).chunks == make_plan(JOB).chunks
    assert make_plan(hungry, host_limit=20_000_000_000).chunks == make_plan(JOB).chunks


def test_peak_memory_does_not_grow_when_z_doubles() -> None:
    job = replace(JOB, shape=(512, 1024, 1024), storage_chunks=(1, 1024, 1024))
    single = make_plan(job)
    double = make_plan(replace(job, shape=(1024, 1024, 1024)))
    assert double.chunks == single.chunks
    assert double.host_bytes == single.host_bytes
    assert double.scratch_bytes == single.scratch_bytes


def test_blocks_of_a_huge_volume_grow_until_there_are_not_too_many() -> None:
    huge = replace(JOB, shape=(10_240,) * 3, storage_chunks=(128,) * 3, num_classes=6)
    small = make_plan(huge, host_limit=1_850_000_000)
    large = make_plan(huge, host_limit=16_000_000_000)
    assert len(small.grid) > MANY_BLOCKS >= len(large.grid)
    assert large.scratch_bytes < small.scratch_bytes
    large.validate()
    # Nobody knows what a worker has: blocks stay as small as ever.
    assert make_plan(huge).chunks == make_plan(replace(huge, shape=(1024,) * 3)).chunks


def test_scratch_holds_a_layer_of_strips_along_z_and_a_row_of_the_others() -> None:
    plan = make_plan(replace(JOB, shape=(640,) * 3), chunks=(128, 128, 128))
    (ez, ey, ex), sides, bytes_a_voxel = plan.extent, 5, 3 * 8
    thinnest = (ez - 128) * 128 * 128 * sides**2 * bytes_a_voxel
    assert thinnest < plan.scratch_bytes
    assert plan.scratch_bytes < 2 * (ez * ey * ex - 128**3) * sides**2 * bytes_a_voxel
    assert make_plan(JOB, chunks=(300, 500, 400)).scratch_bytes == 0


def test_planning_visits_no_block(monkeypatch: pytest.MonkeyPatch) -> None:
    visits: list[object] = []
    monkeypatch.setattr(ChunkGrid, "__getitem__", lambda grid, index: visits.append(index))
    monkeypatch.setattr(ChunkGrid, "indices", lambda grid: visits.append(grid))
    job = replace(JOB, shape=(4000, 4000, 4000), storage_chunks=(64, 64, 64))
    plan = make_plan(job, chunks=(128, 128, 128))
    plan.validate()
    assert plan.explain()
    assert len(plan.grid) == 32**3
    assert visits == []


@pytest.mark.parametrize(("num_classes", "expected"), [(2, 1), (256, 1), (257, 2)])
def test_class_maps_take_the_smallest_type_that_holds_them(num_classes, expected) -> None:
    assert class_bytes(num_classes) == expected


def test_blocks_stay_small_enough_for_all_workers_to_be_busy() -> None:
    # Two blocks along y, one of them with nearly all patches: a second worker would have nothing
    # to do.
    job = replace(JOB, shape=(128, 192, 256), patch=(48, 48, 48), num_views=1)
    alone, shared = make_plan(job, min_blocks=6), make_plan(job, min_blocks=6, num_workers=2)
    num_patches = len(job.patch_grids[0])
    assert run_time(job.patch_grids, alone.grid, 2) > num_patches / 1.5
    assert run_time(job.patch_grids, shared.grid, 2) < num_patches / 1.7
    # Many workers have done soonest with the smallest blocks, however few those are.
    assert make_plan(job, num_workers=64).chunks == (WRITE_MULTIPLE,) * 3
    # A volume of very many blocks is cut for several workers as it is for one.
    large = replace(JOB, shape=(1000, 3000, 3000))
    assert make_plan(large, num_workers=2).chunks == make_plan(large).chunks
    huge = replace(JOB, shape=(3000, 3000, 3000))
    assert MANY_BLOCKS / 3 < len(make_plan(huge, num_workers=5000).grid) <= MANY_BLOCKS
    on_device = replace(job, on_device=True)
    wanted = make_plan(on_device, min_blocks=6).chunks
    assert make_plan(on_device, min_blocks=6, num_workers=2).chunks == wanted
