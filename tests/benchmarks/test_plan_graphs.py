"""The benchmark of planning, in its tiny version."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any


def test_tiny_cases_say_how_many_tasks_are_planned(
    measure: Callable[..., list[dict[str, Any]]],
) -> None:
    first, second = measure("plan_graphs", "--tiny", "--repeats", "1")
    assert (first["num_blocks"], second["num_blocks"]) == (8, 27)
    assert set(first["tasks"]) == {"own"} | ({"dask_image"} if find_spec("dask_image") else set())
    assert set(first["ratio"]) == set(first["baselines"]) == set(first["tasks"]) - {"own"}
    assert second["tasks"]["own"] > 3 * 27
