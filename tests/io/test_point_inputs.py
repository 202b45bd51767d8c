"""Many tables of points from a few words, and tables of several volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from volproc.core.errors import AddressError, FormatError, MissingFileError, VoxelSizeError
from volproc.core.points import Points
from volproc.io.copick_project import ProjectObject, create_project
from volproc.io.point_inputs import PointFormat, PointReader, expand_points, picks_of_runs
from volproc.io.points import write_points

VOXEL = (20.0, 10.0, 10.0)


def points(zyx: object, class_name: object = "ball") -> Points:
    return Points.from_zyx(zyx, class_name=class_name, voxel_size=VOXEL, shape=())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "picks" / "deep").mkdir(parents=True)
    for name in ("TS_10", "TS_2", ".TS_3", "deep/TS_4"):
        write_points(points([[1, 2, 3]]), f"picks/{name}.csv")
    (tmp_path / "picks" / "TS_2.csv.json").write_text("{}")
    (tmp_path / "picks" / "notes.txt").write_text("none")
    return tmp_path


@pytest.mark.usefixtures("here")
def test_folders_and_patterns_take_tables_in_natural_order() -> None:
    both = ["picks/TS_2.csv", "picks/TS_10.csv"]
    for word in ("picks", "picks/", "picks/*", "picks/TS_*.csv"):
        assert list(expand_points([word])) == both, word
    assert list(expand_points(["picks/**/TS_4.csv", "none.star"])) == [
        "picks/deep/TS_4.csv", "none.star"
    ]  # fmt: skip
    assert list(expand_points(["picks", "picks/TS_2.csv", "./picks/TS_10.csv"])) == both
    assert list(expand_points(["c.json:*/:me/1"])) == ["c.json:*/:me/1"]
    for word, message in (
        ("picks/*.txt", "1 files fit picks/.*, none of which holds points"),
        ("nothing/*.csv", "nothing fits nothing/"),
    ):
        with pytest.raises(MissingFileError, match=message):
            list(expand_points([word]))


def test_lists_name_tables_and_no_lists(here: Path) -> None:
    (here / "list.txt").write_text("# tables\npicks/TS_1*.csv\nother.npy # one\n")
    assert list(expand_points(["@list.txt"])) == ["picks/TS_10.csv", "other.npy"]
    (here / "more.txt").write_text("@list.txt\n")
    with pytest.raises(FormatError, match=r"more\.txt names another list, list\.txt"):
        list(expand_points(["@more.txt"]))


def test_a_table_of_several_volumes_is_read_volume_by_volume(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ["tomo,z,y,x,z_angstrom,y_angstrom,x_angstrom"]
    rows += [f"{name},{n},{n},{n},{20 * n},{10 * n},{10 * n}" for name in "ba" for n in range(4)]
    Path("all.csv").write_text("\n".join(rows))
    reader = PointReader(PointFormat())
    assert reader.names("all.csv") == ("a", "b")
    Path("all.csv").unlink()  # it was parsed, and is not read again
    for name in "ab":
        found = reader.read("all.csv", name)
        assert found.name == name
        np.testing.assert_allclose(found.zyx * found.voxel_size, np.arange(4)[:, None] * VOXEL)
    with pytest.raises(AddressError, match='no points of "c"; known are: a, b'):
        reader.read("all.csv", "c")
    with pytest.raises(AddressError, match=r"points of 2 volumes \(a, b\)"):
        reader.read("all.csv")


def test_a_star_table_of_several_volumes_is_read_volume_by_volume(here: Path) -> None:
    head = "data_\n\nloop_\n_rlnTomoName #1\n"
    head += "".join(f"_rlnCoordinate{c} #{n}\n" for n, c in enumerate("XYZ", 2))
    Path("all.star").write_text(head + "TS_1 1 2 3\nTS_2 4 5 6\nTS_1 7 8 9\n")
    reader = PointReader(PointFormat(pixel_size=5.0))
    assert reader.names("all.star") == ("TS_1", "TS_2")
    found = reader.read("all.star", "TS_1")
    assert (found.zyx * found.voxel_size).tolist() == [[15, 10, 5], [45, 40, 35]]
    with pytest.raises(VoxelSizeError, match="how large its voxels are"):
        PointReader(PointFormat()).read("all.star", "TS_1")


@pytest.mark.usefixtures("here")
def test_what_is_in_angstrom_needs_no_voxel_size() -> None:
    config = create_project("c.json", objects=(ProjectObject("ball", 1, 20.0),), runs=["TS_1"])
    write_points(points([[1, 2, 3]]), f"{config}:TS_1/:me/1")
    write_points(points([[0, 2, 3]]), "zero.csv")
    write_points(points([]), "empty.csv")
    Path("plain.csv").write_text("x,y,z\n30,20,20\n")
    reader = PointReader(PointFormat())
    for address, expected in (
        (f"{config}:TS_1/:me/1", [[20, 20, 30]]),
        ("zero.csv", [[0, 20, 30]]),
        ("empty.csv", []),
    ):
        found = reader.read(address)
        assert (found.zyx * found.voxel_size).tolist() == expected, address
    assert PointReader(PointFormat(unit="angstrom")).read("plain.csv").zyx.tolist() == [
        [20, 20, 30]
    ]
    with pytest.raises(VoxelSizeError, match="how large its voxels are"):
        reader.read("plain.csv")
    given = PointReader(PointFormat(voxel_size=VOXEL)).read("zero.csv")
    assert given.zyx.tolist() == [[0, 2, 3]]


@pytest.mark.usefixtures("here")
def test_runs_of_a_project_say_whether_they_have_the_picks() -> None:
    config = create_project(
        "c.json",
        objects=(ProjectObject("ball", 1, 20.0), ProjectObject("rod", 2, 20.0)),
        runs=["TS_10", "TS_2", "other"],
    )
    write_points(points([[1, 2, 3]]), f"{config}:TS_10/:me/1")
    assert picks_of_runs("c.json:TS_*/:me/1") == {"TS_2": False, "TS_10": True}
    assert picks_of_runs("c.json:*/rod:me/1") == {"other": False, "TS_2": False, "TS_10": False}
    assert picks_of_runs("c.json:*/:me/1", ["TS_10"]) == {"TS_10": True}
    with pytest.raises(AddressError, match=r'no run of c\.json fits "X'):
        picks_of_runs("c.json:X*/:me/1")
    with pytest.raises(AddressError, match='no run "TS_3"'):
        picks_of_runs("c.json:*/:me/1", ["TS_3"])
