"""The benchmark of labelling on workers, in its tiny version."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any


def test_the_tiny_case_gives_times_and_the_workers_memory(
    measure: Callable[..., list[dict[str, Any]]],
) -> None:
    (record,) = measure("label_stores", "--tiny", "--repeats", "1")
    others = {"dask_image"} if find_spec("dask_image") else set()
    assert set(record["ratio"]) == {"cc3d", "scipy"} | others
    assert record["worker_peak_bytes"] > 0
    assert record["worker_bare_bytes"] > 0
