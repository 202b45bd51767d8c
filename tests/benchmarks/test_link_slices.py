"""The benchmark of linking, in its tiny version."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_tiny_cases_give_the_objects_of_their_baselines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.link_slices import main

    assert main(["--tiny", "--repeats", "2"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["case"]["name"] for r in records] == ["tiny", "tiny-stitch3d", "tiny-lazy"]
    cellpose = {"cellpose"} if find_spec("cellpose") else set()
    assert [set(r["ratio"]) for r in records] == [{"dense"}, cellpose, set()]
    assert all(r["median_s"] > 0 and r["voxels_per_s"] > 0 for r in records)
