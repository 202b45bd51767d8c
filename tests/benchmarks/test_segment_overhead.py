"""The benchmark of what is beside the network, in its tiny version."""

from collections.abc import Callable
from typing import Any


def test_a_tiny_run_tells_the_network_from_the_rest(
    measure: Callable[..., list[dict[str, Any]]],
) -> None:
    (record,) = measure("segment_overhead", "--tiny")
    assert record["passes"] == 4
    assert 0 < record["network_s"] < record["time_s"]
    assert 0 < record["part_outside"] < 1
    assert record["ratio"] > 0
