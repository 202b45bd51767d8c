"""The simulation of very many blocks, in its tiny version."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_tiny_run_counts_blocks_markers_and_memory() -> None:
    command = [sys.executable, "-m", "benchmarks.scale_simulation", "--tiny"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (record,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert record["num_blocks"] >= 60
    assert record["ledger_files"] == record["num_blocks"]
    assert record["graph_tasks"] > record["num_blocks"]
    assert record["graph_blocks"] == 8
    assert len(record["rss_mb"]) > 10
    for name in ("blocks_per_s", "hours_for_million", "done_s", "resumed_s", "ratio"):
        assert record[name] > 0
