"""Plans of runs: tasks, bytes, time, and what is planned without a file."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest

from volproc.core.errors import ConfigError, PlanError
from volproc.core.executor import SerialExecutor
from volproc.graph.predict import Settings
from volproc.workflows.calibrate import MAX_SHAPES, calibrate, choose_blocks
from volproc.workflows.plan import Head, Rate, SegmentPlan, plan_head, plan_run
from volproc.workflows.segment import plan_segment, segment

HUGE = Head((10_240,) * 3, np.dtype(np.float32), (128,) * 3, (128,) * 3)


@pytest.fixture
def plan_huge(make_task):
    """Plan for a volume that does not exist."""

    def plan(**changes) -> SegmentPlan:
        task = make_task(chunks=None, host_limit=16_000_000_000, **changes)
        return plan_run(task, task.read_models(), HUGE, num_workers=4)

    return plan


def test_a_terabyte_is_planned_without_it(plan_huge, listing) -> None:
    found = plan_huge()
    found.validate()
    text = found.explain()
    for part in ("10240 × 10240 × 10240 voxels, 4.29 TB", "libraries 740 MB", "one wave", "--cal"):
        assert part in text
    assert len(found.plan.grid) <= 100_000
    assert listing() == {}


class Counting(SerialExecutor):
    def __init__(self) -> None:
        super().__init__()
        self.keys: list[str] = []

    def submit(self, key, function, *args) -> None:
        self.keys.append(key)
        super().submit(key, function, *args)


def test_the_tasks_are_those_that_a_run_submits(make_task) -> None:
    executor = Counting()
    found = plan_segment(make_task())
    segment(make_task(), executor=executor)
    stages = ("statistics", "predict")
    assert found.num_tasks == len([key for key in executor.keys if key.startswith(stages)])


def test_what_statistics_read_is_counted(make_task) -> None:
    task = make_task()
    spec = replace(task.read_models()[0], normalization="percentile")
    head = Head.of(task.open())
    one = plan_run(task, task.read_models(), head)
    three = plan_run(task, spec, head)
    assert three.read_bytes - one.read_bytes == 2 * prod(head.shape) * 4
    assert three.num_tasks == one.num_tasks + 2


def test_time_is_said_only_where_it_was_measured(plan_huge) -> None:
    found = plan_huge()
    rate = Rate(pass_s=0.001, voxel_s=1e-9, num_blocks=3)
    work = found.plan.num_passes * 0.001 + prod(HUGE.shape) * 1e-9
    assert found.work_s(rate) == pytest.approx(work)
    assert found.duration_s(rate) == pytest.approx(work / 4, rel=1e-3)
    assert "hours" not in found.explain()
    assert f"about {work / 4 / 3600:.0f} hours with 4 workers" in found.explain(rate)


def test_few_blocks_leave_workers_idle(make_task) -> None:
    task = make_task()  # of 12 blocks
    found = plan_run(task, task.read_models(), Head.of(task.open()), num_workers=8)
    rate = Rate(1.0, 0.0, 1)
    assert found.duration_s(rate) == pytest.approx(found.plan.num_passes * 2 / 12)


def test_unknown_probabilities_are_refused(make_task) -> None:
    task = make_task(probabilities="float64")
    with pytest.raises(ConfigError, match=r'"float64". Choose one of none, float16, uint8'):
        plan_head(task, task.read_models(), HUGE)


def test_a_few_blocks_of_distinct_shapes_are_measured(make_task, listing) -> None:
    settings = Settings(overlap=0.5, tta="rot4")
    task = make_task(probabilities="uint8", settings=settings, chunks=(2, 4, 3))
    found = plan_segment(task)
    rate = calibrate(task, found)
    assert 0 < rate.pass_s < 10
    assert 0 < rate.voxel_s < 1
    assert rate.num_blocks == MAX_SHAPES
    assert listing() == {}, "what was written meanwhile is gone"


def test_blocks_of_distinct_shapes_are_chosen_though_they_wait_for_others(make_task) -> None:
    task = make_task(chunks=(2, 4, 3))
    found = plan_segment(task)
    chosen = choose_blocks(found.plan, 1)
    # At least one of them would wait for others in a run.
    assert any(found.plan.patches.neighbours(found.plan.grid, index)[0] for index in chosen)
    owned = [found.plan.patches.owned(found.plan.grid[index].write) for index in chosen]
    assert len(set(map(len, owned))) > 1
    assert all(owned)


def test_more_workers_get_more_blocks(make_task) -> None:
    plan = plan_segment(make_task(chunks=(2, 4, 3))).plan
    assert len(set(choose_blocks(plan, 6))) == 6
    assert len(choose_blocks(plan, 1000)) == 3 * 2 * 2, "all that patches start in"


def test_choosing_blocks_of_a_huge_volume_looks_at_none(plan_huge, monkeypatch) -> None:
    plan = plan_huge().plan
    monkeypatch.setattr(type(plan.grid), "indices", lambda grid: pytest.fail("all were listed"))
    chosen = choose_blocks(plan, 1)
    assert len(chosen) <= MAX_SHAPES
    middle = [n // 2 for n in plan.grid.numblocks]
    assert any(all(abs(i - m) < m / 2 for i, m in zip(c, middle, strict=True)) for c in chosen)


def test_what_does_not_fit_is_not_measured(make_task, listing) -> None:
    task = make_task(host_limit=10**8)
    with pytest.raises(PlanError, match="a worker has 100 MB"):
        calibrate(task, plan_segment(task))
    assert listing() == {}


def test_a_place_that_is_not_there_is_named(make_task, tmp_path) -> None:
    task = make_task(output=str(tmp_path / "nowhere" / "classes.zarr"))
    with pytest.raises(ConfigError, match="nowhere, where the output goes, is not there"):
        calibrate(task, plan_segment(task))
