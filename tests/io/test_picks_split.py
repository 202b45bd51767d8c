"""A set of picks taken apart: each pick keeps what its file says of it."""

import json
from pathlib import Path

import numpy as np
import pytest

from volproc.core.errors import AddressError, ExistsError, FormatError
from volproc.core.points import Points
from volproc.io.copick_project import ProjectObject, create_project
from volproc.io.picks_split import (
    Part,
    picks_path,
    read_whole_picks,
    refuse_existing_picks,
    write_parts,
)
from volproc.io.points import write_points


def test_parts_hold_their_picks_and_empty_ones_are_written_too(tmp_path: Path) -> None:
    config = create_project(
        tmp_path / "c.json", objects=[ProjectObject("ball", 1, 9.0)], runs=["A"]
    )
    ball = f"{config}:A/ball:"
    zyx = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    written = Points.from_zyx(
        zyx, class_name="ball", voxel_size=(2.0,) * 3, shape=(), score=[0.5, 0.25, 0.125]
    )
    write_points(written, f"{ball}me/1")
    picks = read_whole_picks(f"{ball}me/1")
    np.testing.assert_array_equal(picks.centres_xyz, np.array(zyx)[:, ::-1] * 2.0)
    assert picks.rotations.shape == (3, 3, 3)
    turn = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    parts = {
        f"{ball}me/2": Part(np.array([2, 0]), np.stack([turn, np.eye(3)])),
        f"{ball}me/3": Part(np.zeros(0, np.int64)),
    }
    paths = write_parts(picks, parts)
    assert paths == [picks_path(address) for address in parts]
    first, second = (json.loads(path.read_text()) for path in paths)
    assert [one["score"] for one in first["points"]] == [0.125, 0.5]
    assert first["session_id"] == "2"
    assert second["points"] == []
    again = read_whole_picks(f"{ball}me/2")
    np.testing.assert_array_equal(again.rotations[0], turn)
    with pytest.raises(ExistsError, match="me/2 and 1 more exist"):
        refuse_existing_picks(list(parts), overwrite=False)
    refuse_existing_picks(list(parts), overwrite=True)
    with pytest.raises(AddressError, match=r"there are no picks .*me/9"):
        read_whole_picks(f"{ball}me/9")
    paths[0].write_text("{}")
    with pytest.raises(FormatError, match="damaged"):
        read_whole_picks(f"{ball}me/2")
