"""The benchmark of peak memory, in its tiny version."""

from collections.abc import Callable
from typing import Any


def test_twice_the_volume_does_not_take_more_memory(
    measure: Callable[..., list[dict[str, Any]]],
) -> None:
    first, second = measure("segment_memory", "--tiny")
    assert second["case"]["shape"][0] == 2 * first["case"]["shape"][0]
    for record in (first, second):
        assert record["peak_bytes"] > 0
        assert record["planned_bytes"] > 0
        assert record["time_s"] > 0
    assert second["ratio_to_first"] < 1.2


def test_the_peak_is_near_what_the_plan_has_said(
    measure: Callable[..., list[dict[str, Any]]],
) -> None:
    options = ("--shape", "64", "72", "80", "--sides", "40", "80")
    records = measure("segment_memory", *options)
    assert [max(record["chunks"]) for record in records] == [40, 80]
    for record in records:
        assert sum(record["planned_parts"].values()) == record["planned_bytes"]
        assert 0.6 < record["ratio_to_plan"] < 1.2
