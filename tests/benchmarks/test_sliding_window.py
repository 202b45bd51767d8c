"""The benchmark of sliding windows, in its tiny version."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_tiny_cases_are_compared_with_monai_and_with_bare_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.sliding_window import main

    assert main(["--tiny", "--repeats", "1"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["case"]["name"] for r in records] == ["tiny", "tiny-batches"]
    for record in records:
        assert max(record["difference_from_monai"].values()) <= 1e-5
        assert set(record["ratio"]) == {"forward", "monai", "lazy"}
        assert set(record["ratio_to_forward"]) == {"engine", "monai", "lazy"}
        assert record["median_s"] > 0
