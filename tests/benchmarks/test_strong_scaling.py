"""The benchmark of several workers, in its tiny version."""

from collections.abc import Callable
from typing import Any


def test_a_tiny_run_holds_two_workers_against_one(
    measure: Callable[..., list[dict[str, Any]]],
) -> None:
    (record,) = measure("strong_scaling", "--tiny")
    one = record["baselines"]["one_worker"]["time_s"]
    assert record["speedup"] > 0
    assert min(one, record["time_s"]) > 0
