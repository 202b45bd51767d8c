from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.io.xyz import (
    xyz_angstrom_to_zyx,
    xyz_centered_angstrom_to_zyx,
    zyx_to_xyz_angstrom,
    zyx_to_xyz_centered_angstrom,
)

coordinate = st.floats(-2000, 2000, allow_nan=False)
points = st.lists(st.tuples(coordinate, coordinate, coordinate), max_size=5)
sizes = st.tuples(*[st.floats(0.5, 50)] * 3)
shapes = st.tuples(*[st.integers(1, 900)] * 3)


@settings(max_examples=40, deadline=None)
@given(points, sizes, shapes)
def test_both_turns_are_undone_by_their_inverse(zyx, size, shape) -> None:
    zyx = np.array(zyx).reshape(-1, 3)
    back = xyz_angstrom_to_zyx(zyx_to_xyz_angstrom(zyx, size), size)
    np.testing.assert_allclose(back, zyx, atol=1e-9)
    centred = zyx_to_xyz_centered_angstrom(zyx, size, shape)
    np.testing.assert_allclose(xyz_centered_angstrom_to_zyx(centred, size, shape), zyx, atol=1e-9)


def test_each_axis_takes_its_own_voxel_size_and_turns_round() -> None:
    xyz = zyx_to_xyz_angstrom([[2.0, 3.0, 5.0]], (10.0, 100.0, 1000.0))
    assert xyz.tolist() == [[5000.0, 300.0, 20.0]]


def test_the_first_voxel_lies_at_zero_without_a_half_voxel_shift() -> None:
    assert zyx_to_xyz_angstrom([[0.0, 0.0, 0.0]], (7.0, 8.0, 9.0)).tolist() == [[0.0, 0.0, 0.0]]


def test_the_middle_of_an_odd_volume_is_half_its_size() -> None:
    xyz = zyx_to_xyz_centered_angstrom([[2.5, 3.5, 5.5]], (10.0, 10.0, 10.0), (5, 7, 11))
    assert xyz.tolist() == [[0.0, 0.0, 0.0]]


def test_an_input_is_not_written_into() -> None:
    zyx = np.ones((4, 3))
    zyx_to_xyz_angstrom(zyx, (2.0, 3.0, 4.0))
    assert (zyx == 1).all()
