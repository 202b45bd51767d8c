"""The benchmark of reading by block, in its tiny version."""

from collections.abc import Callable
from typing import Any


def test_tiny_cases_are_compared_with_what_lies_beneath(
    measure: Callable[..., list[dict[str, Any]]],
) -> None:
    records = measure("read_blocks", "--tiny", "--repeats", "1")
    assert [set(r["ratio"]) for r in records] == [
        {"memmap", "source"},
        {"zarr", "source"},
        {"h5py", "source"},
    ]
    assert all(r["median_s"] > 0 and r["voxels_per_s"] > 0 for r in records)
