"""The benchmark of a GPU's throughput, in its tiny version."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]


def test_tiny_cases_are_compared_with_the_bare_network(
    measure: Callable[..., list[dict[str, Any]]],
) -> None:
    records = measure("gpu_throughput", "--tiny", "--repeats", "1")
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
def test_a_gpu_is_measured(measure: Callable[..., list[dict[str, Any]]]) -> None:
    (record,) = measure("gpu_throughput", "--only", "small-network", "--repeats", "1")
    assert record["device"] != "cpu"
    assert 0 < record["throughput"] < 1.2
