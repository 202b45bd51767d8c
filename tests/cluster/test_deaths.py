"""Workers that die, with real processes: the cause is found out, and only the guilty are named."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from volproc.cluster import connect, deaths
from volproc.cluster.deaths import count_kernel_kills, judge_exit
from volproc.cluster.session import Session
from volproc.core.errors import WorkerDiedError
from volproc.core.types import Index
from volproc.graph.run import run_stage

cloudpickle.register_pickle_by_value(sys.modules[__name__])

LIMIT = 500_000_000
"""Memory of a worker, bytes; Dask's own code needs some 100 MB."""


@pytest.fixture(scope="module")
def processes() -> Iterator[Session]:
    with connect("local", num_workers=2, memory_limit=LIMIT) as session:
        yield session


class Deadly:
    """Work that ends its process on some blocks, and leaves a line a try."""

    def __init__(self, folder: Path, endings: dict[Index, str]) -> None:
        self.folder = str(folder)
        self.endings = endings

    def __call__(self, index: Index) -> int:
        with Path(self.folder, str(index[0])).open("a") as file:
            file.write("x")
        ending = self.endings.get(index)
        if ending == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif ending == "memory":
            kept = []
            while True:  # slowly, as a nanny looks ten times a second
                kept.append(np.ones(2**20))
                time.sleep(0.01)
        elif ending == "killed once" and len(Path(self.folder, str(index[0])).read_text()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return index[0]

    def place(self, index: Index) -> str:
        return f"z {index[0]}"


def test_the_guilty_are_named_with_their_cause_and_the_innocent_are_done(
    processes: Session, tmp_path: Path
) -> None:
    endings: dict[Index, str] = {(2,): "memory", (5,): "crash", (6,): "killed once"}
    failed: dict[Index, BaseException] = {}
    found: dict[Index, int] = {}
    run_stage(
        "deadly",
        [(i,) for i in range(9)],
        Deadly(tmp_path, endings),
        executor=processes,
        collect=found.__setitem__,
        on_failure=failed.__setitem__,
        max_attempts=1,
    )
    assert sorted(found) == [(i,) for i in range(9) if i not in (2, 5)]
    assert sorted(failed) == [(2,), (5,)]
    memory, crash = failed[2,], failed[5,]
    assert isinstance(memory, WorkerDiedError)
    assert isinstance(crash, WorkerDiedError)
    assert (memory.cause, crash.cause) == ("memory", "crash")
    assert "block (2,) of deadly, z 2, took 1 worker down while nothing else ran" in str(memory)
    assert "too near its memory limit" in str(memory)
    assert "--memory-limit" in str(memory)
    assert "crashed (SIGSEGV)" in str(crash)
    tries = {p.name: len(p.read_text()) for p in tmp_path.iterdir()}
    assert tries["2"] <= 3
    assert tries["5"] <= 3


@pytest.mark.parametrize(
    ("exitcode", "is_kernel", "cause"),
    [
        (-9, False, "killed"),
        (-9, True, "memory"),
        (-15, True, "killed"),
        (-11, True, "crash"),
        (-6, False, "crash"),
        (1, False, "crash"),
    ],
)
def test_an_exit_status_says_who_did_it(exitcode: int, is_kernel: bool, cause: str) -> None:
    assert judge_exit(exitcode, is_kernel=is_kernel).cause == cause


def test_what_the_kernel_counts_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = tmp_path / "vmstat"
    monkeypatch.setattr(deaths, "KERNEL_COUNTS", counts)
    assert count_kernel_kills() == 0
    counts.write_text("nr_free_pages 7\noom_kill 12\nballoon_inflate 0\n")
    assert count_kernel_kills() == 12
