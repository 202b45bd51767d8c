"""Segmentations that broke off or were killed: what is done is not done again, nor trusted."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from volproc.core.errors import (
    ResumeError,
)
from volproc.core.events import Event
from volproc.graph.predict import Settings
from volproc.io.open import open_
from volproc.workflows.record import work_path
from volproc.workflows.segment import SegmentTask, segment

CHUNKS = (4, 7, 6)
NUM_BLOCKS = 3 * 2 * 2


class FailingBlocks:
    """Makes the work of some blocks fail, as a full disk would, and counts the others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        from volproc.graph import block_predict

        self.done: list[tuple[int, ...]] = []
        self.after = after
        original = block_predict.predict_block

        def work(job: Any, scaling: Any, index: tuple[int, ...]) -> Any:
            if len(self.done) == self.after:
                raise OSError("disk full")
            result = original(job, scaling, index)
            self.done.append(index)
            return result

        monkeypatch.setattr(block_predict, "predict_block", work)


@pytest.mark.parametrize("name", ["classes.zarr", "classes.mrc", "classes.h5"])
def test_a_run_that_broke_off_goes_on_where_it_stopped(
    address, model, tmp_path, monkeypatch, name, make_task, lazy
) -> None:
    task = make_task(output=str(tmp_path / name), probabilities="float16")
    blocks = FailingBlocks(monkeypatch, after=5)
    with pytest.raises(OSError, match="disk full"):
        segment(task)
    assert not (tmp_path / name).exists()
    first, blocks.after = list(blocks.done), -1
    events: list[Event] = []
    report = segment(task, observe=events.append)
    assert report.num_skipped == len(first) == 5
    assert len(blocks.done) == NUM_BLOCKS == len(set(blocks.done))
    assert sum(e.kind == "skip" for e in events) == 5
    assert not any(e.stage == "statistics" for e in events), "they are found once a run"
    expected = lazy(address, model, "classes", task.settings)
    np.testing.assert_array_equal(open_(report.output, voxel_size=10.0).data.compute(), expected)
    probabilities = lazy(address, model, "probabilities", task.settings)
    for number in range(3):
        found = open_(report.probabilities, c=number).data.compute()
        np.testing.assert_array_equal(found, probabilities[number])
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [name, f"{name}.json", "classes_probabilities.zarr"]
    )


@pytest.fixture
def unfinished(monkeypatch, make_task) -> SegmentTask:
    """A task whose run broke off after five blocks."""
    task = make_task(probabilities="float16")
    with monkeypatch.context() as patch:
        FailingBlocks(patch, after=5)
        with pytest.raises(OSError, match="disk full"):
            segment(task)
    return task


def test_other_settings_do_not_go_on_with_an_unfinished_run(unfinished, listing) -> None:
    before = listing()
    with pytest.raises(ResumeError, match=r"settings\.overlap was 0\.5, is 0\.25\. .*--overwrite"):
        segment(replace(unfinished, settings=Settings(overlap=0.25)))
    assert listing() == before


def test_another_input_does_not_go_on_with_an_unfinished_run(unfinished, tmp_path) -> None:
    np.save(tmp_path / "other.npy", np.zeros((9, 13, 11), np.float32))
    with pytest.raises(ResumeError, match=r"input was .*--overwrite"):
        segment(replace(unfinished, address=str(tmp_path / "other.npy")))


def test_overwriting_throws_a_run_that_was_begun_otherwise_away(
    unfinished, address, model, lazy
) -> None:
    other = replace(unfinished, settings=Settings(overlap=0.25), overwrite=True)
    report = segment(other)
    assert report.num_skipped == 0
    expected = lazy(address, model, "classes", other.settings)
    np.testing.assert_array_equal(open_(report.output).data.compute(), expected)


def test_overwriting_goes_on_with_a_run_of_its_own(unfinished, check_outputs) -> None:
    report = segment(replace(unfinished, overwrite=True))
    assert report.num_skipped == 5
    check_outputs(report, unfinished.settings)


def test_an_unfinished_run_keeps_its_blocks_whatever_memory_there_is(
    unfinished, check_outputs
) -> None:
    report = segment(replace(unfinished, chunks=None, host_limit=3_000_000_000))
    assert report.plan.chunks == CHUNKS
    assert report.num_skipped == 5
    check_outputs(report, unfinished.settings)


def test_a_damaged_marker_is_done_again(unfinished, check_outputs) -> None:
    marker = sorted(work_path(unfinished.output).glob("predict/*/*.json"))[1]
    marker.write_text("{")
    report = segment(unfinished)
    assert report.num_skipped == 4
    check_outputs(report, unfinished.settings)


@pytest.mark.parametrize("which", ["classes.zarr", "classes_probabilities.zarr"])
def test_blocks_whose_output_was_removed_are_done_again(
    unfinished, tmp_path, which, check_outputs
) -> None:
    shutil.rmtree(tmp_path / f".{which}.partial")
    events: list[Event] = []
    report = segment(unfinished, observe=events.append)
    assert report.num_skipped == 0
    assert any("is gone: all blocks are done again" in e.text for e in events)
    check_outputs(report, unfinished.settings)


def test_a_run_that_broke_off_between_its_outputs_goes_on(
    tmp_path, monkeypatch, make_task, check_outputs
) -> None:
    from volproc.io.omezarr_write import OmeZarrSink

    seal = OmeZarrSink.seal

    def break_off(sink: OmeZarrSink) -> None:
        if sink.channels:
            raise OSError("disk full")
        seal(sink)

    task = make_task(probabilities="float16")
    with monkeypatch.context() as patch:
        patch.setattr(OmeZarrSink, "seal", break_off)
        with pytest.raises(OSError, match="disk full"):
            segment(task)
    assert (tmp_path / "classes.zarr").exists()
    report = segment(task)
    assert report.num_skipped == NUM_BLOCKS
    check_outputs(report, task.settings)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "classes.zarr", "classes.zarr.json", "classes_probabilities.zarr"
    ]  # fmt: skip


def test_spill_is_dropped_as_soon_as_nobody_needs_it(make_task) -> None:
    most = 0

    def watch(event: Event) -> None:
        nonlocal most
        folder = work_path(task.output) / "spill"
        most = max(most, len(list(folder.glob("*"))) if folder.exists() else 0)

    task = make_task(chunks=(2, 13, 11), settings=Settings(overlap=0.25))
    report = segment(task, observe=watch)
    assert len(report.plan.grid) == 5
    assert 1 <= most <= 3


def test_strips_within_a_layer_do_not_wait_for_the_next_one(make_task) -> None:
    takers: list[tuple[int, list[str]]] = []

    def watch(event: Event) -> None:
        folder = work_path(task.output) / "spill"
        if event.kind == "block" and event.stage == "predict":
            takers.append((event.block[0], [p.stem for p in folder.glob("*/*.npy")]))

    task = make_task(chunks=(4, 4, 4), settings=Settings(overlap=0.5))
    report = segment(task, observe=watch)
    layer = [names for z, names in takers if z == 0]
    assert len(layer) < len(report.plan.grid)
    # The first layer is done: what is left is for those below alone.
    assert layer[-1]
    assert all(int(name.split(".")[0]) > 0 for name in layer[-1])


KILL = """
import os, signal, sys
from pathlib import Path
import numpy as np
from volproc.graph import ledger
from volproc.graph.predict import Settings
from volproc.workflows.record import work_path
from volproc.workflows.segment import SegmentTask, segment

address, output, model = sys.argv[1:]
task = SegmentTask(
    address, output, model, Settings(overlap=0.5), 10.0, probabilities="float16", chunks=(4, 7, 6)
)


def kill_at(owner, name, count):
    original = getattr(owner, name)
    calls = [0]

    def call(*args, **kwargs):
        calls[0] += 1
        if calls[0] == count:
            if name == "save":  # in the middle of a file
                args[0].write(b"half of it")
                args[0].write.__self__.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, call)


# First in the middle of a strip for a neighbour; then after a block's data, before its marker:
# what stands on disk then looks finished and is not.
for moment in ((np, "save", 9), (ledger.Ledger, "commit", 2)):
    child = os.fork()
    if not child:
        kill_at(*moment)
        segment(task)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    markers = list(work_path(output).glob("predict/*/*.json"))
    print(status, int(Path(output).exists()), len(markers), flush=True)
"""


def test_a_killed_process_leaves_what_the_next_one_goes_on_with(
    address, model, tmp_path, monkeypatch, make_task, check_outputs
) -> None:
    task = make_task(probabilities="float16")
    command = [sys.executable, "-c", KILL, address, task.output, model]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    first, second = ([int(word) for word in line.split()] for line in run.stdout.splitlines())
    assert first[:2] == second[:2] == [-signal.SIGKILL, 0]
    assert first[2] >= 1
    finished = second[2]
    assert finished >= 2
    blocks = FailingBlocks(monkeypatch, after=-1)
    report = segment(task)
    assert report.num_skipped == finished
    assert len(blocks.done) == NUM_BLOCKS - finished
    check_outputs(report, task.settings)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "classes.zarr", "classes.zarr.json", "classes_probabilities.zarr"
    ]  # fmt: skip
