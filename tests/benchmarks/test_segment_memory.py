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


def test_the_peak_is_near_what_the_plan_has_said() -> None:
    command = [sys.executable, "-m", "benchmarks.segment_memory"]
    options = ["--shape", "64", "72", "80", "--sides", "40", "80"]
    done = subprocess.run(command + options, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [max(record["chunks"]) for record in records] == [40, 80]
    for record in records:
        assert sum(record["planned_parts"].values()) == record["planned_bytes"]
        assert 0.6 < record["ratio_to_plan"] < 1.2
