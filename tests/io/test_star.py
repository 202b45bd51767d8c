from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.core.errors import AddressError, FormatError, ShapeError, VoxelSizeError
from volproc.core.points import Points
from volproc.io.points import read_points, write_points

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="shared data are not here")


def some_points(voxel_size: tuple[float, ...] = (10.0, 10.0, 10.0), name: str = "TS_1") -> Points:
    return Points.from_zyx(
        [[1.25, 6.5, 10.0], [4.0, 0.1, 3.3], [2.0, 1.0, 1 / 3]],
        class_name=["ribosome", "apo ferritin", "ribosome"],
        voxel_size=voxel_size,
        shape=(5, 7, 11),
        score=[0.25, 1.0, 0.5],
        num_voxels=[33, 123, 7],
        name=name,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "particles.star"


finite = st.floats(-900, 900, allow_nan=False)


@pytest.mark.parametrize("convention", ["corner", "centered"])
@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.tuples(finite, finite, finite), min_size=1, max_size=5))
def test_what_was_written_is_read_back(tmp_path_factory, convention, rows) -> None:
    path = tmp_path_factory.mktemp("star") / "particles.star"
    points = Points.from_zyx(rows, class_name="a b", voxel_size=(7.84,) * 3, shape=(5, 7, 11))
    write_points(points, path, convention=convention)
    back = read_points(path, shape=(5, 7, 11))
    np.testing.assert_allclose(back.zyx, points.zyx, atol=1e-6, rtol=0)
    assert (back.voxel_size, back.class_names) == (points.voxel_size, ("a b",))


def test_facts_of_points_are_read_back(path: Path) -> None:
    write_points(some_points(), path)
    back = read_points(path)
    columns = ["class_name", "score", "num_voxels"]
    pd.testing.assert_frame_equal(back.table[columns], some_points().table[columns])
    assert back.name == "TS_1"
    assert "rlnClassNumber" not in back.table


def test_corner_coordinates_are_pixels_from_the_first_voxel(path: Path) -> None:
    write_points(some_points(), path)
    blocks = starfile.read(path)
    particles = blocks["particles"]
    assert particles["rlnTomoName"].tolist() == ["TS_1"] * 3
    np.testing.assert_allclose(particles["rlnCoordinateX"], [10.0, 3.3, 1 / 3], atol=1e-7)
    np.testing.assert_allclose(particles["rlnCoordinateZ"], [1.25, 4.0, 2.0])
    assert particles["rlnClassNumber"].tolist() == [2, 1, 2]
    assert particles["rlnAutopickFigureOfMerit"].tolist() == [0.25, 1.0, 0.5]
    assert blocks["optics"]["rlnTomoTiltSeriesPixelSize"].tolist() == [10.0]
    assert set(particles["rlnOpticsGroup"]) == set(blocks["optics"]["rlnOpticsGroup"])


def test_centered_coordinates_are_angstrom_from_half_the_shape(path: Path) -> None:
    write_points(some_points(), path, convention="centered")
    particles = starfile.read(path)["particles"]
    assert "rlnCoordinateX" not in particles
    x = particles["rlnCenteredCoordinateXAngst"]
    np.testing.assert_allclose(x, (some_points().zyx[:, 2] - 11 / 2) * 10, atol=1e-6)
    z = particles["rlnCenteredCoordinateZAngst"]
    np.testing.assert_allclose(z, (some_points().zyx[:, 0] - 5 / 2) * 10, atol=1e-6)


def test_a_pixel_size_counts_in_pixels_of_the_tilt_series(path: Path) -> None:
    write_points(some_points(), path, pixel_size=2.5)
    particles = starfile.read(path)["particles"]
    np.testing.assert_allclose(particles["rlnCoordinateY"], some_points().zyx[:, 1] * 4, atol=1e-7)
    np.testing.assert_allclose(read_points(path, voxel_size=10.0).zyx, some_points().zyx, atol=1e-7)


def test_flat_voxels_need_a_pixel_size(path: Path) -> None:
    points = some_points((10.0, 8.0, 8.0))
    with pytest.raises(VoxelSizeError, match="pixel_size="):
        write_points(points, path)
    assert not path.exists()
    write_points(points, path, pixel_size=2.0)
    back = read_points(path, voxel_size=(10.0, 8.0, 8.0))
    np.testing.assert_allclose(back.zyx, points.zyx, atol=1e-6)


def test_centering_without_a_shape_is_refused(path: Path) -> None:
    points = Points.from_zyx([[1, 2, 3]], class_name="a", voxel_size=(1.0,) * 3, shape=())
    with pytest.raises(ShapeError, match="shape="):
        write_points(points, path, convention="centered")
    write_points(some_points(), path, convention="centered")
    with pytest.raises(ShapeError, match="shape="):
        read_points(path)


def test_an_unknown_convention_is_refused(path: Path) -> None:
    with pytest.raises(AddressError, match="corner"):
        write_points(some_points(), path, convention="middle")  # type: ignore[arg-type]


def test_no_points_keep_their_voxel_size(path: Path) -> None:
    empty = Points.from_zyx([], class_name="a", voxel_size=(7.5,) * 3, shape=(5, 7, 11))
    write_points(empty, path)
    back = read_points(path)
    assert (len(back), back.voxel_size) == (0, (7.5, 7.5, 7.5))


def test_names_that_look_like_numbers_stay_names(path: Path) -> None:
    write_points(some_points(name="007"), path)
    assert read_points(path, name="007").name == "007"


def test_relion_columns_go_through_and_coordinates_are_not_doubled(path: Path) -> None:
    points = some_points()
    table = points.table.assign(rlnAngleRot=[1.0, 2.0, 3.0], rlnCoordinateX=0.0, rlnOpticsGroup=7)
    write_points(Points(table, points.voxel_size, points.shape, "TS_1"), path)
    back = read_points(path)
    assert back.table["rlnAngleRot"].tolist() == [1.0, 2.0, 3.0]
    np.testing.assert_allclose(back.zyx, points.zyx, atol=1e-7)


def test_optics_groups_may_have_different_pixels(path: Path) -> None:
    optics = pd.DataFrame({"rlnOpticsGroup": [1, 2], "rlnTomoTiltSeriesPixelSize": [2.0, 4.0]})
    particles = pd.DataFrame(
        {
            "rlnCoordinateX": [10.0, 10.0],
            "rlnCoordinateY": [20.0, 20.0],
            "rlnCoordinateZ": [30.0, 30.0],
            "rlnTomoName": ["a", "a"],
            "rlnOpticsGroup": [2, 1],
        }
    )
    starfile.write({"optics": optics, "particles": particles}, path)
    assert read_points(path, voxel_size=2.0).zyx.tolist() == [[60, 40, 20], [30, 20, 10]]
    with pytest.raises(VoxelSizeError, match="voxel_size="):
        read_points(path)
    assert read_points(path, voxel_size=2.0, pixel_size=1.0).zyx.tolist()[0] == [15, 10, 5]


def test_both_kinds_of_coordinates_prefer_the_centred_where_the_shape_is_known(path: Path) -> None:
    particles = pd.DataFrame({f"rlnCoordinate{a}": [1.0] for a in "XYZ"})
    for axis in "XYZ":
        particles[f"rlnCenteredCoordinate{axis}Angst"] = [0.0]
    starfile.write({"particles": particles}, path)
    assert read_points(path, voxel_size=10.0).zyx.tolist() == [[1.0, 1.0, 1.0]]
    with_shape = read_points(path, voxel_size=10.0, shape=(4, 6, 8))
    assert with_shape.zyx.tolist() == [[2.0, 3.0, 4.0]]


def test_particles_of_m_are_in_angstrom(path: Path) -> None:
    table = pd.DataFrame(
        {f"wrpCoordinate{a}1": [v] for a, v in zip("XYZ", (30.0, 20.0, 10.0), strict=True)}
    )
    starfile.write(table.assign(wrpSourceName="TS_1.tomostar"), path)
    points = read_points(path, voxel_size=10.0, name="TS_1")
    assert points.zyx.tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize("content", [b"", b"garbage\n1 2 3\n", bytes(range(256))])
def test_a_file_that_is_no_table_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"particles\.star"):
        read_points(path, voxel_size=1.0)


@needs_shared
def test_the_old_pixel_size_of_warp_is_believed() -> None:
    path = SHARED / "points" / "one_loop.star"
    points = read_points(path, voxel_size=15.0)
    raw = starfile.read(path)
    np.testing.assert_allclose(points.zyx[:, 2], raw["rlnCoordinateX"] / 3)
    assert read_points(path).voxel_size == (5.0, 5.0, 5.0)
    assert (len(points), points.name) == (16, "tomo_ts01.mrc_15.00Apx.mrc")


@needs_shared
def test_centred_picks_of_relion_5_are_read_for_one_tomogram() -> None:
    path = SHARED / "points" / "test_jobs_Picks_job_picks_particles.star"
    points = read_points(path, name="TS_01", voxel_size=10.52, shape=(44, 136, 84))
    expected = np.array([11.16, 765.48005, -176.94]) / 10.52 + np.array([22, 68, 42])
    np.testing.assert_allclose(points.zyx[0], expected, atol=1e-6)
    assert len(points) == 3
    with pytest.raises(AddressError, match="TS_01, TS_02"):
        read_points(path, voxel_size=10.52, shape=(44, 136, 84))


@needs_shared
def test_particles_of_cryosiam_are_in_voxels() -> None:
    path = SHARED / "peers" / "cryosiam" / "particle" / "labels_1_particles.star"
    points = read_points(path, voxel_size=6.8, object_name="ribosome")
    raw = starfile.read(path)
    columns = ["rlnCoordinateZ", "rlnCoordinateY", "rlnCoordinateX"]
    np.testing.assert_array_equal(points.zyx, raw[columns])
    assert points.table["num_voxels"].tolist() == raw["rlnArea"].tolist()
    assert points.voxel_size == (6.8, 6.8, 6.8)
    with pytest.raises(VoxelSizeError, match="--voxel-size"):
        read_points(path)


@needs_shared
@pytest.mark.parametrize("name", ["postprocess", "default_pipeline", "rln3.1_data_style"])
def test_files_without_one_particles_table_are_refused(name: str) -> None:
    with pytest.raises((FormatError, AddressError), match="table"):
        read_points(SHARED / "points" / f"{name}.star", voxel_size=1.0)
