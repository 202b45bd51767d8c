"""The benchmark of CryoSiam's prediction, in its tiny version."""

from collections.abc import Callable
from typing import Any

import pytest


def test_a_prediction_is_planned_and_watched_from_outside(
    measure: Callable[..., list[dict[str, Any]]],
) -> None:
    large, tiny = measure("cryosiam_predict", "--tiny")
    assert large["case"]["shape"] == [464, 960, 928]
    assert large["planned_bytes"] < 3e9
    assert large["work_of_cryosiam"] == pytest.approx(9.13, abs=0.01)
    assert large["ratio_to_cryosiam"] < 0.4
    assert tiny["is_whole"]
    assert tiny["work"] == 1
    assert 0 < tiny["ratio_to_plan"] < 1.3
