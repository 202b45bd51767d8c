from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.core.errors import (
    AddressError,
    ExistsError,
    FormatError,
    MissingFileError,
    NonFiniteError,
    VoxelSizeError,
)
from volproc.core.points import Points
from volproc.io.points import read_points, write_points

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def some_points(**columns) -> Points:
    points = Points.from_zyx(
        [[1.25, 6.5, 10.0], [4.0, 0.1, 3.3], [2.0, 1.0, 1 / 3]],
        class_name=["ribosome", "apo-ferritin", "ribosome"],
        voxel_size=(10.0, 8.0, 6.5),
        shape=(5, 7, 11),
        score=[0.25, 1.0, 0.5],
        num_voxels=[33, 123, 7],
        name="TS_1",
    )
    return Points(points.table.assign(**columns), points.voxel_size, points.shape, points.name)


finite = st.floats(-1e4, 1e4, allow_nan=False)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.tuples(finite, finite, finite, finite), min_size=1, max_size=6))
def test_what_was_written_is_read_back(tmp_path_factory, rows) -> None:
    values = np.array(rows)
    path = tmp_path_factory.mktemp("csv") / "points.csv"
    points = Points.from_zyx(
        values[:, :3],
        class_name="a b, c",
        voxel_size=(7.84, 8.0, 13.48),
        shape=(5, 7, 11),
        score=values[:, 3],
    )
    write_points(points, path)
    back = read_points(path, voxel_size=(7.84, 8.0, 13.48))
    np.testing.assert_allclose(back.zyx, points.zyx, atol=1e-6, rtol=0)
    assert back.table["score"].tolist() == points.table["score"].tolist()
    assert back.class_names == ("a b, c",)


def test_a_table_says_its_own_voxel_size(tmp_path: Path) -> None:
    write_points(some_points(), tmp_path / "points.csv")
    back = read_points(tmp_path / "points.csv")
    np.testing.assert_allclose(back.voxel_size, (10.0, 8.0, 6.5), rtol=1e-12)
    pd.testing.assert_frame_equal(back.table, some_points().table)


def test_the_columns_are_voxels_then_angstrom_then_facts(tmp_path: Path) -> None:
    write_points(some_points(mean=[1.0, 2.0, 3.0]), tmp_path / "points.csv")
    table = pd.read_csv(tmp_path / "points.csv")
    assert list(table) == [
        "z", "y", "x", "z_angstrom", "y_angstrom", "x_angstrom",
        "class_name", "score", "num_voxels", "mean",
    ]  # fmt: skip
    assert table["z_angstrom"].tolist() == [12.5, 40.0, 20.0]
    np.testing.assert_allclose(table["x_angstrom"], table["x"] * 6.5)


def test_another_voxel_size_moves_points_by_way_of_angstrom(tmp_path: Path) -> None:
    write_points(some_points(), tmp_path / "points.csv")
    back = read_points(tmp_path / "points.csv", voxel_size=20.0, shape=(3, 3, 4))
    np.testing.assert_allclose(back.zyx * 20, some_points().zyx * [10.0, 8.0, 6.5])
    assert (back.voxel_size, back.shape) == ((20.0, 20.0, 20.0), (3, 3, 4))


def test_a_class_is_selected_and_a_wrong_one_named(tmp_path: Path) -> None:
    write_points(some_points(), tmp_path / "points.csv")
    assert len(read_points(tmp_path / "points.csv", object_name="ribosome")) == 2
    with pytest.raises(AddressError, match='did you mean "ribosome"'):
        read_points(tmp_path / "points.csv", object_name="ribsome")


def test_foreign_coordinates_are_taken_as_voxels_or_angstrom(tmp_path: Path) -> None:
    path = tmp_path / "solution.csv"
    path.write_text(
        "id,experiment,particle_type,x,y,z\n0,TS_5,ribosome,30,20,10\n1,TS_6,apo,60,40,20\n"
    )
    in_voxels = read_points(path, voxel_size=10.0, name="TS_5")
    in_angstrom = read_points(path, voxel_size=10.0, name="TS_5", unit="angstrom")
    assert in_voxels.zyx.tolist() == [[10.0, 20.0, 30.0]]
    assert in_angstrom.zyx.tolist() == [[1.0, 2.0, 3.0]]
    assert in_angstrom.class_names == ("ribosome",)
    with pytest.raises(AddressError, match=r"2 volumes .*TS_5, TS_6.*name="):
        read_points(path, voxel_size=10.0)


def test_upper_case_and_napari_columns_are_known(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("X, Y, Z\n3,2,1\n")
    assert read_points(path, voxel_size=1.0).zyx.tolist() == [[1.0, 2.0, 3.0]]
    path.write_text("index,axis-0,axis-1,axis-2\n0,1,2,3\n")
    assert read_points(path, voxel_size=1.0, object_name="a").zyx.tolist() == [[1.0, 2.0, 3.0]]


def test_no_points_are_a_table_too(tmp_path: Path) -> None:
    empty = Points.from_zyx([], class_name="a", voxel_size=(1.0,) * 3, shape=(5, 7, 11))
    write_points(empty, tmp_path / "points.csv")
    assert len(read_points(tmp_path / "points.csv", voxel_size=1.0)) == 0
    with pytest.raises(VoxelSizeError, match="voxel_size="):
        read_points(tmp_path / "points.csv")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", FormatError, "no comma-separated table"),
        ("a,b\n1,2\n", FormatError, "columns a, b"),
        ("z,y,x\n1,2,three\n", FormatError, "three"),
        ("z,y,x\n1,2,3\n1,,3\n", NonFiniteError, "row 1 of 2"),
        ("z,y,x\n1,2,inf\n", NonFiniteError, "1 rows"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text, error, message) -> None:
    (tmp_path / "points.csv").write_text(text)
    with pytest.raises(error, match=message):
        read_points(tmp_path / "points.csv", voxel_size=1.0)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.csv does not exist"):
        read_points(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(AddressError, match=r"folder\.csv is a folder.*Give the path of a table"):
        read_points(tmp_path / "folder.csv")


def test_an_existing_table_is_kept_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    write_points(some_points(), path)
    before = path.read_bytes()
    with pytest.raises(ExistsError, match="--overwrite"):
        write_points(some_points().select("ribosome"), path)
    assert path.read_bytes() == before
    assert write_points(some_points().select("ribosome"), path, overwrite=True) == [path]
    assert len(read_points(path)) == 2


def test_a_point_nowhere_leaves_no_file(tmp_path: Path) -> None:
    points = some_points()
    points.table.loc[1, "y"] = np.nan
    with pytest.raises(NonFiniteError, match="row 1"):
        write_points(points, tmp_path / "points.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "points.csv"
    write_points(some_points(), path)
    before = path.read_bytes()

    def fail(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_points(some_points().select("ribosome"), path, overwrite=True)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["points.csv"]


@pytest.mark.skipif(not SHARED.exists(), reason="shared data are not here")
def test_centroids_of_cryosiam_are_read() -> None:
    path = SHARED / "peers" / "cryosiam" / "particle" / "labels_1.csv"
    points = read_points(path, voxel_size=10.0, object_name="ribosome")
    raw = pd.read_csv(path)
    np.testing.assert_array_equal(points.zyx, raw[["centroid-0", "centroid-1", "centroid-2"]])
    assert points.table["num_voxels"].tolist() == raw["area"].tolist()
    assert (points.name, points.class_names) == ("TS_02", ("ribosome",))
