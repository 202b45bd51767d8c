"""Shared options: how words become values, and what runs the work."""

import click
import pytest

from volproc.cli.options import Sizes, VoxelSize


@pytest.mark.parametrize(
    ("text", "value"),
    [("7.84", 7.84), ("1e1", 10.0), ("20,10,10", (20.0, 10.0, 10.0)), ("8, 8", (8.0, 8.0))],
)
def test_a_voxel_size_is_one_number_or_one_an_axis(text: str, value: object) -> None:
    assert VoxelSize().convert(text, None, None) == value


@pytest.mark.parametrize("text", ["0", "-3", "nan", "inf", "ten", "", "1,2,3,4", "10,,10"])
def test_an_impossible_voxel_size_is_misuse(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a voxel size"):
        VoxelSize().convert(text, None, None)


def test_sizes_are_whole_numbers_of_voxels() -> None:
    assert Sizes().convert("64", None, None) == (64, 64, 64)
    assert Sizes().convert("5,7,11", None, None) == (5, 7, 11)
    for text in ("0,1,2", "1.5", "a", ""):
        with pytest.raises(click.BadParameter, match="is not a size"):
            Sizes().convert(text, None, None)
