"""The benchmark of Octopi's segmentation, in its tiny version."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_tiny_run_is_watched_from_outside() -> None:
    command = [sys.executable, "-m", "benchmarks.octopi_segment", "--tiny"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (record,) = [json.loads(line) for line in done.stdout.splitlines()]
    # Windows of 8 at steps of 4, two, four and three along the axes, in each of four views.
    assert record["passes"] == 4 * 2 * 4 * 3
    assert record["peak_bytes"] > 100_000_000
    assert record["ratio"] > 1
    assert record["time_s"] > record["network_s"]
