"""The benchmark of CryoSiam's centres, in its tiny version."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_tiny_cases_give_one_full_record_each() -> None:
    command = [sys.executable, "-m", "benchmarks.cryosiam_centres", "--tiny", "--repeats", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["case"]["name"] for r in records] == ["tiny"]
    for record in records:
        assert set(record["ratio"]) == {"scipy"}
        assert record["median_s"] > 0
        assert set(record["processor_s"]) == {"own", "scipy"}
        assert record["peak_bytes"] >= 0
