"""The benchmark of labelling on workers, in its tiny version."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_tiny_case_gives_times_and_the_workers_memory() -> None:
    command = [sys.executable, "-m", "benchmarks.label_stores", "--tiny", "--repeats", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (record,) = [json.loads(line) for line in done.stdout.splitlines()]
    others = {"dask_image"} if find_spec("dask_image") else set()
    assert set(record["ratio"]) == {"cc3d", "scipy"} | others
    assert record["worker_peak_bytes"] > 0
    assert record["worker_bare_bytes"] > 0
