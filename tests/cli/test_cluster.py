"""``volproc cluster``: scripts of jobs without any job."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from volproc.cli.main import run

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(find_spec("dask_jobqueue") is None, reason="dask-jobqueue is not installed")
def test_the_scripts_of_the_shipped_file_are_printed_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["cluster", "script", str(ROOT / "configs" / "cluster-slurm.yaml")]) == 0
    printed = capsys.readouterr().out
    gpu, cpu = printed.split("# Pool cpu")
    assert "#SBATCH --gres=gpu:1" in gpu
    assert "--gres" not in cpu
    assert "--lifetime" in gpu
    assert f"--tls-key {tmp_path}/slurm-logs/certificates-RUN/key.pem" in gpu
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cluster: local", 'is for cluster "local", which needs no jobs'),
        ("cluster: slurm\nhost: login1", "needs pools of jobs, gpu or cpu or both, got none"),
        (
            "cluster: slurm\ncpu: {jobs: 1, walltime_h: 1, memory_gib: 1}",
            "the scheduler would listen on 127.0.0.1 only. Give interface",
        ),
        (
            "cluster: slurm\ncpu: {jobs: 1, walltime: 1, memory_gib: 1}",
            'unknown key "cpu.walltime"',
        ),
    ],
)
def test_a_file_of_which_no_job_could_come_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    assert run(["cluster", "script", str(file)]) == 1
    assert said in capsys.readouterr().err
