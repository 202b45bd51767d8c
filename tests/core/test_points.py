"""Points are a table with known columns."""

import numpy as np
import pandas as pd
import pytest

from volproc.core.errors import ShapeError
from volproc.core.points import COLUMNS, Points, concat_points

FRAME = {"voxel_size": (10.0, 10.0, 10.0), "shape": (8, 9, 10)}


def test_points_from_centres_have_every_column() -> None:
    points = Points.from_zyx([[1, 2, 3], [4, 5, 6.5]], class_name="a", score=[0.5, 1], **FRAME)
    assert tuple(points.table.columns) == COLUMNS
    np.testing.assert_array_equal(points.zyx, [[1, 2, 3], [4, 5, 6.5]])
    assert list(points.table["score"]) == [0.5, 1.0]
    assert list(points.table["num_voxels"]) == [0, 0]


def test_no_points_are_points_too() -> None:
    points = Points.from_zyx(np.zeros((0, 3)), class_name="a", **FRAME)
    assert len(points) == 0
    assert points.zyx.shape == (0, 3)
    assert points.class_names == ()


def test_select_keeps_one_class() -> None:
    points = Points.from_zyx(np.arange(9), class_name=["a", "b", "a"], **FRAME)
    assert points.class_names == ("a", "b")
    np.testing.assert_array_equal(points.select("a").zyx, [[0, 1, 2], [6, 7, 8]])


def test_a_table_that_lacks_columns_is_refused() -> None:
    with pytest.raises(ShapeError, match="lacks class_name, score, num_voxels"):
        Points(pd.DataFrame({"z": [1.0], "y": [1.0], "x": [1.0]}), (1.0,) * 3, (5, 5, 5))


def test_points_of_different_volumes_do_not_join() -> None:
    one = Points.from_zyx([1, 2, 3], class_name="a", **FRAME)
    other = Points.from_zyx([1, 2, 3], class_name="a", voxel_size=(1.0,) * 3, shape=(9, 9, 9))
    with pytest.raises(ShapeError, match="different shapes"):
        concat_points([one, other])
    with pytest.raises(ShapeError, match="no points"):
        concat_points([])
    assert len(concat_points([one, one])) == 2
