"""The benchmark of labelling, in its tiny version."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_tiny_cases_give_one_full_record_each() -> None:
    command = [sys.executable, "-m", "benchmarks.label_blocks", "--tiny", "--repeats", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["case"]["name"] for r in records] == ["tiny", "tiny-classes", "tiny-micrograph"]
    for record in records:
        assert record["median_s"] > 0
        assert record["voxels_per_s"] > 0
        assert record["machine"]
        assert set(record["ratio"]) == set(record["baselines"])
        assert {"spread_s", "peak_bytes", "commit"} <= set(record)
    others = {"dask_image"} if find_spec("dask_image") else set()
    assert set(records[0]["ratio"]) == {"cc3d", "scipy"} | others
    assert set(records[1]["ratio"]) == {"cc3d"}
