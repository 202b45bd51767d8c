"""The benchmark of measuring, in its tiny version."""

from collections.abc import Callable
from typing import Any


def test_tiny_cases_give_one_full_record_each(measure: Callable[..., list[dict[str, Any]]]) -> None:
    records = measure("measure_objects", "--tiny", "--repeats", "1")
    assert [r["case"]["name"] for r in records] == ["tiny", "tiny-all", "tiny-real"]
    for record in records:
        assert record["median_s"] > 0
        assert record["num_objects"] > 100
        assert set(record["ratio"]) == {"skimage"}
        assert {"spread_s", "peak_bytes", "commit"} <= set(record)
