"""The benchmark of sliding windows, in its tiny version."""

from collections.abc import Callable
from typing import Any


def test_tiny_cases_are_compared_with_monai_and_with_bare_passes(
    measure: Callable[..., list[dict[str, Any]]],
) -> None:
    records = measure("sliding_window", "--tiny", "--repeats", "1")
    assert [r["case"]["name"] for r in records] == ["tiny", "tiny-batches"]
    for record in records:
        assert max(record["difference_from_monai"].values()) <= 1e-5
        assert set(record["ratio"]) == {"forward", "monai", "lazy"}
        assert set(record["ratio_to_forward"]) == {"engine", "monai", "lazy"}
        assert record["median_s"] > 0
