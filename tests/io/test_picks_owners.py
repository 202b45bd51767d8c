"""Whose picks a project has: every run, and the first session of each object."""

from pathlib import Path

import pytest

from volproc.core.errors import AddressError
from volproc.core.points import Points
from volproc.io.copick_project import ProjectObject, create_project
from volproc.io.picks_owners import check_runs, list_owners
from volproc.io.points import write_points


def test_sessions_are_listed_by_run_and_object(tmp_path: Path) -> None:
    objects = (ProjectObject("ball", 1, 9.0), ProjectObject("rod", 2, 9.0))
    config = create_project(tmp_path / "c.json", objects=objects, runs=["TS_10", "TS_2"])
    for name, owner in (("ball", "me/2"), ("ball", "me/3"), ("rod", "me/3"), ("rod", "you/1")):
        one = Points.from_zyx([[1, 2, 3]], class_name=name, voxel_size=(1.0,) * 3, shape=())
        write_points(one, f"{config}:TS_10/{name}:{owner}")
    owners = list_owners(config)
    assert list(owners.runs) == ["TS_2", "TS_10"], "in natural order, also those without picks"
    assert owners.sessions("TS_10", "me") == {"ball": "2", "rod": "3"}
    assert owners.sessions("TS_10", "me", "3") == {"ball": "3", "rod": "3"}
    assert owners.sessions("TS_2", "me") == {}
    owners.check("you", None, config)
    with pytest.raises(AddressError, match=r'picks of me/1; did you mean "me/[23]"'):
        owners.check("me", "1", config)
    check_runs(config, ["TS_2"])
    with pytest.raises(AddressError, match="TS_3"):
        check_runs(config, ["TS_2", "TS_3"])
