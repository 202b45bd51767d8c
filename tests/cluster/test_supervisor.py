"""Jobs that are wanted against jobs that are there, by a clock of the test's own."""

from pathlib import Path

import pytest

from volproc.cluster.slurm_queue import QueueError
from volproc.cluster.supervisor import LONGEST_WAIT_S, MAX_FAILED, MAX_SILENT, Supervisor, Wishes
from volproc.core.errors import ClusterError


class Scene:
    """A queue, workers and a clock that the test moves by hand."""

    def __init__(self, folder: Path, *, jobs: int = 2, processes: int = 1) -> None:
        self.now = 0.0
        self.calls = 10
        self.workers: set[str] = set()
        self.running: dict[str, str] = {}
        self.submitted: list[str] = []
        self.cancelled: list[str] = []
        self.refusal = ""
        self.is_silent = False
        self.given_up: list[ClusterError] = []
        self.supervisor = Supervisor(
            Wishes("volproc-gpu-x", jobs, processes, folder),
            self,
            write_script=lambda name: f"script of {name}",
            count_calls=lambda: self.calls,
            list_workers=lambda: self.workers,
            give_up=self.given_up.append,
            clock=lambda: self.now,
        )

    def submit(self, script: str) -> str:
        if self.refusal:
            raise QueueError(self.refusal)
        self.submitted.append(script)
        number = str(100 + len(self.submitted))
        self.running[number] = "PENDING"
        return number

    def states(self, job_name: str) -> dict[str, str]:
        assert job_name == "volproc-gpu-x"
        if self.is_silent:
            raise QueueError("squeue failed")
        return dict(self.running)

    def cancel(self, jobs: list[str]) -> None:
        self.cancelled += jobs
        for number in jobs:
            self.running.pop(number, None)

    def cancel_name(self, job_name: str) -> None:
        self.cancelled.append(job_name)

    def check(self, after_s: float = 30.0) -> None:
        self.now += after_s
        self.supervisor.check()

    def arrive(self, number: str) -> None:
        self.running[number] = "RUNNING"
        self.workers.add(f"volproc-gpu-x-{int(number) - 101}")

    def end(self, number: str) -> None:
        self.running.pop(number)
        self.workers.discard(f"volproc-gpu-x-{int(number) - 101}")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_jobs_are_asked_for_as_far_as_there_are_calls(tmp_path: Path) -> None:
    scene = Scene(tmp_path, jobs=4, processes=2)
    scene.calls = 0
    scene.check()
    assert scene.submitted == []
    scene.calls = 3
    scene.check()
    assert scene.submitted == ["script of volproc-gpu-x-0", "script of volproc-gpu-x-1"]
    scene.calls = 99
    scene.check()
    scene.check()
    assert len(scene.submitted) == 4


def test_a_job_that_ended_is_asked_for_again_under_a_new_name(scene: Scene) -> None:
    scene.check()
    scene.arrive("101")
    scene.check()
    scene.end("101")
    scene.check()
    assert scene.submitted[2:] == ["script of volproc-gpu-x-2"]
    assert set(scene.supervisor.jobs) == {"102", "103"}


def test_no_job_is_asked_for_again_when_the_work_is_nearly_over(scene: Scene) -> None:
    scene.check()
    scene.arrive("101")
    scene.arrive("102")
    scene.check()
    scene.calls = 1
    scene.end("102")
    scene.check()
    assert len(scene.submitted) == 2


def test_a_worker_that_is_there_counts_whatever_the_queue_says(scene: Scene) -> None:
    scene.check()
    scene.arrive("101")
    scene.running.pop("101")
    scene.check()
    assert "101" in scene.supervisor.jobs
    assert len(scene.submitted) == 2


def test_jobs_that_wait_are_never_given_up(scene: Scene) -> None:
    for _ in range(1000):
        scene.check(3600)
    assert len(scene.submitted) == 2
    assert not scene.given_up


def test_jobs_that_end_before_a_worker_came_are_tried_ever_later_then_given_up(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path, jobs=1)
    (tmp_path / "volproc-gpu-x-103.log").write_text("module: command not found\n" * 30)
    times = []
    for _ in range(500):
        scene.check(1.0)
        for number in list(scene.running):
            times.append(scene.now)
            scene.end(number)
        if scene.given_up:
            break
    first, second, third = times
    assert third - second > second - first >= 30
    error = scene.given_up[0]
    text = str(error)
    assert isinstance(error, ClusterError)
    assert f"asked {MAX_FAILED} times in a row" in text
    assert "job 103 ended before its worker came" in text
    assert text.count("module: command not found") == 15
    assert "volproc cluster script" in text


def test_failed_jobs_do_not_end_a_run_that_has_a_worker(scene: Scene) -> None:
    scene.check()
    scene.arrive("101")
    for _ in range(20):
        for number in [n for n in scene.running if n != "101"]:
            scene.end(number)
        scene.check(2 * LONGEST_WAIT_S)
    assert 8 < len(scene.submitted) < 20
    assert not scene.given_up


def test_a_refused_submission_is_repeated_and_then_given_up(scene: Scene) -> None:
    scene.refusal = "sbatch: error: invalid partition specified: gpuu"
    for _ in range(20):
        scene.check(60)
    assert len(scene.given_up) >= 1
    assert "invalid partition specified: gpuu" in str(scene.given_up[0])


def test_a_refusal_for_a_while_is_survived(scene: Scene) -> None:
    scene.refusal = "sbatch: error: Socket timed out"
    scene.check()
    scene.refusal = ""
    scene.check(60)
    assert len(scene.submitted) == 2


def test_a_controller_that_is_silent_changes_nothing_as_long_as_workers_are_there(
    scene: Scene,
) -> None:
    scene.check()
    scene.arrive("101")
    scene.check()
    scene.is_silent = True
    for _ in range(10 * MAX_SILENT):
        scene.check()
    assert not scene.given_up
    assert set(scene.supervisor.jobs) == {"101", "102"}
    scene.workers.clear()
    scene.check()
    assert f"has not answered {10 * MAX_SILENT + 1} times in a row" in str(scene.given_up[0])


def test_a_running_job_whose_worker_stays_away_is_replaced(scene: Scene) -> None:
    scene.check()
    scene.arrive("101")
    scene.arrive("102")
    scene.check()
    scene.workers.discard("volproc-gpu-x-0")
    scene.check(100)
    assert scene.cancelled == []
    scene.check(100)
    assert scene.cancelled == ["101"]
    assert set(scene.supervisor.jobs) == {"102", "103"}


def test_idle_jobs_are_given_back(scene: Scene) -> None:
    scene.check()
    scene.arrive("101")
    scene.calls = 0
    scene.check(200)
    assert scene.cancelled == []
    scene.check(200)
    assert set(scene.cancelled) == {"101", "102"}
    assert len(scene.submitted) == 2


def test_stopping_ends_all_jobs_by_number_and_by_name(scene: Scene) -> None:
    scene.check()
    scene.supervisor.stop()
    assert scene.cancelled == ["101", "102", "volproc-gpu-x"]
