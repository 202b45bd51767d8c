"""Files of picks, parsed as copick parses them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from volproc.io.picks_file import IDENTITY, parse_picks

HEAD = {"pickable_object_name": "ribosome", "user_id": "me", "session_id": "1"}
SHIFTED = [[1, 0, 0, 0.5], [0, 1, 0, -2], [0, 0, 1, 4], [0, 0, 0, 1]]


def _point(**more: Any) -> dict[str, Any]:
    return {"location": {"x": 1.5, "y": 2, "z": "3"}, **more}


def _file(*points: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**HEAD, "points": list(points), **more}


def test_points_are_those_that_copick_reads() -> None:
    models = pytest.importorskip("copick.models")
    values = _file(
        _point(),
        _point(transformation_=SHIFTED, instance_id=7, score=0.25),
        _point(transformation_=IDENTITY, instance_id=None, score=None),
        voxel_spacing=10,
        unit="angstrom",
    )
    expected = models.CopickPicksFile(**values)
    found = parse_picks(values)
    centres = [
        np.array([p.location.x, p.location.y, p.location.z]) + np.array(p.transformation_)[:3, 3]
        for p in expected.points
    ]
    np.testing.assert_array_equal(found.centres_xyz, centres)
    np.testing.assert_array_equal(found.instances, [p.instance_id or 0 for p in expected.points])
    assert found.scores.tolist() == [1.0, 0.25, 1.0]
    assert (found.class_name, found.voxel_spacing) == ("ribosome", 10.0)


@pytest.mark.parametrize("points", [None, []])
def test_a_file_without_points_is_whole(points: list[Any] | None) -> None:
    found = parse_picks({**HEAD, "points": points})
    assert found.centres_xyz.shape == (0, 3)
    assert len(found.scores) == len(found.instances) == 0


@pytest.mark.parametrize(
    "values",
    [
        [],
        {"points": []},
        {**HEAD, "user_id": 5},
        _file({"location": {"x": 1, "y": 2}}),
        _file({"location": {"x": 1, "y": 2, "z": None}}),
        _file(_point(transformation_=None)),
        _file(_point(transformation_=IDENTITY[:3])),
        _file(_point(transformation_=[*IDENTITY[:3], [0, 0, 0, 2]])),
        _file(_point(), _point(transformation_=[[1]])),
        _file(_point(instance_id=1.5)),
        _file(_point(score="high")),
    ],
)
def test_what_copick_refuses_is_refused(values: Any) -> None:
    models = pytest.importorskip("copick.models")
    with pytest.raises((ValueError, TypeError)):
        models.CopickPicksFile(**values)
    with pytest.raises((ValueError, TypeError, KeyError)):
        parse_picks(values)
