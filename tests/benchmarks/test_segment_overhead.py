"""The benchmark of what is beside the network, in its tiny version."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_tiny_run_tells_the_network_from_the_rest() -> None:
    command = [sys.executable, "-m", "benchmarks.segment_overhead", "--tiny"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (record,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert record["passes"] == 4
    assert 0 < record["network_s"] < record["time_s"]
    assert 0 < record["part_outside"] < 1
    assert record["ratio"] > 0
