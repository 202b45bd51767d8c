"""The benchmark of linking, in its tiny version."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any


def test_tiny_cases_give_the_objects_of_their_baselines(
    measure: Callable[..., list[dict[str, Any]]],
) -> None:
    records = measure("link_slices", "--tiny", "--repeats", "1")
    assert [r["case"]["name"] for r in records] == ["tiny", "tiny-stitch3d", "tiny-lazy"]
    cellpose = {"cellpose"} if find_spec("cellpose") else set()
    assert [set(r["ratio"]) for r in records] == [{"dense"}, cellpose, set()]
    assert all(r["median_s"] > 0 and r["voxels_per_s"] > 0 for r in records)
