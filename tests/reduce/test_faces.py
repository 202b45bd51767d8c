"""What blocks tell each other."""

import numpy as np
import pytest

from volproc.core.errors import ConfigError, ShapeError
from volproc.reduce.components import label_block
from volproc.reduce.faces import join_faces, upper_directions


@pytest.mark.parametrize(
    ("ndim", "connectivity", "expected"), [(3, 1, 3), (3, 2, 9), (3, 3, 13), (2, 1, 2), (2, 2, 4)]
)
def test_each_pair_of_neighbours_has_one_direction(
    ndim: int, connectivity: int, expected: int
) -> None:
    steps = upper_directions(ndim, connectivity)
    opposite = {tuple(-s for s in step) for step in steps}
    assert len(steps) == expected
    assert not opposite & set(steps)
    assert len(opposite | set(steps)) == 2 * expected


def test_planes_are_kept_only_where_there_is_a_neighbour() -> None:
    mask = np.ones((3, 4, 5), bool)
    block = label_block(mask, offset=(0, 4, 0), shape=(3, 12, 9), connectivity=1)
    assert set(block.faces.planes) == {(1, 0), (1, 1), (2, 1)}


def test_planes_without_objects_are_left_out() -> None:
    mask = np.zeros((3, 4, 5), bool)
    mask[:, :, 4] = True
    block = label_block(mask, offset=(0, 0, 0), shape=(9, 4, 9), connectivity=1)
    assert set(block.faces.planes) == {(0, 1), (2, 1)}


def test_planes_count_only_what_they_show_in_a_narrow_type() -> None:
    mask = np.zeros((11, 11, 11), bool)
    mask[1:9:2, 1:10:2, 1:10:2] = True  # 100 objects inside
    mask[-1, 5, 5] = True
    block = label_block(mask, offset=(0, 0, 0), shape=(22, 22, 22), connectivity=1)
    assert block.table.label[-1] == 101
    assert list(block.faces.planes) == [(0, 1)]
    plane = block.faces.planes[0, 1]
    assert plane.dtype == np.uint8
    assert plane.max() == 1
    assert block.faces.first.tolist() == [-1, (10 * 22 + 5) * 22 + 5]


def test_neighbours_of_another_class_are_not_joined() -> None:
    shape = (2, 4)
    blocks = [
        label_block(np.full((2, 2), value), offset=(0, 2 * i), shape=shape, connectivity=1)
        for i, value in enumerate((1, 2))
    ]
    links = join_faces(blocks[0].faces, {(0, 1): blocks[1].faces}, connectivity=1)
    assert links.shape == (0, 2)


def test_links_name_components_by_their_first_voxels() -> None:
    blocks = [
        label_block(np.ones((2, 2), bool), offset=(0, 2 * i), shape=(2, 4), connectivity=1)
        for i in range(2)
    ]
    links = join_faces(blocks[0].faces, {(0, 1): blocks[1].faces}, connectivity=1)
    assert links.tolist() == [[2, 0]]


def test_blocks_that_do_not_fit_each_other_are_refused() -> None:
    one = label_block(np.ones((2, 2), bool), offset=(0, 0), shape=(4, 4), connectivity=1)
    other = label_block(np.ones((3, 2), bool), offset=(0, 2), shape=(4, 4), connectivity=1)
    with pytest.raises(ShapeError, match=r"\(1, 2, 2\) and \(1, 3, 2\).* one chunk grid"):
        join_faces(one.faces, {(0, 1): other.faces}, connectivity=1)


def test_a_connectivity_that_two_axes_lack_is_refused() -> None:
    with pytest.raises(ConfigError, match="with 2 axes, got 3"):
        upper_directions(2, 3)
