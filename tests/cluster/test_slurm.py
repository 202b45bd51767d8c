"""Jobs of a SLURM that starts real processes here: they come, end, are replaced, and are gone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import cloudpickle
import pytest
from distributed import LocalCluster

from volproc.cluster import connect
from volproc.cluster.drain import Drain
from volproc.cluster.jobs import JobPool
from volproc.cluster.network import Network
from volproc.cluster.session import Session
from volproc.cluster.slurm_queue import SlurmQueue
from volproc.core.errors import ClusterError, ClusterLostError
from volproc.core.executor import pool_of
from volproc.core.types import Index
from volproc.graph.run import run_stage

pytestmark = pytest.mark.skipif(
    find_spec("dask_jobqueue") is None, reason="dask-jobqueue is not installed"
)
pytest.importorskip("cryptography")
cloudpickle.register_pickle_by_value(sys.modules[__name__])

POOL = JobPool(jobs=1, walltime_h=1, memory_gib=1, gpu_request="--gres=gpu:1")
HERE = Network(host="127.0.0.1")


def wait_for(is_so: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.1)
    return is_so()


def where(number: int) -> tuple[str, str, int]:
    return os.environ["SLURM_JOB_ID"], os.environ["OMP_NUM_THREADS"], number


def open_session(folder: Path, **pools: JobPool) -> Session:
    logs = str(folder / "logs")
    return connect("slurm", pools=pools, network=HERE, log_folder=logs, period_s=0.5)


def test_each_pool_runs_its_calls_in_its_own_jobs_and_leaves_nothing(
    fake_slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    cpu = JobPool(jobs=1, walltime_h=1, memory_gib=1, cores=3)
    with open_session(tmp_path, gpu=POOL, cpu=cpu) as session:
        assert fake_slurm.scripts() == [], "no job without a call"
        assert session.num_workers == 1
        outcomes = []
        for executor in (session, pool_of(session, "gpu"), pool_of(session, "cpu")):
            executor.submit("where", where, 1)
            outcomes += list(executor.completed())
        assert outcomes == [
            ("where", ("101", "1", 1), None),
            ("where", ("101", "1", 1), None),
            ("where", ("102", "3", 1), None),
        ]
        gpu_script, cpu_script = fake_slurm.scripts()
        assert "#SBATCH --gres=gpu:1" in gpu_script
        assert "--gres" not in cpu_script
        assert "tls://127.0.0.1" in cpu_script
    assert wait_for(lambda: not fake_slurm.processes())
    assert not list((tmp_path / "logs").glob("certificates-*"))


def wait_a_little(folder: str, index: Index) -> str:
    """Say that a block begins, in a file of its own; and do it for a while."""
    Path(folder, f"{index[0]}-{time.time_ns()}").touch()
    time.sleep(0.3)
    return os.environ["SLURM_JOB_ID"]


def test_a_job_that_is_killed_is_asked_for_again_and_the_run_finishes(
    fake_slurm, tmp_path: Path
) -> None:
    found: dict[Index, str] = {}
    begun = tmp_path / "begun"
    begun.mkdir()

    def collect(index: Index, job: str) -> None:
        found[index] = job
        if len(found) == 2:
            fake_slurm.kill_job("101")

    def work(index: Index) -> str:
        return wait_a_little(str(begun), index)

    with open_session(tmp_path, gpu=POOL) as session:
        blocks = [(number, 0, 0) for number in range(6)]
        run_stage("predict", blocks, work, executor=session, collect=collect)
        assert len(fake_slurm.scripts()) >= 2
    assert sorted(found) == blocks
    assert [found[block] for block in blocks[:2]] == ["101", "101"]
    assert "102" in found.values()
    for block in blocks[:2]:
        assert len(list(begun.glob(f"{block[0]}-*"))) == 1, "a finished block is not done again"
    assert wait_for(lambda: not fake_slurm.processes())


def test_jobs_that_never_bring_a_worker_end_the_run_with_their_log(
    fake_slurm, tmp_path: Path
) -> None:
    broken = JobPool(
        jobs=1, walltime_h=1, memory_gib=1, setup=("echo module cuda is not here; exit 3",)
    )
    with open_session(tmp_path, cpu=broken) as session:
        session.submit("never", where, 1)
        ((key, result, error),) = session.completed()
        assert (key, result) == ("never", None)
        assert isinstance(error, ClusterLostError)
        assert "asked 3 times in a row" in str(error)
        assert "module cuda is not here" in str(error)
        with pytest.raises(ClusterLostError, match="asked 3 times in a row"):
            session.submit("late", where, 2)
    assert len(fake_slurm.scripts()) == 3
    assert not fake_slurm.processes()


def test_a_submission_that_is_refused_says_what_sbatch_said(fake_slurm, tmp_path: Path) -> None:
    (fake_slurm.folder / "refuse").write_text("sbatch: error: invalid partition specified: gpuu")
    with open_session(tmp_path, gpu=POOL) as session:
        session.submit("never", where, 1)
        ((_, _, error),) = session.completed()
    assert isinstance(error, ClusterLostError)
    assert "invalid partition specified: gpuu" in str(error)


RUN = """
import sys, time
from volproc.cluster import connect
from volproc.cluster.jobs import JobPool
from volproc.cluster.network import Network

if __name__ == "__main__":
    pool = JobPool(jobs=1, walltime_h=1, memory_gib=1)
    with connect("slurm", pools={"cpu": pool}, network=Network(host="127.0.0.1"),
                 log_folder=sys.argv[1], period_s=0.5) as session:
        session.submit("first", pow, 2, 5)
        session.submit("long", time.sleep, 3)
        for outcome in session.completed():
            print(*outcome, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_jobs_end_when_the_command_that_asked_for_them_is_killed(
    fake_slurm, tmp_path: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path / "logs")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first 32 None\n"
        assert fake_slurm.processes()
        process.send_signal(number)
        process.wait()
        assert wait_for(lambda: not fake_slurm.processes())


def test_a_machine_without_slurm_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ClusterError, match=r"sbatch, squeue, scancel cannot be found on the PATH"):
        open_session(tmp_path, gpu=POOL)


@pytest.mark.usefixtures("fake_slurm")
def test_a_folder_that_takes_no_logs_is_refused_before_any_job(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(ClusterError, match=r"cannot be written into .*Give another log_folder"):
        open_session(tmp_path, gpu=POOL)


@pytest.mark.usefixtures("fake_slurm")
def test_an_interface_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="nowhere0"):
        connect(
            "slurm",
            pools={"gpu": POOL},
            network=Network(interface="nowhere0"),
            log_folder=str(tmp_path / "logs"),
        )
    assert not list((tmp_path / "logs").iterdir())


def test_the_queue_forgets_jobs_that_are_ending(fake_slurm, tmp_path: Path) -> None:
    script = f"#SBATCH -J probe\n#SBATCH -o {tmp_path}/%x-%j.log\nexec sleep 60\n"
    queue = SlurmQueue()
    (fake_slurm.folder / "hold").touch()
    number = queue.submit(script)
    assert queue.states("probe") == {number: "PENDING"}
    (fake_slurm.folder / "hold").unlink()
    assert queue.states("probe") == {number: "RUNNING"}
    assert queue.states("another") == {}
    (fake_slurm.folder / "linger").touch()
    queue.cancel([number])
    assert wait_for(lambda: queue.states("probe") == {})
    queue.cancel([number])


def test_a_worker_near_the_end_of_its_life_finishes_its_call_and_takes_no_other(
    tmp_path: Path,
) -> None:
    begun = str(tmp_path)
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            protocol="tcp://",
            dashboard_address="127.0.0.1:0",
            lifetime="1 hour",
        ) as cluster,
        connect(cluster.scheduler_address) as executor,
    ):
        (leaving,) = cluster.scheduler.workers
        executor.submit("first", slow, begun, "first")
        assert wait_for(lambda: bool(list(tmp_path.glob("first-*"))))
        executor.submit("second", slow, begun, "second")
        executor.client.register_plugin(Drain(drain_s=3600))
        options = {**cluster.new_spec["options"], "lifetime": None}
        cluster.new_spec = {**cluster.new_spec, "options": options}
        cluster.scale(2)
        assert wait_for(lambda: len(cluster.scheduler.workers) > 1)
        outcomes = {key: (result, error) for key, result, error in executor.completed()}
        assert outcomes["first"] == (leaving, None)
        assert outcomes["second"][0] != leaving
        assert wait_for(lambda: leaving not in cluster.scheduler.workers)
    assert len(list(tmp_path.glob("first-*"))) == 1


def slow(folder: str, name: str) -> str:
    from distributed import get_worker

    Path(folder, f"{name}-{time.time_ns()}").touch()
    time.sleep(2.0)
    return get_worker().address
