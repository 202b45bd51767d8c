"""Training data from a copick project: picks become balls, segmentations classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from volproc.core.errors import AddressError, ConfigError
from volproc.core.points import Points
from volproc.io.copick_project import ProjectObject, create_project
from volproc.io.create import create
from volproc.io.points import write_points
from volproc.training.data import load_data
from volproc.training.settings import CopickData, TrainingSettings

SHAPE = (20, 24, 28)
CENTRES = [[5.0, 6.0, 7.0], [12.0, 15.0, 20.0]]


def write(address: str, array: np.ndarray, kind: str) -> None:
    sink = create(address, shape=array.shape, dtype=array.dtype, voxel_size=(10.0,) * 3, kind=kind)
    for start in np.ndindex(*(-(-n // c) for n, c in zip(array.shape, sink.chunks, strict=True))):
        region = tuple(
            slice(i * c, min((i + 1) * c, n))
            for i, c, n in zip(start, sink.chunks, array.shape, strict=True)
        )
        sink.write(region, array[region])
    sink.finish()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    config = create_project(
        tmp_path / "config.json",
        objects=[
            ProjectObject("ribosome", 1, 40.0, is_particle=True),
            ProjectObject("membrane", 2, None, is_particle=False),
        ],
        runs=("TS_1", "TS_2"),
    )
    rng = np.random.default_rng(0)
    write(f"{config}:TS_1/wbp@10", rng.normal(0, 1, SHAPE).astype(np.float32), "intensity")
    sheet = np.zeros(SHAPE, np.uint8)
    sheet[:, :, 2] = 5
    write(f"{config}:TS_1/membrane:me/1@10", sheet, "labels")
    points = Points.from_zyx(
        CENTRES, class_name="ribosome", voxel_size=(10.0,) * 3, shape=SHAPE, name="TS_1"
    )
    write_points(points, f"{config}:TS_1/:me/1")
    return config


def settings(project: Path, **changes: object) -> TrainingSettings:
    values: dict[str, object] = {
        "config": str(project),
        "tomogram": "wbp",
        "voxel_size": 10.0,
        "picks": {"ribosome": "ribosome:me/1"},
        "segmentations": {"membrane": "membrane:me/1"},
        "radius_fraction": 0.5,
    }
    return TrainingSettings(
        classes=("background", "ribosome", "membrane"),
        radii={"ribosome": 40.0},
        train=(CopickData(**{**values, **changes}),),
        patch=(16, 16, 16),
    )


@pytest.mark.parametrize("memory_bytes", [0, 2**20])
def test_picks_become_balls_and_segmentations_classes(project: Path, memory_bytes: int) -> None:
    wanted = replace(settings(project), memory_bytes=memory_bytes)
    (volume,) = load_data(wanted, wanted.train)
    classes = volume.classes.read(tuple(slice(0, n) for n in SHAPE))
    z, y, x = np.ogrid[tuple(slice(0, n) for n in SHAPE)]
    expected = np.zeros(SHAPE, np.uint8)
    expected[:, :, 2] = 2
    for a, b, c in CENTRES:  # radius 40 Å, half of it, at 10 Å: 2 voxels
        expected[(z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2 <= 4] = 1
    np.testing.assert_array_equal(classes, expected)
    assert sorted(volume.positions) == [1, 2]


def test_a_class_without_a_radius_is_named(project: Path) -> None:
    wanted = replace(settings(project), radii={})
    with pytest.raises(ConfigError, match='"ribosome", which has no radius'):
        load_data(wanted, wanted.train)


def test_data_that_show_no_class_are_refused(project: Path) -> None:
    wanted = settings(project, picks={}, segmentations={})
    with pytest.raises(ConfigError, match="neither picks nor segmentations"):
        load_data(wanted, wanted.train)


def test_a_tomogram_that_no_run_has_is_named(project: Path) -> None:
    wanted = settings(project, tomogram="denoised")
    with pytest.raises(ConfigError, match="a tomogram denoised at 10 Å"):
        load_data(wanted, wanted.train)


def test_a_run_that_is_not_there_is_named(project: Path) -> None:
    wanted = settings(project, runs=("TS_9",))
    with pytest.raises(AddressError, match="TS_9"):
        load_data(wanted, wanted.train)
