"""Stages: order, markers, errors, and what is not done twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.cluster.start import connect
from volproc.core.errors import ClusterError, ModelError
from volproc.core.events import Event
from volproc.core.executor import SerialExecutor
from volproc.core.types import Index
from volproc.graph import block_queue, run
from volproc.graph.ledger import Ledger
from volproc.graph.run import run_stage
from volproc.plan.blocks import ChunkGrid
from volproc.plan.patches import PatchGrid

INDICES = list(product(range(2), range(3), range(2)))


class ShuffledExecutor(SerialExecutor):
    """Ends calls in another order than they were submitted, as a cluster does."""

    def __init__(self, num_workers: int = 3, seed: int = 0) -> None:
        super().__init__()
        self.num_workers = num_workers
        self.most = 0
        self._generator = np.random.default_rng(seed)

    def completed(self) -> Iterator[tuple[str, Any, BaseException | None]]:
        while self._waiting:
            self.most = max(self.most, len(self._waiting))
            chosen = int(self._generator.integers(len(self._waiting)))
            self._waiting.insert(0, self._waiting.pop(chosen))
            one, self._waiting = self._waiting[:1], self._waiting[1:]
            rest, self._waiting = self._waiting, one
            outcome = next(super().completed())
            self._waiting = rest + self._waiting
            yield outcome


@pytest.mark.parametrize("spec", ["serial", "threads"])
def test_every_block_is_done_once_and_its_result_collected(spec) -> None:
    calls: Counter[Index] = Counter()
    lock = threading.Lock()
    found: dict[Index, int] = {}

    def work(index: Index) -> int:
        with lock:
            calls[index] += 1
        return sum(index)

    with connect(spec) as executor:
        run_stage("sum", INDICES, work, executor=executor, collect=found.__setitem__)
    assert calls == dict.fromkeys(INDICES, 1)
    assert found == {index: sum(index) for index in INDICES}


@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.integers(1, 4)] * 3),
    st.tuples(*[st.integers(1, 6)] * 3),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_no_block_begins_before_those_it_needs_have_ended(
    shape, chunks, patch, num_workers, seed
) -> None:
    grid, patches = ChunkGrid(shape, chunks), PatchGrid(shape, patch, 0.5)
    order: list[Index] = []

    def needs(index: Index) -> list[Index]:
        return patches.neighbours(grid, index)[0]

    def work(index: Index) -> None:
        assert set(needs(index)) <= set(order)
        order.append(index)

    executor = ShuffledExecutor(num_workers, seed)
    run_stage("chain", grid.indices(), work, executor=executor, needs=needs)
    assert sorted(order) == list(grid.indices())


def test_blocks_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_queue, "LOOKAHEAD", 3)
    looked: list[int] = []

    def indices() -> Iterator[Index]:
        for number in range(20):
            looked.append(number)
            yield (number,)

    def work(index: Index) -> None:
        assert len(looked) <= index[0] + 6

    def needs(index: Index) -> list[Index]:
        return [(index[0] - 1,)] if index[0] else []

    run_stage("chain", indices(), work, executor=SerialExecutor(), needs=needs)
    assert looked == list(range(20))


def test_at_most_two_blocks_a_worker_are_under_way() -> None:
    executor = ShuffledExecutor(num_workers=2)
    run_stage("sum", INDICES, sum, executor=executor)
    assert executor.most == 4


def test_events_tell_what_happens(tmp_path) -> None:
    ledger = Ledger.begin(tmp_path / "work", {"a": 1})
    ledger.commit("sum", INDICES[0], {})
    events: list[Event] = []
    run_stage(
        "sum",
        INDICES,
        lambda index: {"voxels": sum(index)},
        executor=SerialExecutor(),
        observe=events.append,
        ledger=ledger,
        total=len(INDICES),
    )
    assert [e.kind for e in events] == ["stage", "skip", *["block"] * 11, "done"]
    assert events[0].total == 12
    assert all(e.stage == "sum" for e in events)
    assert sum(e.facts["voxels"] for e in events[2:-1]) == sum(map(sum, INDICES))


@pytest.mark.parametrize("spec", ["serial", "threads"])
def test_a_failing_block_is_named_and_the_markers_of_others_stand(tmp_path, spec) -> None:
    ledger = Ledger.begin(tmp_path / "work", {"a": 1})

    def work(index: Index) -> None:
        if index == (1, 0, 1):
            msg = "broken voxels"
            raise ModelError(msg)

    with connect(spec) as executor, pytest.raises(ModelError, match="broken voxels") as caught:
        run_stage("sum", INDICES, work, executor=executor, ledger=ledger)
    assert caught.value.__notes__ == ["in block (1, 0, 1) of sum"]
    done = ledger.done("sum")
    assert (1, 0, 1) not in done
    assert done >= set(INDICES[: INDICES.index((1, 0, 1))])


def test_nothing_new_begins_after_a_failure() -> None:
    begun: list[Index] = []

    def work(index: Index) -> None:
        begun.append(index)
        if len(begun) == 3:
            raise ValueError(index)

    with pytest.raises(ValueError):
        run_stage("sum", INDICES, work, executor=SerialExecutor())
    assert len(begun) <= 4  # one more was under way


def test_a_second_run_does_only_what_is_missing(tmp_path) -> None:
    ledger = Ledger.begin(tmp_path / "work", {"a": 1})
    begun: list[Index] = []
    fails = [True]

    def work(index: Index) -> None:
        if index == INDICES[5] and fails[0]:
            raise ValueError(index)
        begun.append(index)

    needs = {later: [earlier] for earlier, later in pairwise(INDICES)}
    options = {"ledger": ledger, "needs": lambda index: needs.get(index, [])}
    with pytest.raises(ValueError):
        run_stage("sum", INDICES, work, executor=SerialExecutor(), **options)
    assert begun == INDICES[:5]
    fails[0] = False
    again = Ledger.begin(tmp_path / "work", {"a": 1})
    collected: list[Index] = []
    run_stage(
        "sum",
        INDICES,
        work,
        executor=SerialExecutor(),
        collect=lambda index, result: collected.append(index),
        **options | {"ledger": again},
    )
    assert begun == INDICES
    assert collected == INDICES[5:]


def test_a_marker_is_written_after_the_work(tmp_path) -> None:
    ledger = Ledger.begin(tmp_path / "work", {"a": 1})

    def work(index: Index) -> dict[str, int]:
        assert index not in ledger.done("sum")
        return {"sum": sum(index)}

    run_stage("sum", INDICES, work, executor=SerialExecutor(), ledger=ledger)
    assert ledger.done("sum") == set(INDICES)


def test_needs_that_are_never_met_end_in_an_error_and_not_in_silence() -> None:
    with pytest.raises(ClusterError, match=r"1 block of sum, \(5,\), wait for"):
        run_stage(
            "sum",
            [(4,), (5,)],
            sum,
            executor=SerialExecutor(),
            needs=lambda index: [(9,)] if index == (5,) else [],
        )


def test_an_executor_that_loses_calls_ends_in_an_error_and_not_in_a_loop() -> None:
    class Losing(SerialExecutor):
        def completed(self) -> Iterator[tuple[str, Any, BaseException | None]]:
            yield from ()

    with pytest.raises(ClusterError, match="lost"):
        run_stage("sum", INDICES, sum, executor=Losing())


def test_a_block_that_fails_is_handed_over_and_the_others_go_on(tmp_path) -> None:
    ledger = Ledger.begin(tmp_path / "work", {"a": 1})
    failed: dict[Index, BaseException] = {}
    events: list[Event] = []

    def work(index: Index) -> None:
        if index in {(0, 1, 0), (1, 0, 1)}:
            msg = "broken voxels"
            raise ModelError(msg)

    run_stage(
        "sum",
        INDICES,
        work,
        executor=ShuffledExecutor(),
        ledger=ledger,
        observe=events.append,
        on_failure=failed.__setitem__,
    )
    assert set(failed) == {(0, 1, 0), (1, 0, 1)}
    assert all(isinstance(error, ModelError) for error in failed.values())
    assert failed[1, 0, 1].__notes__ == ["in block (1, 0, 1) of sum"]
    assert ledger.done("sum") == set(INDICES) - set(failed)
    assert {e.block for e in events if e.kind == "failed"} == set(failed)
    assert {e.text for e in events if e.kind == "failed"} == {"broken voxels"}
    assert events[-1].kind == "done"


@pytest.mark.parametrize("seed", range(5))
def test_blocks_that_need_a_failed_one_are_handed_over_too(seed) -> None:
    failed: dict[Index, str] = {}
    begun: list[Index] = []

    def work(index: Index) -> None:
        begun.append(index)
        if index == (1, 0, 0):
            raise ValueError(index)

    def needs(index: Index) -> list[Index]:
        return [(index[0], index[1] - 1, 0), (index[0], 0, 0)] if index[1] else []

    run_stage(
        "chain",
        [(i, j, 0) for i in range(3) for j in range(4)],
        work,
        executor=ShuffledExecutor(seed=seed),
        needs=needs,
        on_failure=lambda index, error: failed.__setitem__(index, str(error)),
    )
    assert set(failed) == {(1, j, 0) for j in range(4)}
    assert "needs block (1, 0, 0), which failed" in failed[1, 1, 0]
    assert sorted(begun) == [(0, j, 0) for j in range(4)] + [(1, 0, 0)] + [
        (2, j, 0) for j in range(4)
    ]


class AskedExecutor(SerialExecutor):
    asked = 0

    @property
    def num_workers(self) -> int:
        self.asked += 1
        return 1


def test_a_scheduler_is_not_asked_for_its_workers_for_every_block(monkeypatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr(run, "monotonic", lambda: now_s[0])
    executor = AskedExecutor()
    run_stage("a", product(range(50)), lambda index: None, executor=executor)
    assert executor.asked == 1

    def work(index: Index) -> None:
        now_s[0] += 0.4 * run.ASK_EVERY_S

    run_stage("a", product(range(30)), work, executor=executor)
    assert 1 + 30 // 3 <= executor.asked <= 1 + 30 // 2
