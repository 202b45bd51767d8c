"""Processes that are killed under a run: the command, its workers, its scheduler."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from volproc.cluster.scheduler import DaskExecutor
from volproc.cluster.start import connect
from volproc.core.errors import ClusterLostError
from volproc.core.events import Event
from volproc.graph.predict import Settings
from volproc.workflows.segment import segment

NUM_BLOCKS = 3 * 2 * 2

KILLS = """
import json, os, signal, sys
from dataclasses import replace
from pathlib import Path
from volproc.graph import block_predict, ledger, spill
from volproc.graph.predict import Settings
from volproc.io import create, omezarr_write
from volproc.workflows import segment as story
from volproc.workflows.segment import SegmentTask, segment

address, output, model, overwrite, *moments = sys.argv[1:]
task = SegmentTask(
    address, output, model, Settings(overlap=0.5), 10.0, probabilities="float16",
    chunks=(4, 7, 6), overwrite=overwrite == "yes",
)
PLACES = {
    "write": (omezarr_write.OmeZarrSink, "write"),
    "strip": (spill, "write_array"),
    "marker": (ledger.Ledger, "commit"),
    "seal": (omezarr_write.OmeZarrSink, "seal"),
    "move": (omezarr_write, "move_into_place"),
    "rename": (Path, "rename"),
    "record": (story, "write_record"),
    "tidy": (ledger.shutil, "rmtree"),
}


def in_child(work):
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at(place, count, when):
    owner, name = PLACES[place]
    original = getattr(owner, name)
    calls = [0]

    def call(*args, **kwargs):
        calls[0] += 1
        if calls[0] == count and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if calls[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, call)


def run():
    original = block_predict.predict_block

    def count(job, scaling, index):
        facts = original(job, scaling, index)
        with open(output + ".log", "a") as file:
            file.write(json.dumps(index) + "\\n")
        return facts

    block_predict.predict_block = count
    segment(task)


def killed(place, count, when):
    kill_at(place, int(count), when)
    run()


for moment in moments:
    print(in_child(lambda: killed(*moment.split("-"))), flush=True)
print(in_child(run))
"""
"""Runs a task that is killed at one moment after the other, and at last is not."""


@pytest.mark.parametrize("overwrite", ["no", "yes"])
def test_a_run_that_is_killed_everywhere_gives_the_same_bits_and_does_no_block_twice(
    address, model, tmp_path, make_task, check_outputs, overwrite
) -> None:
    task = make_task(probabilities="float16")
    if overwrite == "yes":
        segment(replace(task, settings=Settings(overlap=0.25)))
    generator = random.Random(overwrite)
    moments = [
        *(f"{p}-{generator.randint(1, 3)}-{w}" for p in ("write", "strip", "marker")
          for w in ("before", "after")),
        "marker-2-after", "seal-1-before", "move-1-before", "seal-1-after", "seal-1-after",
        "record-1-before", "record-1-after",
    ]  # fmt: skip
    if overwrite == "yes":
        moments.insert(moments.index("seal-1-after"), "rename-1-after")
    command = [sys.executable, "-c", KILLS, address, task.output, model, overwrite, *moments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    *killed, last = map(int, run.stdout.split())
    assert last == 0, run.stderr
    assert killed == [-9] * len(moments)
    lines = Path(f"{task.output}.log").read_text().splitlines()
    computed = [tuple(json.loads(line)) for line in lines]
    # A block that was killed before its marker is done again, and no other.
    num_lost = sum(moment.startswith(("write", "strip", "marker")) for moment in moments)
    assert len(set(computed)) == NUM_BLOCKS
    assert len(computed) <= NUM_BLOCKS + num_lost
    report = segment(replace(task, resume=True))
    assert report.was_finished
    check_outputs(report, Settings(overlap=0.5))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "classes.zarr", "classes.zarr.json", "classes.zarr.log", "classes_probabilities.zarr"
    ]  # fmt: skip


def worker_processes(session: DaskExecutor) -> list[int]:
    """Process numbers of the workers, those that hold a call first."""
    busy = session.client.processing()
    found = session.client.run(os.getpid, on_error="ignore")
    return [found[name] for name in sorted(found, key=lambda name: not busy.get(name))]


def test_workers_that_are_killed_in_every_stage_change_no_bit_and_blame_no_block(
    processes: DaskExecutor, make_task: Any, check_outputs: Any, tmp_path: Path
) -> None:
    at = {("statistics", "stage"), ("predict", 2), ("predict", 5), ("predict", 9)}
    count: Counter[str] = Counter()
    seen: list[Event] = []

    def kill(event: Event) -> None:
        seen.append(event)
        count[event.stage] += event.kind == "block"
        moment = (event.stage, "stage" if event.kind == "stage" else count[event.stage])
        if moment in at:
            at.remove(moment)
            for number in worker_processes(processes)[:1]:
                os.kill(number, signal.SIGKILL)

    task = make_task(settings=Settings(overlap=0.5, tta="octopi4"), probabilities="float16")
    report = segment(task, executor=processes, observe=kill)
    assert not at, "each worker was killed"
    done = Counter(e.block for e in seen if e.kind == "block" and e.stage == "predict")
    assert len(done) == NUM_BLOCKS
    assert set(done.values()) == {1}
    assert not any(e.kind == "failed" for e in seen)
    check_outputs(report, task.settings)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "classes.zarr", "classes.zarr.json", "classes_probabilities.zarr"
    ]  # fmt: skip


SCHEDULER = """
from distributed import LocalCluster
import sys
cluster = LocalCluster(
    n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://",
    dashboard_address="127.0.0.1:0",
)
print(cluster.scheduler_address, flush=True)
sys.stdin.read()
"""
"""A scheduler with one worker that lives until its input ends, or until it is killed."""


def test_a_scheduler_that_is_killed_ends_the_run_which_goes_on_elsewhere(
    make_task: Any, check_outputs: Any
) -> None:
    task = make_task(probabilities="float16")
    count: Counter[str] = Counter()
    with subprocess.Popen(
        [sys.executable, "-c", SCHEDULER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as scheduler:
        assert scheduler.stdout is not None

        def kill(event: Event) -> None:
            count[event.stage] += event.kind == "block"
            if count["predict"] == 3:
                scheduler.kill()

        address = scheduler.stdout.readline().strip()
        with (
            connect(address, timeout_s=60) as executor,
            pytest.raises(ClusterLostError, match="finished blocks are not done again"),
        ):
            segment(task, executor=executor, observe=kill)
    assert not Path(task.output).exists()
    report = segment(task)
    assert report.num_skipped >= 3
    check_outputs(report, task.settings)
