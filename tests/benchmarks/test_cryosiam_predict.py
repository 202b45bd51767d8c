"""The benchmark of CryoSiam's prediction, in its tiny version."""

import json

import pytest

from benchmarks.cryosiam_predict import main


def test_a_prediction_is_planned_and_watched_from_outside(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--tiny"]) == 0
    large, tiny = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert large["case"]["shape"] == [464, 960, 928]
    assert large["planned_bytes"] < 3e9
    assert large["work_of_cryosiam"] == pytest.approx(9.13, abs=0.01)
    assert large["ratio_to_cryosiam"] < 0.4
    assert tiny["is_whole"]
    assert tiny["work"] == 1
    assert 0 < tiny["ratio_to_plan"] < 1.2
