"""The benchmark of operations on labels, in its tiny version."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_tiny_cases_give_one_full_record_each() -> None:
    command = [sys.executable, "-m", "benchmarks.label_operations", "--tiny", "--repeats", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["case"]["operation"] for r in records] == [
        "relabel",
        "filter",
        "fill_holes",
        "smooth",
        "majority",
        "downscale",
    ]
    for record in records:
        assert record["median_s"] > 0
        assert set(record["ratio"]) == set(record["baselines"])
        assert {"spread_s", "peak_bytes", "commit", "machine"} <= set(record)
