"""The three commands of SLURM that are needed: sbatch, squeue, scancel."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable

from volproc.core.errors import ClusterError

COMMANDS = ("sbatch", "squeue", "scancel")

ENDED = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "COMPLETING",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "REVOKED",
        "TIMEOUT",
    }
)
"""States that squeue may still show of a job whose worker is gone for good. One that is preempted
or requeued is not among them: SLURM starts it again under its own number."""

TIMEOUT_S = 60.0
"""A controller that takes longer is down or overrun."""


class QueueError(ClusterError):
    """A command of SLURM that failed, or did not answer."""


class SlurmQueue:
    """SLURM, as its commands on the PATH.

    Raises
    ------
    ClusterError
        If a command is not there.
    """

    def __init__(self) -> None:
        lacks = [name for name in COMMANDS if shutil.which(name) is None]
        if lacks:
            msg = (
                f"{', '.join(lacks)} cannot be found on the PATH. Run this where SLURM's commands "
                "are, as on a login node, or use --cluster local."
            )
            raise ClusterError(msg)

    def submit(self, script: str) -> str:
        """Submit a job and return its number.

        Raises
        ------
        QueueError
            If SLURM refuses it.
        """
        said = _run(["sbatch", "--parsable"], script)
        found = re.match(r"\d+", said.strip())
        if found is None:
            msg = f"sbatch answered {said.strip()!r}, no number of a job. Look at its messages."
            raise QueueError(msg)
        return found[0]

    def states(self, job_name: str) -> dict[str, str]:
        """Numbers and states of the jobs of a name that wait or run.

        Raises
        ------
        QueueError
            If SLURM does not answer.
        """
        said = _run(["squeue", "--noheader", "--name", job_name, "--format=%i %T"])
        pairs = (line.split() for line in said.splitlines() if line.strip())
        return {number: state for number, state, *_ in pairs if state not in ENDED}

    def cancel(self, jobs: Iterable[str]) -> None:
        """End jobs; those that have ended are no matter.

        Raises
        ------
        QueueError
            If SLURM does not answer.
        """
        numbers = list(jobs)
        if numbers:
            _run(["scancel", *numbers])

    def cancel_name(self, job_name: str) -> None:
        """End all jobs of a name, those whose number never arrived here too.

        Raises
        ------
        QueueError
            If SLURM does not answer.
        """
        _run(["scancel", "--name", job_name])


def _run(command: list[str], text: str = "") -> str:
    """Run a command and return what it printed."""
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        msg = f"{command[0]} did not answer within {TIMEOUT_S:g} s. Is SLURM's controller up?"
        raise QueueError(msg) from error
    except OSError as error:
        msg = f"{command[0]} cannot be run: {error}. Are SLURM's commands still there?"
        raise QueueError(msg) from error
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or "it gave no reason"
        msg = f"{command[0]} failed with status {done.returncode}: {said}"
        raise QueueError(msg)
    return done.stdout
