"""The benchmark of a GPU's throughput, in its tiny version."""

import json
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def test_tiny_cases_are_compared_with_the_bare_network(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.gpu_throughput import main

    assert main(["--tiny", "--repeats", "1"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["case"]["name"] for r in records] == ["tiny", "tiny-cut"]
    for record in records:
        expected = record["baselines"]["network"]["median_s"] / record["median_s"]
        assert record["throughput"] == pytest.approx(expected, abs=1e-3)
        assert record["patches"] > 1
        assert record["device"] == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="measures for minutes where there is one")
def test_without_a_gpu_it_says_that_it_measures_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.gpu_throughput import main

    assert main([]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "no CUDA device" in shown.err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.gpu_throughput import main

    assert main(["--only", "small-network", "--repeats", "1"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["device"] != "cpu"
    assert 0 < record["throughput"] < 1.2
