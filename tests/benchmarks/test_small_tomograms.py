"""The benchmark of many small tomograms, in its tiny version."""

from collections.abc import Callable
from typing import Any


def test_time_beside_the_network_is_told_from_time_in_it(
    measure: Callable[..., list[dict[str, Any]]],
) -> None:
    one, two = measure("small_tomograms", "--tiny")
    for record in (one, two):
        assert 0 < record["network_s"] < record["time_s"] * 2
        assert record["overhead_s"] > 0
    assert two["case"]["num_processes"] == 2
