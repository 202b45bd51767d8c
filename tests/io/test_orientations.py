"""Ways become matrices, in the convention that Octopi stores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from volproc.io.orientations import face_octopi, face_zyx


@given(st.integers(0, 2**31))
def test_a_matrix_is_the_inverse_of_the_euler_angles_of_its_way(seed: int) -> None:
    way = np.random.default_rng(seed).normal(size=3)  # z, y, x
    x, y, z = way[::-1] / np.linalg.norm(way)
    (matrix,) = face_zyx([way])
    angles = np.degrees([np.arctan2(y, x), np.arccos(z), 0.0])
    expected = Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()
    np.testing.assert_allclose(matrix, expected, atol=1e-7)
    np.testing.assert_allclose(matrix @ [x, y, z], [0, 0, 1], atol=1e-12)


@pytest.mark.parametrize("z", [1.0, -2.0])
def test_a_way_along_z_is_turned_by_nothing_or_upside_down(z: float) -> None:
    (matrix,) = face_zyx([[z, 0.0, 0.0]])
    np.testing.assert_allclose(matrix, np.diag([np.sign(z), 1, np.sign(z)]), atol=1e-12)


@given(st.integers(0, 2**31))
def test_octopis_own_takes_z_for_x_and_rounds(seed: int) -> None:
    way = np.random.default_rng(seed).normal(size=3)
    np.testing.assert_allclose(face_octopi([way]), face_zyx([way[::-1]]), atol=3e-4)
    assert np.abs(face_octopi([way]) - face_zyx([way[::-1]])).max() > 0
