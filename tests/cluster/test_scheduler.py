"""A scheduler that runs already: reached, lost, of TLS."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import pytest
from distributed import Client, LocalCluster

from volproc.cluster import connect
from volproc.cluster.scheduler import DaskExecutor
from volproc.core.errors import ClusterError


@pytest.fixture
def running() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        protocol="tcp://",
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        yield cluster


def test_a_running_scheduler_is_reached_by_address_and_by_file(
    running: LocalCluster, tmp_path: Path
) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": running.scheduler_address}))
    for spec in (running.scheduler_address, str(file)):
        with connect(spec) as executor:
            assert executor.num_workers == 2
            executor.submit("power", pow, 2, 5)
            assert list(executor.completed()) == [("power", 32, None)]
    assert len(running.workers) == 1, "closing a connection must leave the cluster running"


def test_results_are_released_as_soon_as_they_are_consumed(running: LocalCluster) -> None:
    with connect(running.scheduler_address) as executor:
        for number in range(10):
            executor.submit(f"power-{number}", pow, number, 2)
        assert sum(result for _, result, _ in executor.completed()) == 285
        executor.client.sync(asyncio.sleep, 0)  # what the client's own thread has still to do
        assert not executor.client.futures


class SlowToEnd:
    """A cluster on a busy machine."""

    def close(self, timeout: float) -> None:
        raise TimeoutError(f"timed out after {timeout} s")


def test_a_cluster_that_is_slow_to_end_denies_no_result(
    running: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(running.scheduler_address, set_as_default=False)
    executor = DaskExecutor(client, cluster=SlowToEnd(), environment={"VOLPROC_NONE": "set"})
    executor.close()
    assert "did not end within 30 s" in caplog.text
    assert os.environ.pop("VOLPROC_NONE") == "set", "what follows is done all the same"


SCHEDULER = """
from distributed import LocalCluster
import sys
cluster = LocalCluster(
    n_workers=1, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0"
)
print(cluster.scheduler_address, flush=True)
sys.stdin.read()
"""
"""A scheduler with one worker that lives until its input ends, or until it is killed."""


def test_a_scheduler_that_goes_away_ends_the_calls_under_way() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCHEDULER], stdin=PIPE, stdout=PIPE, text=True
    ) as process:
        assert process.stdout is not None
        with connect(process.stdout.readline().strip()) as executor:
            executor.submit("first", pow, 2, 5)
            executor.submit("stuck", time.sleep, 60)
            outcomes = {}
            for key, result, error in executor.completed():
                outcomes[key] = (result, error)
                process.kill()
            assert outcomes["first"] == (32, None)
            result, error = outcomes["stuck"]
            assert result is None
            assert isinstance(error, ClusterError)
            assert "was lost while stuck was under way" in str(error)
            with pytest.raises(ClusterError, match=r"was lost\. Start the cluster again"):
                executor.submit("late", pow, 2, 5)


def test_a_scheduler_without_workers_is_refused() -> None:
    with (
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as empty,
        pytest.raises(ClusterError, match=r"has no workers, waited 0\.2 s"),
    ):
        connect(empty.scheduler_address, timeout_s=0.2)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tcp://127.0.0.1:1", r"no Dask scheduler answers at tcp://127\.0\.0\.1:1 within 0\.2 s"),
        ("tcp://", "missing port number"),
        ("carrier://pigeon:1", "unknown address scheme"),
        ("missing.json", "the scheduler file missing.json does not exist"),
    ],
)
def test_a_wrong_address_is_one_clear_error(address: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        connect(address, timeout_s=0.2)


def test_a_file_that_is_no_scheduler_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text("[]")
    with pytest.raises(ClusterError, match="is not a scheduler file"):
        connect(str(file))
