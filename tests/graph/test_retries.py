"""Dead workers: who is blamed, who is tried again, and what is given up in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import ClusterLostError, DeathCause, WorkerDiedError
from volproc.core.events import Event
from volproc.core.executor import SerialExecutor
from volproc.core.types import Index
from volproc.graph.ledger import Ledger
from volproc.graph.retries import MAX_ATTEMPTS, MAX_KILLS
from volproc.graph.run import run_stage

INDICES = list(product(range(3), range(2), range(2)))


class DyingExecutor:
    """Workers with two calls each, of which some die with all that they hold, as Dask's do.

    Parameters
    ----------
    dies : callable
        Takes the index of a call that a worker runs; gives the cause of the worker's death.
    """

    def __init__(
        self, dies: Callable[[Index], DeathCause | None], num_workers: int = 3, seed: int = 0
    ) -> None:
        self.num_workers = num_workers
        self.num_deaths = 0
        self.held: list[int] = []
        self._dies = dies
        self._generator = np.random.default_rng(seed)
        self._calls: list[tuple[str, Callable[[Index], Any], Index]] = []

    def submit(self, key: str, function: Callable[..., Any], *args: Any) -> None:
        self._calls.append((key, function, args[0]))

    def completed(self) -> Iterator[tuple[str, Any, BaseException | None]]:
        while self._calls:
            self._generator.shuffle(self._calls)  # type: ignore[arg-type]
            self.held.append(len(self._calls))
            key, function, index = self._calls.pop(0)
            cause = self._dies(index)
            if cause is None:
                yield key, function(index), None
                continue
            self.num_deaths += 1
            worker = f"tcp://worker-{self.num_deaths}"
            blamed = [(key, function, index), *self._calls[:1]]
            del self._calls[:1]
            for other, _, _ in blamed:
                died = WorkerDiedError("died", worker=worker, cause=cause, reason="came to 9 GB")
                yield other, None, died

    def close(self) -> None:
        self._calls.clear()


@dataclass(frozen=True)
class Batched:
    """Work that can be made smaller, down to a batch of one."""

    batch: int
    ran: list[tuple[Index, int]]

    def __call__(self, index: Index) -> dict[str, int]:
        self.ran.append((index, self.batch))
        return {"batch": self.batch}

    def smaller(self) -> Batched | None:
        return Batched(self.batch // 2, self.ran) if self.batch > 1 else None

    def place(self, index: Index) -> str:
        return f"z {index[0]}"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cause", ["memory", "crash"])
def test_only_a_block_that_kills_alone_is_poison(cause, seed) -> None:
    executor = DyingExecutor(lambda index: cause if index == (1, 0, 1) else None, seed=seed)
    failed: dict[Index, BaseException] = {}
    ran: list[tuple[Index, int]] = []
    run_stage(
        "s", INDICES, Batched(1, ran), executor=executor, on_failure=failed.__setitem__
    )  # fmt: skip
    assert sorted(index for index, _ in ran) == sorted(set(INDICES) - {(1, 0, 1)})
    assert list(failed) == [(1, 0, 1)]
    text = str(failed[1, 0, 1])
    assert text.startswith(f"block (1, 0, 1) of s, z 1, took {MAX_ATTEMPTS} workers down while ")
    assert f"tcp://worker-{executor.num_deaths}, came to 9 GB." in text
    assert ("--memory-limit" in text) == (cause == "memory")
    assert executor.num_deaths <= MAX_ATTEMPTS + 2


def test_without_a_taker_the_poison_is_raised() -> None:
    executor = DyingExecutor(lambda index: "crash" if index == (1, 0, 1) else None)
    with pytest.raises(WorkerDiedError, match=r"block \(1, 0, 1\) of s took 2 workers down"):
        run_stage("s", INDICES, lambda index: None, executor=executor, max_attempts=2)


def test_a_suspect_runs_while_nothing_else_does() -> None:
    alone: list[int] = []

    def dies(index: Index) -> DeathCause | None:
        if index != (1, 0, 1):
            return None
        alone.append(executor.held[-1])
        return "crash"

    executor = DyingExecutor(dies)
    run_stage("s", INDICES, lambda i: None, executor=executor, on_failure=lambda *_: None)
    assert alone[-MAX_ATTEMPTS:] == [1] * MAX_ATTEMPTS
    assert len(alone) <= MAX_ATTEMPTS + 2


@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from(["killed", "unknown"]))
def test_ten_kills_at_random_fail_no_block(seed, num_workers, cause) -> None:
    generator = np.random.default_rng(seed)
    left = [10]

    def dies(index: Index) -> DeathCause | None:
        if left[0] and generator.random() < 0.7:
            left[0] -= 1
            return cause
        return None

    finished: Counter[Index] = Counter()
    run_stage(
        "s",
        INDICES,
        lambda index: None,
        executor=DyingExecutor(dies, num_workers, seed),
        collect=lambda index, _: finished.update([index]),
    )
    assert finished == dict.fromkeys(INDICES, 1)


def test_a_block_that_has_itself_killed_is_not_tried_for_ever() -> None:
    executor = DyingExecutor(lambda index: "killed" if index == INDICES[0] else None)
    with pytest.raises(WorkerDiedError, match=f"took {MAX_KILLS} workers down"):
        run_stage("s", INDICES, lambda index: None, executor=executor)


def test_memory_makes_the_batch_smaller_and_what_fits_is_kept_for_those_that_follow() -> None:
    sizes = {}
    ran: list[tuple[Index, int]] = []
    executor = DyingExecutor(lambda index: None, num_workers=1)

    def dies(index: Index) -> DeathCause | None:
        sizes[index] = sizes.get(index, 16) // 2
        return "memory" if index == INDICES[4] and sizes[index] >= 4 else None

    executor._dies = dies
    events: list[Event] = []
    run_stage("s", INDICES, Batched(16, ran), executor=executor, observe=events.append)
    used = dict(ran)
    assert used[INDICES[4]] == 4
    assert {used[index] for index in INDICES[:2]} == {16}
    assert {used[index] for index in INDICES[8:]} == {4}
    texts = [e.text for e in events if e.kind == "retry" and e.block == INDICES[4]]
    assert texts == ["its worker came to 9 GB, and its batch is halved"] * 2


def test_memory_that_is_short_in_python_makes_the_batch_smaller_too() -> None:
    @dataclass(frozen=True)
    class Greedy(Batched):
        def __call__(self, index: Index) -> dict[str, int]:
            if self.batch > 2:
                msg = "no room for 9 GB"
                raise MemoryError(msg)
            return super().__call__(index)

        def smaller(self) -> Batched | None:
            return Greedy(self.batch // 2, self.ran) if self.batch > 1 else None

    ran: list[tuple[Index, int]] = []
    run_stage("s", INDICES, Greedy(8, ran), executor=SerialExecutor())
    assert dict(ran) == dict.fromkeys(INDICES, 2)


def test_memory_that_is_short_with_nothing_to_make_smaller_is_an_error_with_a_cure() -> None:
    def work(index: Index) -> None:
        if index == INDICES[3]:
            msg = "no room for 9 GB"
            raise MemoryError(msg)

    failed: list[Index] = []
    with pytest.raises(MemoryError, match="no room") as caught:
        run_stage("s", INDICES, work, executor=SerialExecutor())
    assert any("smaller chunks (--chunks)" in note for note in caught.value.__notes__)
    run_stage(
        "s",
        INDICES,
        work,
        executor=SerialExecutor(),
        on_failure=lambda index, _: failed.append(index),
    )
    assert failed == [INDICES[3]]


def test_a_cluster_that_goes_away_blames_no_block() -> None:
    class Leaving(SerialExecutor):
        def completed(self) -> Iterator[tuple[str, Any, BaseException | None]]:
            for key, _, _ in self._waiting:
                yield key, None, ClusterLostError("the scheduler is gone")

    failed: list[Index] = []
    with pytest.raises(ClusterLostError, match="is gone"):
        run_stage(
            "s",
            INDICES,
            lambda index: None,
            executor=Leaving(),
            on_failure=lambda index, _: failed.append(index),
        )
    assert not failed


def test_a_block_whose_answer_got_lost_is_not_computed_again(tmp_path) -> None:
    ledger = Ledger.begin(tmp_path / "work", {"a": 1})
    computed: Counter[Index] = Counter()

    class Forgetful(SerialExecutor):
        """Runs each call twice and gives the second answer, as after a worker's death."""

        def submit(self, key: str, function: Callable[..., Any], *args: Any) -> None:
            super().submit(key, lambda *a: (function(*a), function(*a))[1], *args)

    def work(index: Index) -> dict[str, Any]:
        computed[index] += 1
        return {"sum": sum(index)}

    found: dict[Index, Any] = {}
    run_stage(
        "s",
        INDICES,
        work,
        executor=Forgetful(),
        ledger=ledger,
        collect=found.__setitem__,
    )
    assert computed == dict.fromkeys(INDICES, 1)
    assert found == {index: {"sum": sum(index)} for index in INDICES}
