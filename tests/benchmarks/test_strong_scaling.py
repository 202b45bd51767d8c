"""The benchmark of several workers, in its tiny version."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_tiny_run_holds_two_workers_against_one() -> None:
    command = [sys.executable, "-m", "benchmarks.strong_scaling", "--tiny"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (record,) = [json.loads(line) for line in done.stdout.splitlines()]
    one = record["baselines"]["one_worker"]["time_s"]
    assert record["speedup"] > 0
    assert min(one, record["time_s"]) > 0
