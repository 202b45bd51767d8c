"""The benchmark of reading by block, in its tiny version."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_tiny_cases_are_compared_with_what_lies_beneath(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.read_blocks import main

    assert main(["--tiny", "--repeats", "2"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(r["ratio"]) for r in records] == [
        {"memmap", "source"},
        {"zarr", "source"},
        {"h5py", "source"},
    ]
    assert all(r["median_s"] > 0 and r["voxels_per_s"] > 0 for r in records)
