"""What a job asks for, and its script."""

import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from volproc.cluster.jobs import JobPool, job_script
from volproc.cluster.network import Network, certificates_in
from volproc.core.errors import ClusterError

pytestmark = pytest.mark.skipif(
    find_spec("dask_jobqueue") is None, reason="dask-jobqueue is not installed"
)

POOL = JobPool(jobs=2, walltime_h=4, memory_gib=32, cores=4, gpu_request="--gres=gpu:1")


@pytest.mark.parametrize("walltime_h", [0.01, 0.5, 1, 4, 24, 200])
def test_the_latest_worker_leaves_before_its_job_is_ended(walltime_h: float) -> None:
    pool = JobPool(jobs=1, walltime_h=walltime_h, memory_gib=1)
    assert 0.8 * pool.walltime_s < pool.lifetime_s + pool.stagger_s < pool.walltime_s
    assert pool.drain_s <= 0.5 * pool.lifetime_s


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"jobs": 0}, "jobs of a pool of jobs must be positive, got 0"),
        ({"memory_gib": float("nan")}, "memory_gib of a pool of jobs must be positive, got nan"),
        ({"processes": 2}, "2 processes would share one GPU"),
        ({"processes": 5, "gpu_request": ""}, "5 processes share 4 cores"),
        ({"partition": "gpu\nrm -rf"}, "partition of a pool of jobs holds a line break"),
        ({"directives": ("-x\n#SBATCH",)}, "directives of a pool of jobs holds a line break"),
    ],
)
def test_impossible_jobs_are_refused(change: dict[str, object], said: str) -> None:
    values: dict[str, object] = {
        "jobs": 2, "walltime_h": 4, "memory_gib": 32, "cores": 4, "gpu_request": "--gres=gpu:1",
    }  # fmt: skip
    with pytest.raises(ClusterError, match=said):
        JobPool(**{**values, **change})  # type: ignore[arg-type]


def write(pool: JobPool, folder: str = "/logs", network: Network | None = None) -> list[str]:
    script = job_script(
        pool,
        name="w-0",
        job_name="volproc-gpu-x",
        log_folder=Path(folder),
        environment={"OMP_NUM_THREADS": "4", "ODD": "a b; c"},
        scheduler="tls://10.0.0.1:1234",
        network=network,
    )
    return script.splitlines()


def test_a_script_asks_for_what_the_pool_says() -> None:
    lines = write(POOL)
    for line in (
        "#SBATCH -J volproc-gpu-x",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=32768M",
        "#SBATCH -t 0-04:00:00",
        "#SBATCH --gres=gpu:1",
        "#SBATCH -o /logs/%x-%j.log",
        "export ODD='a b; c'",
    ):
        assert line in lines
    command = lines[-1]
    assert "--name w-0 --nthreads 1 --memory-limit 30.40GiB" in command
    assert '--lifetime "$((13680 - SECONDS)) s" --lifetime-stagger "600 s"' in command
    assert "resources" not in command


def test_a_script_says_setup_before_the_worker_and_directives_before_both() -> None:
    pool = JobPool(
        jobs=1, walltime_h=1, memory_gib=8, cores=8, processes=4, partition="fat", account="lab",
        directives=("--exclusive",), setup=("module load cuda",), python="/shared/my env/python",
    )  # fmt: skip
    lines = write(pool)
    assert {"#SBATCH -p fat", "#SBATCH -A lab"} <= set(lines)
    assert lines.index("#SBATCH --exclusive") < lines.index("module load cuda") < len(lines) - 1
    assert lines[-1].startswith("'/shared/my env/python' -m distributed.cli.dask_worker")
    assert "--nthreads 1 --memory-limit 1.90GiB --nworkers 4" in lines[-1]


def test_writing_a_script_leaves_ctrl_c_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("dask_jobqueue")]:
        monkeypatch.delitem(sys.modules, name)
    before = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(1) as pool, pytest.raises(ClusterError, match="main thread only"):
        pool.submit(write, POOL).result()
    write(POOL)
    assert signal.getsignal(signal.SIGINT) is before


def test_paths_with_spaces_stay_whole() -> None:
    network = certificates_in(Path("/my logs/certificates"), Network(interface="ib0"))
    lines = write(POOL, "/my logs", network)
    assert '#SBATCH -o "/my logs/%x-%j.log"' in lines
    assert "--interface ib0 --protocol tls://" in lines[-1]
    assert "--tls-key '/my logs/certificates/key.pem'" in lines[-1]
