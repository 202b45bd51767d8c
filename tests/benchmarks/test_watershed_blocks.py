"""The benchmark of watersheds and distances, in its tiny version."""

import json

import pytest

from benchmarks.watershed_blocks import main


def test_tiny_cases_give_one_full_record_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tiny", "--repeats", "1"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    particles, landscape, distance = records
    assert set(particles["ratio"]) == {"skimage"}
    assert set(landscape["ratio"]) == {"skimage", "whole"}
    assert set(distance["ratio"]) == {"scipy"}
    assert particles["equal"] > 0.99
    assert distance["equal"] == 1
    assert landscape["num_blocks"] == 8
    assert landscape["runs_per_block"] >= 1
