"""The benchmark of Octopi's segmentation, in its tiny version."""

from collections.abc import Callable
from typing import Any


def test_a_tiny_run_is_watched_from_outside(measure: Callable[..., list[dict[str, Any]]]) -> None:
    (record,) = measure("octopi_segment", "--tiny")
    # Windows of 8 at steps of 4, two, four and three along the axes, in each of four views.
    assert record["passes"] == record["batches"] == 4 * 2 * 4 * 3
    assert record["peak_bytes"] > 100_000_000
    assert record["ratio_to_plan"] == round(record["peak_bytes"] / record["planned_bytes"], 3)
    assert record["ratio"] > 1
    assert record["time_s"] > record["network_s"]
