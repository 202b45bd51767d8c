"""Datasets in worker processes: whole volumes, cut volumes, and workers that die."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from distributed import Worker, WorkerPlugin

from volproc.core.events import Event
from volproc.graph.predict import Settings
from volproc.io.open import open_
from volproc.workflows import dataset, dataset_work
from volproc.workflows import segment as segment_module
from volproc.workflows.dataset import run_dataset
from volproc.workflows.particle_task import LocalizeTask
from volproc.workflows.segment import SegmentTask, segment

# Workers cannot import a test module: what they get of it travels whole.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

SHAPE = (9, 13, 11)


@pytest.fixture
def tasks(tmp_path: Path, model: str) -> list[SegmentTask]:
    """Five volumes of distinct voxels, into files that one process only may write."""
    (tmp_path / "in").mkdir()
    found = []
    for number in range(5):
        path = tmp_path / "in" / f"TS_{number}.npy"
        np.save(path, np.random.default_rng(number).normal(40, 9, SHAPE).astype(np.float32))
        output = str(tmp_path / "out" / f"TS_{number}.h5:/classes")
        found.append(SegmentTask(str(path), output, model, Settings(overlap=0.5), 10.0))
    return found


def check_maps(tasks: list[SegmentTask], folder: Path) -> None:
    """Compare the outputs with those of runs one by one in this process."""
    folder.mkdir()
    for task in tasks:
        report = segment(replace(task, output=str(folder / "one.zarr"), overwrite=True))
        alone, found = open_(report.output).data.compute(), open_(task.output).data.compute()
        np.testing.assert_array_equal(found, alone)


def test_small_volumes_are_done_whole_by_workers_in_any_format(processes, tasks, tmp_path) -> None:
    Path(tasks[3].address).write_bytes(b"broken")
    events: list[Event] = []
    report = run_dataset(tasks, executor=processes, observe=events.append)
    statuses = [entry.status for entry in report.entries]
    assert statuses == ["done", "done", "done", "failed", "done"]
    assert "in block" not in report.entries[3].error
    assert {e.kind for e in events} == {"dataset", "tomogram", "done"}
    check_maps([t for n, t in enumerate(tasks) if n != 3], tmp_path / "alone")
    again = run_dataset(tasks, executor=processes)
    assert [entry.status for entry in again.entries].count("skipped") == 4


def test_large_volumes_are_cut_over_all_workers(processes, tasks, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(dataset, "SMALL_VOXELS", 1000)
    tasks = [
        replace(task, output=str(tmp_path / "out" / f"{number}.zarr"), chunks=(4, 7, 6))
        for number, task in enumerate(tasks)
    ]
    small = np.random.default_rng(8).normal(40, 9, (9, 10, 10)).astype(np.float32)
    np.save(tasks[1].address, small)
    events: list[Event] = []
    report = run_dataset(tasks[:3], executor=processes, observe=events.append)
    assert report.counts["done"] == 3
    blocks = [e.volume for e in events if e.kind == "block" and e.stage == "predict"]
    assert {name: blocks.count(name) for name in set(blocks)} == {"TS_0": 12, "TS_2": 12}
    ended = [e.volume for e in events if e.kind == "tomogram"]
    assert ended == ["TS_1", "TS_0", "TS_2"], "the small one first, while the others wait"
    check_maps(tasks[:3], tmp_path / "alone")


def test_picks_are_found_by_workers(processes, tmp_path) -> None:
    z, y, x = np.ogrid[:20, :24, :28]
    tasks = []
    for number in range(3):
        ball = (z - 9) ** 2 + (y - 11) ** 2 + (x - 10 - number) ** 2 <= 16
        path = tmp_path / f"TS_{number}_classes.npy"
        np.save(path, ball.astype(np.uint8))
        output = str(tmp_path / "picks" / f"TS_{number}.csv")
        tasks.append(LocalizeTask(str(path), output, {"ball": 40.0}, {"ball": 1}, voxel_size=10.0))
    report = run_dataset(tasks, executor=processes)
    assert report.counts["done"] == 3
    assert json.loads(Path(f"{tasks[2].output}.json").read_text())["counts"] == {"ball": 1}


class Deadly(WorkerPlugin):
    """Makes each worker die on volumes of one name, also those that are started again."""

    name = "deadly"

    def __init__(self, victim: str) -> None:
        self.victim = victim

    def setup(self, worker: Worker) -> None:
        original = segment_module.segment

        def segment(task: SegmentTask, **how: object) -> object:
            if Path(task.address).stem == self.victim:
                os._exit(1)
            return original(task, **how)

        segment_module.segment = segment


@pytest.mark.slow
def test_a_volume_that_takes_workers_down_fails_alone(processes, tasks, tmp_path) -> None:
    victim = replace(tasks[1], address=str(tmp_path / "in" / "deadly.npy"))
    Path(tasks[1].address).rename(victim.address)
    processes.client.register_plugin(Deadly("deadly"))
    events: list[Event] = []
    report = run_dataset([tasks[0], victim, tasks[2]], executor=processes, observe=events.append)
    first, second, third = (entry.status for entry in report.entries)
    # A worker that dies may take with it that another volume was done: then that is found done.
    assert {first, third} <= {"done", "skipped"}, report.entries
    assert second == "failed"
    assert "worker" in report.entries[1].error
    assert "deadly" in report.entries[1].error
    assert any(e.kind == "retry" and e.volume == "deadly" for e in events)
    check_maps([tasks[0], tasks[2]], tmp_path / "alone")


def test_work_that_takes_a_workers_memory_is_cut_instead() -> None:
    work = dataset_work.WholeWork(1000, dataset_work.Began({}))
    smaller = work.smaller()
    assert smaller is not None
    assert smaller.max_voxels == 0
    assert smaller.smaller() is None
