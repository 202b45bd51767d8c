"""The benchmark of planning, in its tiny version."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_tiny_cases_say_how_many_tasks_are_planned() -> None:
    command = [sys.executable, "-m", "benchmarks.plan_graphs", "--tiny", "--repeats", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = [json.loads(line) for line in done.stdout.splitlines()]
    assert (first["num_blocks"], second["num_blocks"]) == (8, 27)
    assert set(first["tasks"]) == {"own"} | ({"dask_image"} if find_spec("dask_image") else set())
    assert set(first["ratio"]) == set(first["baselines"]) == set(first["tasks"]) - {"own"}
    assert second["tasks"]["own"] > 3 * 27
