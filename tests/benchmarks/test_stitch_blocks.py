"""The benchmark of stitching, in its tiny version."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_tiny_case_gives_a_full_record_and_no_merges() -> None:
    command = [sys.executable, "-m", "benchmarks.stitch_blocks", "--tiny", "--repeats", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (record,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert record["case"]["name"] == "tiny-cells"
    assert record["num_blocks"] == 8
    assert set(record["ratio"]) == {"face_contact", "cellpose_rule"}
    quality = record["quality"]
    assert set(quality) == {"own", "oracle", "face_contact", "cellpose_rule"}
    assert quality["own"]["merged"] == 0
    assert quality["own"]["f1"] > 0.9
    assert quality["own"]["f1"] > quality["cellpose_rule"]["f1"] > quality["face_contact"]["f1"]
