"""Workers that go away and do not come back: the wait ends, and says what to do."""

from __future__ import annotations

import time

import pytest
from distributed import LocalCluster

from volproc.cluster import connect, patience
from volproc.core.errors import ClusterLostError
from volproc.graph.run import run_stage


def test_calls_end_when_no_worker_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "NO_WORKERS_S", 0.4)
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        connect(cluster.scheduler_address) as executor,
    ):  # fmt: skip
        executor.submit("first", pow, 2, 5)
        assert list(executor.completed()) == [("first", 32, None)]
        cluster.scale(0)
        while cluster.scheduler.workers:
            time.sleep(0.01)
        with pytest.raises(ClusterLostError, match=r"none came back within 0\.4 s.*run the same"):
            run_stage("sums", [(1,), (2,)], sum, executor=executor)


def test_a_pause_without_calls_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "NO_WORKERS_S", 0.1)
    given_up: list[str] = []
    looks: list[int] = []

    class Empty:
        def scheduler_info(self, n_workers: int) -> dict[str, dict[str, str]]:
            looks.append(n_workers)
            if len(looks) == 20:
                watch.stop()
            return {"workers": {}}

    watch = patience.Patience(Empty(), lambda: False, given_up.append)  # type: ignore[arg-type]
    watch.run()
    assert not given_up
    assert len(looks) == 20
