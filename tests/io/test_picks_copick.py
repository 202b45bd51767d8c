from __future__ import annotations

import json
from pathlib import Path

import copick
import numpy as np
import pytest
from copick.models import CopickPoint

from volproc.core.errors import (
    AddressError,
    ExistsError,
    FormatError,
    NonFiniteError,
    VoxelSizeError,
)
from volproc.core.points import Points
from volproc.io.copick_address import picks_address
from volproc.io.copick_project import ProjectObject, add_tomogram, create_project
from volproc.io.points import read_points, write_points

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
OCTOPI = SHARED / "peers" / "octopi"

OBJECTS = (
    ProjectObject("ribosome", 1, 130.0),
    ProjectObject("apo-ferritin", 2, 60.0),
    ProjectObject("virus", 3, 400.0),
)
SHAPE = (5, 7, 11)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    config = create_project(tmp_path / "copick.json", objects=OBJECTS, runs=["TS_1", "TS_2"])
    add_tomogram(config, "TS_1", "wbp", np.zeros(SHAPE, np.float32), voxel_size=10.0)
    return config


def some_points(*names: str) -> Points:
    points = Points.from_zyx(
        [[1.25, 6.5, 10.0], [4.0, 0.1, 3.3], [2.0, 1.0, 1 / 3]],
        class_name=["ribosome", "apo-ferritin", "ribosome"],
        voxel_size=(10.0,) * 3,
        shape=SHAPE,
        score=[0.25, 1.0, 0.5],
    )
    table = points.table.assign(instance_id=[7, 8, 9])
    chosen = table[table["class_name"].isin(names)] if names else table
    return Points(chosen.reset_index(drop=True), points.voxel_size, SHAPE)


def address(config: Path, object_name: str = "") -> str:
    return picks_address(config, "TS_1", user="volproc", session="1", object_name=object_name)


def copick_run(config: Path):
    return copick.from_file(str(config)).get_run("TS_1")


def test_picks_are_read_back_with_class_score_and_number(config: Path) -> None:
    points = some_points()
    write_points(points, address(config))
    back = read_points(address(config))
    expected = points.table.sort_values("class_name", kind="stable")
    np.testing.assert_allclose(
        back.zyx, expected[["z", "y", "x"]].to_numpy(float), atol=1e-9, rtol=0
    )
    for column in ("class_name", "score", "instance_id"):
        assert back.table[column].tolist() == expected[column].tolist()
    assert (back.voxel_size, back.shape, back.name) == ((10.0,) * 3, SHAPE, "TS_1")


def test_copick_reads_xyz_in_angstrom_without_a_shift(config: Path) -> None:
    paths = write_points(some_points(), address(config))
    assert sorted(p.name for p in paths) == [
        "volproc_1_apo-ferritin.json",
        "volproc_1_ribosome.json",
    ]
    (picks,) = copick_run(config).get_picks(object_name="ribosome", user_id="volproc")
    positions, transforms = picks.numpy()
    np.testing.assert_allclose(positions, [[100.0, 65.0, 12.5], [10 / 3, 10.0, 20.0]])
    np.testing.assert_array_equal(transforms, np.eye(4)[None].repeat(2, 0))
    assert picks.scores().tolist() == [0.25, 0.5]
    assert picks.instance_ids().tolist() == [7, 9]
    assert (picks.session_id, picks.meta.run_name, picks.meta.unit) == ("1", "TS_1", "angstrom")
    assert picks.meta.voxel_spacing == 10.0
    assert picks.trust_orientation is False


def test_a_shift_of_a_pick_belongs_to_its_centre(config: Path) -> None:
    shifted = np.eye(4)
    shifted[:3, 3] = [10.0, 20.0, 30.0]
    point = CopickPoint(location={"x": 30, "y": 20, "z": 10}, transformation_=shifted.tolist())
    point.score = None
    picks = copick_run(config).new_picks("ribosome", "1", user_id="tool")
    picks.points = [point]
    picks.store()
    found = read_points(f"{config}:TS_1/ribosome:tool/1")
    assert found.zyx.tolist() == [[4.0, 4.0, 4.0]]
    assert found.table["score"].tolist() == [1.0]


def test_a_class_without_points_does_not_go_stale(config: Path) -> None:
    write_points(some_points(), address(config))
    paths = write_points(some_points("apo-ferritin"), address(config), overwrite=True)
    assert sorted(p.name for p in paths) == [
        "volproc_1_apo-ferritin.json",
        "volproc_1_ribosome.json",
    ]
    assert read_points(address(config)).class_names == ("apo-ferritin",)
    assert len(read_points(address(config, "ribosome"))) == 0


def test_picks_of_one_class_leave_the_others_alone(config: Path) -> None:
    write_points(some_points("ribosome"), address(config, "ribosome"))
    write_points(some_points("apo-ferritin"), address(config, "apo-ferritin"))
    (path,) = write_points(some_points("virus"), address(config, "apo-ferritin"), overwrite=True)
    assert path.name == "volproc_1_apo-ferritin.json"
    assert len(read_points(address(config))) == 2


def test_existing_picks_are_kept_unless_asked(config: Path) -> None:
    (path,) = write_points(some_points("ribosome"), address(config))
    before = path.read_bytes()
    for points in (some_points("ribosome"), some_points("apo-ferritin")):
        with pytest.raises(ExistsError, match=r"volproc_1_ribosome\.json.*--overwrite"):
            write_points(points, address(config))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_class_that_is_no_object_is_named_and_nothing_written(config: Path) -> None:
    points = some_points()
    points.table.loc[0, "class_name"] = "ribsome"
    with pytest.raises(AddressError, match=r'"ribsome" is no object .*did you mean "ribosome"'):
        write_points(points, address(config))
    assert not list(config.parent.rglob("Picks"))


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("TS_9/:volproc/1", 'no run "TS_9"'),
        ("TS_1/ribosome", "no user and session"),
        ("TS_1/ribosome:volproc/1", "is for ribosome, got points of apo-ferritin, ribosome"),
        ("TS_1/:vol_proc/1", "'vol-proc'"),
        ("TS_1/:volproc/a b", "'a-b'"),
    ],
)
def test_an_address_that_cannot_be_written_is_refused(config, rest, message) -> None:
    with pytest.raises(AddressError, match=message):
        write_points(some_points(), f"{config}:{rest}")
    assert not list(config.parent.rglob("Picks"))


def test_a_point_nowhere_leaves_no_file(config: Path) -> None:
    points = some_points()
    points.table.loc[2, "x"] = np.inf
    with pytest.raises(NonFiniteError, match="row 2"):
        write_points(points, address(config))
    assert not list(config.parent.rglob("Picks"))


def test_a_missing_score_is_none_in_the_file(config: Path) -> None:
    points = some_points("apo-ferritin")
    points.table.loc[0, "score"] = np.nan
    (path,) = write_points(points, address(config))
    assert json.loads(path.read_text())["points"][0]["score"] is None


def test_a_failed_write_replaces_none_of_the_files(config: Path, monkeypatch) -> None:
    paths = write_points(some_points(), address(config))
    before = [p.read_bytes() for p in paths]
    write_text = Path.write_text

    def fail(path, text, **options):
        if "ribosome" in path.name:
            raise OSError(28, "No space left on device")
        return write_text(path, text, **options)

    monkeypatch.setattr(Path, "write_text", fail)
    moved = some_points()
    moved.table["z"] += 1
    with pytest.raises(OSError, match="No space"):
        write_points(moved, address(config), overwrite=True)
    assert [p.read_bytes() for p in paths] == before
    assert len(list(paths[0].parent.iterdir())) == 2


def test_user_and_session_may_be_left_out_where_there_is_one(config: Path) -> None:
    write_points(some_points(), address(config))
    assert len(read_points(f"{config}:TS_1/ribosome")) == 2
    write_points(some_points(), picks_address(config, "TS_1", user="volproc", session="2"))
    with pytest.raises(AddressError, match=r"several sets.*ribosome:volproc/1, ribosome:volproc/2"):
        read_points(f"{config}:TS_1/ribosome")
    with pytest.raises(AddressError, match=r"no picks fit.*there are apo-ferritin:volproc/1"):
        read_points(f"{config}:TS_1/virus:volproc/1")


def test_the_voxel_size_is_asked_for_where_the_project_does_not_tell(config: Path) -> None:
    picks = copick_run(config).new_picks("virus", "1", user_id="tool")
    picks.from_numpy(np.array([[30.0, 20.0, 10.0]]))
    virus = f"{config}:TS_1/virus:tool/1"
    assert read_points(virus).voxel_size == (10.0,) * 3
    add_tomogram(config, "TS_1", "wbp", np.zeros((3, 4, 6), np.float32), voxel_size=20.0)
    with pytest.raises(VoxelSizeError, match="10, 20 Å"):
        read_points(virus)
    by_address = read_points(f"{virus}@20")
    assert (by_address.zyx.tolist(), by_address.shape) == ([[0.5, 1.0, 1.5]], (3, 4, 6))
    assert read_points(virus, voxel_size=5.0).zyx.tolist() == [[2.0, 4.0, 6.0]]
    assert read_points(virus, voxel_size=10.0).shape == SHAPE


def test_damaged_picks_are_named(config: Path) -> None:
    (path,) = write_points(some_points("ribosome"), address(config))
    path.write_text(path.read_text()[:200])
    with pytest.raises(FormatError, match="ribosome:volproc/1"):
        read_points(address(config))
    path.rename(path.with_name("notes.json"))
    with pytest.raises(FormatError, match=r"USER_SESSION_OBJECT\.json"):
        read_points(address(config))


def test_picks_need_volumes(config: Path) -> None:
    flat = Points(some_points().table, (10.0, 10.0), (7, 11))
    with pytest.raises(ValueError, match=r"volumes \(z, y, x\)"):
        write_points(flat, address(config))


@pytest.mark.skipif(not SHARED.exists(), reason="shared data are not here")
def test_picks_of_octopi_are_read_from_anywhere(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    points = read_points(f"{OCTOPI}/config.json:TS_2/:data-portal/0")
    assert (points.voxel_size, points.shape) == ((10.0,) * 3, (64, 128, 128))
    assert points.class_names == ("apo-ferritin", "beta-galactosidase", "ribosome")
    raw = json.loads(
        (OCTOPI / "project/ExperimentRuns/TS_2/Picks/data-portal_0_ribosome.json").read_text()
    )
    expected = [[p["location"][a] / 10 for a in "zyx"] for p in raw["points"]]
    np.testing.assert_allclose(points.select("ribosome").zyx, expected)
    assert (points.zyx < points.shape).all()
