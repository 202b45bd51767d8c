from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from volproc.core.errors import AddressError, FormatError, MissingFileError, ShapeError
from volproc.core.points import Points
from volproc.io.points import read_points, write_points

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def one_point() -> Points:
    return Points.from_zyx([[1, 2, 3]], class_name="a", voxel_size=(10.0,) * 3, shape=(5, 7, 11))


def test_an_unknown_ending_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(AddressError, match=r"\.csv, \.star, \.npy"):
        read_points(tmp_path / "points.txt")
    with pytest.raises(AddressError, match=r"\.csv, \.star, or config"):
        write_points(one_point(), tmp_path / "points.npy")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="Make the folder"):
        write_points(one_point(), tmp_path / "none" / "points.csv")
    assert list(tmp_path.iterdir()) == []


def test_endings_may_be_upper_case(tmp_path: Path) -> None:
    write_points(one_point(), tmp_path / "POINTS.CSV")
    assert read_points(tmp_path / "POINTS.CSV").zyx.tolist() == [[1.0, 2.0, 3.0]]


def test_numpy_points_are_voxels_zyx(tmp_path: Path) -> None:
    np.save(tmp_path / "points.npy", np.array([[1, 2, 3]], np.int16))
    points = read_points(tmp_path / "points.npy", voxel_size=(1, 2, 3), object_name="a")
    assert points.zyx.tolist() == [[1.0, 2.0, 3.0]]
    assert (points.class_names, points.voxel_size) == (("a",), (1.0, 2.0, 3.0))


def test_numpy_arrays_of_another_shape_or_kind_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "points.npy", np.zeros((3, 4)))
    with pytest.raises(ShapeError, match=r"\(3, 4\)"):
        read_points(tmp_path / "points.npy", voxel_size=1.0)
    np.save(tmp_path / "pickle.npy", np.array([{}], object))
    with pytest.raises(FormatError, match="no readable"):
        read_points(tmp_path / "pickle.npy", voxel_size=1.0)


@pytest.mark.skipif(not SHARED.exists(), reason="shared data are not here")
def test_real_picks_survive_every_format(tmp_path: Path) -> None:
    picks = read_points(
        SHARED / "points" / "tomo_point.npy", voxel_size=7.84, shape=(310, 510, 490)
    )
    assert len(picks) == 5377
    for name in ("points.csv", "points.star"):
        write_points(picks, tmp_path / name)
        back = read_points(tmp_path / name, voxel_size=7.84)
        np.testing.assert_allclose(back.zyx, picks.zyx, atol=1e-6, rtol=0)
