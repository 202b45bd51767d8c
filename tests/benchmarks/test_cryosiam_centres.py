"""The benchmark of CryoSiam's centres, in its tiny version."""

from collections.abc import Callable
from typing import Any


def test_tiny_cases_give_one_full_record_each(measure: Callable[..., list[dict[str, Any]]]) -> None:
    records = measure("cryosiam_centres", "--tiny", "--repeats", "1")
    assert [r["case"]["name"] for r in records] == ["tiny"]
    for record in records:
        assert set(record["ratio"]) == {"scipy"}
        assert record["median_s"] > 0
        assert set(record["processor_s"]) == {"own", "scipy"}
        assert record["peak_bytes"] >= 0
