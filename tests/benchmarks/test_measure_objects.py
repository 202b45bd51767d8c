"""The benchmark of measuring, in its tiny version."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_tiny_cases_give_one_full_record_each() -> None:
    command = [sys.executable, "-m", "benchmarks.measure_objects", "--tiny", "--repeats", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["case"]["name"] for r in records] == ["tiny", "tiny-all", "tiny-real"]
    for record in records:
        assert record["median_s"] > 0
        assert record["num_objects"] > 100
        assert set(record["ratio"]) == {"skimage"}
        assert {"spread_s", "peak_bytes", "commit"} <= set(record)
