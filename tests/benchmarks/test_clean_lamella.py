"""The benchmark of the lamella, in its tiny version."""

from collections.abc import Callable
from typing import Any


def test_tiny_cases_give_one_full_record_each(measure: Callable[..., list[dict[str, Any]]]) -> None:
    (record,) = measure("clean_lamella", "--tiny", "--repeats", "1")
    assert record["case"]["name"] == "tiny"
    assert set(record["ratio"]) == set(record["ratio_peak"]) == {"scipy"}
    assert record["median_s"] > 0
