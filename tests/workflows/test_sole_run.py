"""Two runs over one dataset do not meet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from volproc.core.errors import ResumeError
from volproc.workflows.sole_run import sole_run

HOLD = """
import sys
from pathlib import Path
from volproc.workflows.sole_run import sole_run
with sole_run(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with (
            pytest.raises(ResumeError, match=rf"under way \(process {first.pid} on "),
            sole_run(path),
        ):
            pass
        first.kill()
        first.wait()
    with sole_run(path):  # the lock went with its process
        assert [p.name for p in tmp_path.iterdir()] == [".run.json.lock"]
    assert list(tmp_path.iterdir()) == []


def test_the_lock_is_let_go_when_the_run_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), sole_run(tmp_path / "run.json"):
        raise KeyboardInterrupt
    with sole_run(tmp_path / "run.json"):
        pass
