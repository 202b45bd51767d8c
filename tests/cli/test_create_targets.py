"""``volproc create-targets``, by itself and among Octopi's commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import volproc
from volproc.cli.main import run
from volproc.core.points import Points
from volproc.io.copick_project import ProjectObject, add_tomogram, create_project
from volproc.io.points import write_points
from volproc.training.labelled import ArraySource

SHAPE = (12, 14, 16)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    config = create_project(
        tmp_path / "config.json",
        objects=[
            ProjectObject("ribosome", 4, 30.0),
            ProjectObject("proteasome", 2, 20.0),
            ProjectObject("membrane", 3, is_particle=False),
        ],
    )
    for name in ("TS_1", "TS_2"):
        add_tomogram(config, name, "wbp", np.zeros(SHAPE, np.float32), voxel_size=10.0)
    for user in ("me", "you"):
        points = Points.from_zyx(
            [[5.0, 6.0, 7.0]], class_name="ribosome", voxel_size=(10.0,) * 3, shape=SHAPE
        )
        write_points(points, f"{config}:TS_1/ribosome:{user}/1")
    return config


def test_octopis_short_flags_paint_named_targets(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-t", "proteasome", "-t", "ribosome,me,1", "-name", "t", "-uid", "u", "-sid", "5"]
    assert run(["octopi", "create-targets", "-c", str(project), *words, "-rs", "1", "-q"]) == 0
    out, err = capsys.readouterr()
    assert "TS_1  proteasome 0, ribosome 1" in out
    assert "proteasome=1, ribosome=2" in out
    assert "note: TS_2 has neither" in err
    found = np.asarray(volproc.open(f"{project}:TS_1/t:u/5@10").data)
    assert (int(found.max()), int((found == 2).sum())) == (2, 123)  # a ball of three voxels
    assert (project.parent / "project/logs/targets-u_5_t.yaml").exists()


def test_targets_are_named_as_octopi_1_7_names_them(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:4] = 1
    where = f"{project}:TS_1/membrane:seg/3@10"
    volproc.save(volproc.from_source(ArraySource(mask), voxel_size=10.0), where)
    words = ["-t", "membrane:seg/3", "-t", "ribosome:me", "-turi", "t:u/5", "-uri", "wbp@10.0"]
    assert run(["octopi", "create-targets", "-c", str(project), *words, "-runs", "TS_1", "-q"]) == 0
    assert "membrane=1, ribosome=2" in capsys.readouterr().out
    found = np.asarray(volproc.open(f"{project}:TS_1/t:u/5@10").data)
    np.testing.assert_array_equal(found == 1, (mask == 1) & (found != 2))
    assert found[5, 6, 7] == 2
    for more, text in (
        (["-uri", "wbp@10", "-vs", "10"], "--tomo-uri has type and spacing"),
        (["-turi", "t", "-uid", "me"], "--target-uri has name, user and session"),
    ):
        assert run(["create-targets", "-c", str(project), *more, "-q"]) == 2
        assert text in capsys.readouterr().err
    assert run(["create-targets", "-c", str(project), "-uri", "wbp@7", "-q"]) == 1
    assert "has a tomogram wbp at 7 Å" in capsys.readouterr().err


def test_what_is_wrong_is_said_in_one_line(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["create-targets", "--config", str(project), "-q"]
    assert run([*base, "--target", "ribosome,me"]) == 2
    assert '"ribosome,me" is neither NAME nor NAME,USER,SESSION' in capsys.readouterr().err
    assert run([*base, "--target", "apo"]) == 1
    assert '"apo" is no object of' in capsys.readouterr().err
    assert run([*base, "--target", "membrane"]) == 1
    assert "Error: no run has picks or segmentations of any target" in capsys.readouterr().err
    assert run([*base, "--run-ids", "TS_1,TS_7"]) == 1
    assert 'no run "TS_7"' in capsys.readouterr().err
