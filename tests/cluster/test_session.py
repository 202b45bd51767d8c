"""Laws of every executor: the same outcomes wherever a call runs."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pytest

from volproc.cluster import connect
from volproc.cluster.session import Session
from volproc.core.errors import ClusterError

# Workers cannot import a test module: its functions travel whole.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

KINDS = {"serial": {}, "synchronous": {}, "threads": {"num_workers": 2}}


@pytest.fixture(scope="module")
def local() -> Iterator[Session]:
    with connect("local", num_workers=2) as executor:
        yield executor


@pytest.fixture(params=[*KINDS, "local"])
def executor(request: pytest.FixtureRequest) -> Iterator[Session]:
    if request.param == "local":
        yield request.getfixturevalue("local")
    else:
        with connect(request.param, **KINDS[request.param]) as here:
            yield here


def divide(number: int, by: int) -> float:
    try:
        return number / by
    except ZeroDivisionError as error:
        error.add_note(f"in block {number}")
        raise


def where(block: np.ndarray) -> np.ndarray:
    return np.full_like(block, os.getpid())


@pytest.mark.parametrize("kind", ["serial", "threads", "local"])
def test_lazy_arrays_are_computed_where_calls_run(kind: str) -> None:
    array = da.zeros(4, chunks=1, dtype=np.int64).map_blocks(where, dtype=np.int64)
    with (
        dask.config.set(scheduler="threads"),
        connect(kind, num_workers=None if kind == "serial" else 1),
    ):
        is_here = set(array.compute().tolist()) == {os.getpid()}
    assert is_here == (kind != "local")
    assert set(array.compute(scheduler="synchronous").tolist()) == {os.getpid()}


def test_threads_and_serial_differ_in_the_thread_of_lazy_arrays() -> None:
    array = da.zeros(1).map_blocks(lambda x: x + threading.get_ident(), dtype=np.float64)
    with connect("serial"):
        assert array.compute()[0] == threading.get_ident()
    with connect("threads", num_workers=1):
        assert array.compute()[0] != threading.get_ident()


class TwoPartError(Exception):
    """Cannot be unpickled: its constructor takes more than its text."""

    def __init__(self, left: int, right: int) -> None:
        super().__init__(f"{left} and {right}")


def fail_oddly() -> None:
    raise TwoPartError(1, 2)


def append(path: str) -> int:
    """Grow a file by one letter and return its length; fail the first time."""
    with Path(path).open("a") as file:
        file.write("x")
    size = Path(path).stat().st_size
    if size == 1:
        raise OSError("first attempt")
    return size


def test_results_and_errors_come_back_under_their_keys(executor: Session) -> None:
    for number in range(7):
        executor.submit(f"divide-{number}", divide, number, number % 3)
    outcomes = {key: (result, error) for key, result, error in executor.completed()}
    assert len(outcomes) == 7
    for number in range(7):
        result, error = outcomes[f"divide-{number}"]
        if number % 3:
            assert result == number / (number % 3)
            assert error is None
        else:
            assert result is None
            assert isinstance(error, ZeroDivisionError)
            assert error.__notes__ == [f"in block {number}"]


def test_calls_submitted_meanwhile_are_included(executor: Session) -> None:
    executor.submit("0", divide, 0, 1)
    seen = []
    for key, _, _ in executor.completed():
        seen.append(key)
        if len(seen) < 5:
            executor.submit(str(len(seen)), divide, len(seen), 1)
    assert seen == ["0", "1", "2", "3", "4"]


def test_nothing_under_way_completes_at_once(executor: Session) -> None:
    assert list(executor.completed()) == []
    executor.submit("one", divide, 1, 1)
    assert list(executor.completed()) == [("one", 1.0, None)]
    assert list(executor.completed()) == []


def test_a_second_attempt_runs_again_under_the_same_key(executor: Session, tmp_path: Path) -> None:
    path = str(tmp_path / "attempts")
    executor.submit("append", append, path)
    ((_, _, error),) = executor.completed()
    assert isinstance(error, OSError)
    executor.submit("append", append, path)
    assert list(executor.completed()) == [("append", 2, None)]


def test_an_error_that_cannot_travel_still_ends_its_call(executor: Session) -> None:
    executor.submit("odd", fail_oddly)
    ((key, result, error),) = executor.completed()
    assert (key, result) == ("odd", None)
    assert "1 and 2" in str(error)


def test_workers_are_counted(executor: Session) -> None:
    assert executor.num_workers in (1, 2)


def test_closing_twice_is_fine() -> None:
    with connect("threads", num_workers=1) as executor:
        executor.submit("one", divide, 1, 1)
        executor.close()


@pytest.mark.parametrize("arguments", [{"num_workers": 0}, {"threads_per_worker": -1}])
def test_impossible_counts_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ClusterError, match=r"must be at least 1, got (0|-1)"):
        connect("threads", **arguments)


def test_an_unknown_word_names_the_nearest() -> None:
    with pytest.raises(ClusterError, match=r'"locla" is not a cluster, did you mean "local"\?'):
        connect("locla")


@pytest.mark.parametrize(
    ("spec", "said"),
    [("slurm", "Set jobs, processes and memory_gib"), ("tcp://a:1", "Give them where its workers")],
)
def test_sizes_of_workers_that_are_not_started_here_are_refused(spec: str, said: str) -> None:
    for sizes in ({"num_workers": 2}, {"memory_limit": "8 GiB"}):
        with pytest.raises(ClusterError, match=said):
            connect(spec, **sizes)
