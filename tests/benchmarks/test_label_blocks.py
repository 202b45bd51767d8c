"""The benchmark of labelling, in its tiny version."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any


def test_tiny_cases_give_one_full_record_each(measure: Callable[..., list[dict[str, Any]]]) -> None:
    records = measure("label_blocks", "--tiny", "--repeats", "1")
    assert [r["case"]["name"] for r in records] == ["tiny", "tiny-classes", "tiny-micrograph"]
    for record in records:
        assert record["median_s"] > 0
        assert record["voxels_per_s"] > 0
        assert record["machine"]
        assert set(record["ratio"]) == set(record["baselines"])
        assert {"spread_s", "peak_bytes", "commit"} <= set(record)
    others = {"dask_image"} if find_spec("dask_image") else set()
    assert set(records[0]["ratio"]) == {"cc3d", "scipy"} | others
    assert set(records[1]["ratio"]) == {"cc3d"}
