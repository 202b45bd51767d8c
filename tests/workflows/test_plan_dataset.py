"""Plans of datasets: heads read once, kinds planned once, broken inputs named."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from volproc.core.errors import ModelError
from volproc.workflows import plan_dataset as module
from volproc.workflows.plan import Rate
from volproc.workflows.plan_dataset import plan_dataset


@pytest.fixture
def make_tasks(make_task, tmp_path: Path):
    """Tasks for volumes of some shapes."""

    def make(*shapes: tuple[int, ...], **changes):
        for number, shape in enumerate(shapes):
            path = tmp_path / f"{number}.npy"
            np.save(path, np.zeros(shape, np.float32))
            yield make_task(address=str(path), output=str(tmp_path / f"{number}.zarr"), **changes)

    return make


def test_each_head_is_read_once_and_each_kind_planned_once(make_tasks, monkeypatch) -> None:
    heads, plans = Counter[str](), []
    inspect, plan_run = module.inspect, module.plan_run

    def read(address, **selection):
        heads[address] += 1
        return inspect(address, **selection)

    def plan(*args, **options):
        plans.append(args)
        return plan_run(*args, **options)

    monkeypatch.setattr(module, "inspect", read)
    monkeypatch.setattr(module, "plan_run", plan)
    shapes = [(9, 13, 11)] * 90 + [(8, 13, 11)] * 3
    found = plan_dataset(make_tasks(*shapes))
    assert len(heads) == 93
    assert set(heads.values()) == {1}
    assert len(plans) == 2
    assert [kind.num_volumes for kind in found.kinds] == [90, 3]
    assert found.is_possible


def test_inputs_are_read_a_bounded_number_ahead(make_tasks, monkeypatch) -> None:
    taken, ended = [], []
    monkeypatch.setattr(module, "_read_head", lambda task: ended.append(task) or OSError("no"))

    def tasks():
        for task in make_tasks(*[(9, 13, 11)] * 60):
            taken.append(task)
            assert len(taken) - len(ended) <= 8 + 1
            yield task

    found = plan_dataset(tasks(), num_threads=2)
    assert found.num_broken == found.num_volumes == len(taken) == 60
    assert len(found.broken) == module.SHOWN


def test_broken_and_impossible_inputs_are_named_and_the_others_planned(
    make_tasks, make_task, tmp_path
) -> None:
    (tmp_path / "broken.npy").write_bytes(b"no array")
    tasks = [
        *make_tasks((9, 13, 11), (3, 13, 11), (13, 11)),
        make_task(address=str(tmp_path / "broken.npy")),
        make_task(address=str(tmp_path / "missing.npy")),
    ]
    found = plan_dataset(tasks)
    assert not found.is_possible
    assert found.num_volumes == 5
    text = found.explain()
    assert "5 volumes of 2 kinds, 3 of them broken" in text
    assert "smaller than one patch" in text
    assert "cannot be done" in text
    for name in ("broken.npy", "missing.npy", "2.npy"):
        assert f"{name}: " in text


def test_sums_count_every_volume(make_tasks) -> None:
    found = plan_dataset(make_tasks(*[(9, 13, 11)] * 5, (8, 13, 11)), num_workers=2)
    large, small = (kind.plan for kind in found.kinds)
    text = found.explain(Rate(pass_s=3.0, voxel_s=0.0, num_blocks=2))
    passes = 5 * large.plan.num_passes + small.plan.num_passes
    assert f"{passes} passes, {5 * large.num_tasks + small.num_tasks} tasks" in text
    assert f"about {passes * 3 / 2 / 60:.0f} minutes with 2 workers" in text
    assert "hours" not in found.explain()
    assert found.largest is found.kinds[0]


def test_a_model_that_is_none_is_an_error_at_once(make_tasks, tmp_path) -> None:
    (tmp_path / "model.pt").write_bytes(b"none")
    with pytest.raises(ModelError):
        plan_dataset(make_tasks((9, 13, 11), model=str(tmp_path / "model.pt")))


def test_no_inputs_make_an_empty_plan() -> None:
    assert plan_dataset([]).explain() == "inputs    0 volumes of 0 kinds"
