"""A SLURM that runs jobs as processes of this machine."""

import gc
import os
import signal
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

FAKE = Path(__file__).parent / "fake_slurm.py"


@dataclass(frozen=True)
class FakeSlurm:
    """What a test sees of the fake: its folder and the processes of its jobs."""

    folder: Path

    def scripts(self) -> list[str]:
        return [path.read_text() for path in sorted(self.folder.glob("*.sh"))]

    def processes(self) -> list[psutil.Process]:
        """All processes that jobs have started and that live."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("FAKE_SLURM") != str(self.folder):
                    continue
                if "SLURM_JOB_ID" in process.environ():
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def kill_job(self, number: str) -> None:
        """End a job as SLURM does at its walltime, without a chance to say anything."""
        for process in self.processes():
            if process.environ().get("SLURM_JOB_ID") == number:
                process.send_signal(signal.SIGKILL)


@pytest.fixture(scope="module", autouse=True)
def no_leaks() -> Iterator[None]:
    """Let sockets and processes that were left open be an error here, and not in any later test."""
    yield
    gc.collect()


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    folder, commands = tmp_path / "fake-slurm", tmp_path / "bin"
    folder.mkdir()
    commands.mkdir()
    for name in ("sbatch", "squeue", "scancel"):
        command = commands / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" {name} "$@"\n')
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(folder))
    fake = FakeSlurm(folder)
    yield fake
    for process in fake.processes():
        process.kill()
