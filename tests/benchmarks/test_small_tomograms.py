"""The benchmark of many small tomograms, in its tiny version."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_time_beside_the_network_is_told_from_time_in_it() -> None:
    command = [sys.executable, "-m", "benchmarks.small_tomograms", "--tiny"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    one, two = [json.loads(line) for line in done.stdout.splitlines()]
    for record in (one, two):
        assert 0 < record["network_s"] < record["time_s"] * 2
        assert record["overhead_s"] > 0
    assert two["case"]["num_processes"] == 2
