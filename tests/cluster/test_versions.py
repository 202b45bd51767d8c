"""Versions of client, scheduler and workers, of those that join late too."""

import copy
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from distributed import LocalCluster

from volproc.cluster import connect
from volproc.cluster.versions import SameVersions, check_versions, versions_here
from volproc.core.errors import VersionError

VERSIONS = {
    "packages": {
        "python": "3.11.7.final.0",
        "dask": "2026.8.0",
        "distributed": "2026.8.0",
        "cloudpickle": "3.1.1",
        "numpy": "2.0.2",
        "volproc": "0.1.0",
    }
}


def test_equal_versions_fit_and_the_scheduler_needs_no_volproc() -> None:
    scheduler = copy.deepcopy(VERSIONS)
    scheduler["packages"].pop("volproc")
    scheduler["packages"]["python"] = "3.11.9.final.0"
    check_versions({"client": VERSIONS, "scheduler": scheduler, "workers": {"tcp://a": VERSIONS}})


@pytest.mark.parametrize(
    ("package", "version", "said"),
    [
        ("python", "3.12.1.final.0", "worker tcp://a has python 3.12, here is 3.11"),
        ("dask", "2025.1.0", "worker tcp://a has dask 2025.1.0, here is 2026.8.0"),
        ("volproc", None, "worker tcp://a has volproc not installed, here is 0.1.0"),
    ],
)
def test_other_versions_are_named(package: str, version: str | None, said: str) -> None:
    other = copy.deepcopy(VERSIONS)
    other["packages"][package] = version  # type: ignore[assignment]
    with pytest.raises(VersionError, match=said):
        check_versions({"client": VERSIONS, "scheduler": VERSIONS, "workers": {"tcp://a": other}})


def test_a_call_runs_where_versions_are_the_same_and_nowhere_else() -> None:
    assert SameVersions(pow)(2, 5) == 32
    others = tuple((name, "0.0" if name == "numpy" else said) for name, said in versions_here())
    with pytest.raises(VersionError, match=r"has numpy [\d.]+, here is 0\.0\. Use the same env"):
        SameVersions(pow, others)(2, 5)


JOIN = """
import importlib.metadata, sys
found = importlib.metadata.version
def version(name):
    return {said} if name == "volproc" else found(name)
importlib.metadata.version = version
from distributed.cli.dask_worker import main
main([sys.argv[1], "--no-nanny", "--nthreads", "1", "--name", "late", "--no-dashboard"])
"""

OTHER = "'9.9'"
NONE = "found('nowhere')"


@contextmanager
def late_worker(cluster: LocalCluster, said: str) -> Iterator[None]:
    """A worker of another environment, which joins while work is under way."""
    code = JOIN.format(said=said)
    command = [sys.executable, "-c", code, cluster.scheduler_address]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while len(cluster.scheduler.workers) < 2:
                assert process.poll() is None
                time.sleep(0.05)
            yield
        finally:
            process.kill()
            process.wait()
            while len(cluster.scheduler.workers) > 1:
                time.sleep(0.05)


@pytest.fixture(scope="module")
def running() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        yield cluster


@pytest.mark.parametrize(
    ("has", "said"),
    [(OTHER, r"volproc 9\.9, here is "), (NONE, "volproc not installed, here is")],
)
def test_a_worker_that_joins_late_with_other_versions_is_named_at_once(
    running: LocalCluster, has: str, said: str
) -> None:
    with connect(running.scheduler_address) as executor:
        assert executor.num_workers == 1
        with late_worker(running, has), pytest.raises(VersionError, match=f"has {said}"):
            executor.num_workers  # noqa: B018


def test_no_call_runs_on_a_worker_of_other_versions(running: LocalCluster) -> None:
    with connect(running.scheduler_address) as executor:
        executor.submit("first", pow, 2, 5)
        assert list(executor.completed()) == [("first", 32, None)]
        with late_worker(running, OTHER):
            for number in range(4):
                executor.submit(f"{number}", time.sleep, 0.2)
            with pytest.raises(VersionError, match=r"has volproc 9\.9, here is "):
                list(executor.completed())
