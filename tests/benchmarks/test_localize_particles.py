"""The benchmark of localization, in its tiny version."""

from collections.abc import Callable
from typing import Any


def test_tiny_cases_give_one_full_record_each(measure: Callable[..., list[dict[str, Any]]]) -> None:
    records = measure("localize_particles", "--tiny", "--repeats", "1")
    assert [r["case"]["name"] for r in records] == ["tiny", "tiny-raster"]
    for record in records:
        assert set(record["ratio"]) == {"scikit-image"}
        assert record["median_s"] > 0
        assert record["peak_bytes"] >= 0
