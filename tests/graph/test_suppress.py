"""Suppression of points and tables, lazy and not."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest

from volproc.core.errors import ConfigError, NonFiniteError, ShapeError
from volproc.core.points import Points
from volproc.core.volume import Volume
from volproc.graph.peaks import peaks
from volproc.graph.suppress import suppress


def some_points(seed: int = 0, voxel_size: tuple[float, ...] = (10.0, 10.0, 10.0)) -> Points:
    rng = np.random.default_rng(seed)
    return Points.from_zyx(
        rng.integers(0, 9, (60, 3)),
        class_name=rng.choice(["a", "b"], 60).tolist(),
        voxel_size=voxel_size,
        shape=(9, 9, 9),
        score=rng.integers(0, 5, 60),
        name="run",
    )


def greedily(table: pd.DataFrame, radius: float, scale: tuple[float, ...] = (1, 1, 1)) -> list:
    rows = sorted(
        table[["z", "y", "x", "class_name", "score"]].itertuples(index=False),
        key=lambda r: (-r.score, r.z, r.y, r.x, r.class_name),
    )
    kept: list = []
    for row in rows:
        apart = [sum(((row[i] - k[i]) * scale[i]) ** 2 for i in range(3)) for k in kept]
        if all(d > radius**2 for d in apart):
            kept.append(row)
    return [tuple(row) for row in kept]


def rows_of(points: Points) -> list:
    columns = points.table[["z", "y", "x", "class_name", "score"]]
    return list(columns.itertuples(index=False, name=None))


@pytest.mark.parametrize("seed", range(5))
def test_classes_are_alone_unless_asked(seed) -> None:
    points = some_points(seed)
    parts = [greedily(points.select(name).table, 3) for name in ("a", "b")]
    assert set(rows_of(suppress(points, 3))) == {row for part in parts for row in part}
    assert rows_of(suppress(points, 3, across_classes=True)) == greedily(points.table, 3)


def test_a_radius_in_angstrom_counts_with_the_voxel_size_of_each_axis() -> None:
    points = some_points(1, (20.0, 10.0, 5.0))
    found = suppress(points, 30, unit="angstrom", across_classes=True)
    assert rows_of(found) == greedily(points.table, 30, (20, 10, 5))
    assert rows_of(found) != rows_of(suppress(points, 3, across_classes=True))


def test_each_class_has_its_radius() -> None:
    points = some_points(2)
    found = suppress(points, {"a": 2, "b": 5})
    assert rows_of(found.select("a")) == greedily(points.select("a").table, 2)
    assert rows_of(found.select("b")) == greedily(points.select("b").table, 5)


def test_the_result_is_in_the_order_of_the_data_and_a_fixpoint() -> None:
    points = some_points(3)
    found = suppress(points, 2)
    keys = [(-r[4], *r[:4]) for r in rows_of(found)]
    assert keys == sorted(keys)
    shuffled = points.table.sample(frac=1, random_state=1)
    again = suppress(Points(shuffled, points.voxel_size, points.shape), 2)
    pd.testing.assert_frame_equal(again.table, found.table)
    pd.testing.assert_frame_equal(suppress(found, 2).table, found.table)
    assert (found.voxel_size, found.shape, found.name) == ((10,) * 3, (9,) * 3, "run")


def test_further_columns_stay_with_their_points() -> None:
    table = pd.DataFrame({"y": [0.0, 1, 8], "x": [0.0, 0, 8], "score": [1, 2, 3], "id": [7, 8, 9]})
    assert suppress(table, 2)["id"].tolist() == [9, 8]
    assert table["id"].tolist() == [7, 8, 9]


def test_lazy_peaks_are_suppressed_lazily() -> None:
    scores = np.random.default_rng(0).random((12, 13, 14))
    volume = Volume(da.from_array(scores, chunks=5), (10.0,) * 3)
    lazy = suppress(peaks(volume, min_distance=1), 40, unit="angstrom")
    points = lazy.compute(scheduler="sync")
    found = peaks(da.from_array(scores, chunks=-1), min_distance=1).compute(scheduler="sync")
    expected = suppress(found, 4)
    np.testing.assert_array_equal(points.zyx, expected[["z", "y", "x"]])
    assert len(points) < len(found)


def test_no_points_stay_no_points() -> None:
    empty = some_points().select("nobody")
    assert len(suppress(empty, 3)) == 0
    assert len(suppress(empty, 3, across_classes=True)) == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"radius": -1}, "within -1"),
        ({"radius": {"a": 1.0}}, 'class "b" has no radius'),
        ({"radius": {"a": 1.0}, "across_classes": True}, "one radius is needed"),
        ({"radius": 1, "unit": "angstroms"}, 'did you mean "angstrom"'),
    ],
)
def test_impossible_rules_are_refused(options, text) -> None:
    with pytest.raises(ConfigError, match=text):
        suppress(some_points(), **options)


def test_tables_that_lack_something_are_refused() -> None:
    table = pd.DataFrame({"y": [0.0], "x": [0.0], "score": [1.0]})
    with pytest.raises(ConfigError, match="does not know its voxel size"):
        suppress(table, 1, unit="angstrom")
    with pytest.raises(ConfigError, match="points without classes have one radius"):
        suppress(table, {"a": 1.0})
    with pytest.raises(ShapeError, match="got y, score"):
        suppress(table[["y", "score"]], 1)
    with pytest.raises(NonFiniteError, match="score nan"):
        suppress(table.assign(score=np.nan), 1)
