"""The benchmark of watersheds and distances, in its tiny version."""

from collections.abc import Callable
from typing import Any


def test_tiny_cases_give_one_full_record_each(measure: Callable[..., list[dict[str, Any]]]) -> None:
    particles, landscape, distance = measure("watershed_blocks", "--tiny", "--repeats", "1")
    assert set(particles["ratio"]) == {"skimage"}
    assert set(landscape["ratio"]) == {"skimage", "whole"}
    assert set(distance["ratio"]) == {"scipy"}
    assert particles["equal"] > 0.99
    assert distance["equal"] == 1
    assert landscape["num_blocks"] == 8
    assert landscape["runs_per_block"] >= 1
