"""A worker that was given up does not write over the work of the next."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from volproc.core.errors import ResumeError
from volproc.core.events import Event
from volproc.core.executor import SerialExecutor
from volproc.io.open import open_
from volproc.workflows.dataset_work import Began, TaskIndex, WholeWork, model_digest, run_task
from volproc.workflows.segment import SegmentTask, segment
from volproc.workflows.sole_worker import sole_worker


def call_for_ever(check: Callable[[], None]) -> None:
    """Call until it raises, but not without end."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        check()
    raise AssertionError("nobody took over")


def test_who_was_given_up_is_told_and_the_next_waits_for_its_end(tmp_path: Path) -> None:
    output = str(tmp_path / "a.zarr")
    is_second, order = threading.Event(), []

    def second() -> None:
        is_second.set()
        with sole_worker(output) as check:
            order.append("second")
            check()

    with sole_worker(output) as check:
        check()
        other = threading.Thread(target=second)
        other.start()
        is_second.wait()
        with pytest.raises(ResumeError, match="taken over by another worker"):
            call_for_ever(check)
        order.append("first")
    other.join()
    assert order == ["first", "second"]
    assert list(tmp_path.iterdir()) == []


def test_one_that_does_not_end_is_not_waited_for_without_end(tmp_path: Path) -> None:
    output = str(tmp_path / "a.zarr")
    with (
        sole_worker(output),
        pytest.raises(ResumeError, match=r"does not end, waited 0\.2 s"),
        sole_worker(output, wait_s=0.2),
    ):
        pass


def test_a_volume_is_whole_when_two_workers_have_it(
    make_task: Callable[..., SegmentTask], tmp_path: Path
) -> None:
    """The first is stopped in the middle, and goes on when the second has begun."""
    task = make_task()
    began = Began({task.model_name: model_digest(task)})
    work, index = WholeWork(2**27, began), TaskIndex.of(0, task)
    outcomes: list[object] = []
    second = threading.Thread(target=lambda: outcomes.append(work(index)))

    def watch(check: Callable[[], None], event: Event) -> None:
        if event.kind == "block" and event.block == (1, 0, 0):
            second.start()
            call_for_ever(check)
        check()

    with (
        pytest.raises(ResumeError, match="taken over"),
        sole_worker(task.output) as check,
    ):
        run_task(task, began, executor=SerialExecutor(), observe=lambda event: watch(check, event))
    second.join()
    assert outcomes[0]["status"] == "done"
    alone = segment(replace(task, output=str(tmp_path / "alone.zarr")))
    np.testing.assert_array_equal(
        open_(task.output).data.compute(), open_(alone.output).data.compute()
    )
    assert not list(tmp_path.glob(".*"))


def test_what_this_run_has_finished_is_not_refused_when_it_is_asked_for_again(
    make_task: Callable[..., SegmentTask],
) -> None:
    task = make_task(overwrite=True)
    began = Began({task.model_name: model_digest(task)})
    work, index = WholeWork(2**27, began), TaskIndex.of(0, task)
    assert [work(index)["status"], work(index)["status"]] == ["done", "skipped"]
    later = Began(began.models, Path(f"{task.output}.json").stat().st_mtime_ns + 1)
    assert WholeWork(2**27, later)(index)["status"] == "done"
