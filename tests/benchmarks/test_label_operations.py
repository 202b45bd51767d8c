"""The benchmark of operations on labels, in its tiny version."""

from collections.abc import Callable
from typing import Any


def test_tiny_cases_give_one_full_record_each(measure: Callable[..., list[dict[str, Any]]]) -> None:
    records = measure("label_operations", "--tiny", "--repeats", "1")
    assert [r["case"]["operation"] for r in records] == [
        "relabel",
        "filter",
        "fill_holes",
        "smooth",
        "majority",
        "downscale",
    ]
    for record in records:
        assert record["median_s"] > 0
        assert set(record["ratio"]) == set(record["baselines"])
        assert {"spread_s", "peak_bytes", "commit", "machine"} <= set(record)
