"""The benchmark of peak memory, in its tiny version."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_twice_the_volume_does_not_take_more_memory() -> None:
    command = [sys.executable, "-m", "benchmarks.segment_memory", "--tiny"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = [json.loads(line) for line in done.stdout.splitlines()]
    assert second["case"]["shape"][0] == 2 * first["case"]["shape"][0]
    for record in (first, second):
        assert record["peak_bytes"] > 0
        assert record["planned_bytes"] > 0
        assert record["time_s"] > 0
    assert second["ratio_to_first"] < 1.2
