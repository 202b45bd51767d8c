"""Targets of a copick project: Octopi's voxels, painted block by block, and what goes wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import volproc
from volproc.core.errors import AddressError, ConfigError, ExistsError
from volproc.core.points import Points
from volproc.io.copick_project import ProjectObject, add_tomogram, create_project
from volproc.io.octopi_logs import log_path, read_log
from volproc.io.points import write_points
from volproc.training import target_painting
from volproc.training.layers import Balls, Bumps
from volproc.training.target_choice import Source, choose_targets
from volproc.training.targets import TargetsTask, create_targets

SHAPE = (20, 24, 28)
WHOLE = tuple(slice(0, n) for n in SHAPE)
CENTRES = {
    "ribosome": [[5.3, 6.0, 7.6], [12.0, 15.25, 20.0]],
    "proteasome": [[7.9, 8.0, 8.0], [0.2, 23.0, 27.4]],
}
RADII = {"ribosome": 50.0, "proteasome": 40.0, "dust": 5.0}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    config = create_project(
        tmp_path / "config.json",
        objects=[
            ProjectObject("ribosome", 7, RADII["ribosome"]),
            ProjectObject("proteasome", 3, RADII["proteasome"]),
            ProjectObject("dust", 5, RADII["dust"]),
            ProjectObject("membrane", 9, None, is_particle=False),
        ],
        runs=("TS_1", "TS_2"),
    )
    voxels = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    add_tomogram(config, "TS_1", "wbp", voxels, voxel_size=10.0)
    for name, zyx in CENTRES.items():
        pick(config, "TS_1", name, zyx)
    return config


def pick(config: Path, run: str, name: str, zyx: object, user: str = "me") -> None:
    points = Points.from_zyx(zyx, class_name=name, voxel_size=(10.0,) * 3, shape=SHAPE, name=run)
    write_points(points, f"{config}:{run}/{name}:{user}/1", overwrite=True)


def balls(labels: dict[str, int], scale: float = 0.7) -> np.ndarray:
    """The rule as Octopi states it, on the whole volume."""
    z, y, x = np.ogrid[WHOLE]
    out = np.zeros(SHAPE, np.uint8)
    for name, label in labels.items():
        radius = max(RADII[name] * scale / 10, 1)
        for a, b, c in CENTRES[name]:
            inside = (z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2 <= radius**2
            out[inside] = np.maximum(out[inside], label)
    return out


def task(project: Path, *names: str, **changes: object) -> TargetsTask:
    chosen = choose_targets(str(project), [Source(name) for name in names])
    return TargetsTask(str(project), chosen, **changes)


def test_every_particle_is_painted_with_the_label_of_the_project(project: Path) -> None:
    chosen = choose_targets(str(project), user="me", session="1")
    report = create_targets(TargetsTask(str(project), chosen))
    found = np.asarray(volproc.open(f"{project}:TS_1/targets:octopi/1@10").data)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, balls({"ribosome": 7, "proteasome": 3}))
    assert report.counts == {"TS_1": {"ribosome": 2, "proteasome": 2, "dust": 0}}
    assert report.notes == ["left out, without a tomogram wbp at 10 Å: TS_2"]
    log = read_log(log_path(project, "targets", user="octopi", session="1", name="targets"))
    assert log["input"]["labels"] == {"ribosome": 7, "proteasome": 3, "dust": 5}
    assert log["input"]["targets"]["ribosome"] == {"user_id": "me", "session_id": "1"}
    assert log["parameters"]["radius_scale"] == 0.7


def test_named_targets_are_numbered_in_their_order_whatever_the_blocks(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target_painting, "lazy_chunks", lambda shape, chunks, size: (7, 11, 5))
    monkeypatch.setattr(target_painting, "create", lambda address, **how: Sink())
    painted = {}

    class Sink:
        chunks = SHAPE
        array = np.zeros(SHAPE, np.uint8)

        def write(self, region: tuple[slice, ...], block: np.ndarray) -> None:
            self.array[region] = block

        def finish(self) -> None:
            painted["whole"] = self.array

    create_targets(task(project, "proteasome", "ribosome", radius_scale=1.0))
    expected = balls({"proteasome": 1, "ribosome": 2}, 1.0)
    np.testing.assert_array_equal(painted["whole"], expected)


def test_segmentations_are_classes_and_labels_above_255_take_two_bytes(project: Path) -> None:
    sheet = np.zeros(SHAPE, np.uint8)
    sheet[:, 4, 7:9] = 200
    volume = volproc.from_source(_Whole(sheet), voxel_size=(10.0,) * 3)
    volproc.save(volume, f"{project}:TS_1/membrane:me/2@10", kind="labels")
    chosen = choose_targets(
        str(project), [Source("ribosome", "me", "1")], [Source("membrane", "me", "2")]
    )
    create_targets(TargetsTask(str(project), chosen, name="both"))
    found = np.asarray(volproc.open(f"{project}:TS_1/both:octopi/1@10").data)
    expected = balls({"ribosome": 1})
    expected[sheet > 0] = 2
    np.testing.assert_array_equal(found, expected)
    high = replace(chosen[0], label=1000)
    create_targets(TargetsTask(str(project), (high,), name="high"))
    found = np.asarray(volproc.open(f"{project}:TS_1/high:octopi/1@10").data)
    assert (found.dtype, int(found.max())) == (np.uint16, 1000)


class _Whole:
    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.chunks = array, array.shape, array.dtype, SHAPE

    def read(self, region: tuple[slice, ...]) -> np.ndarray:
        return self.array[region]

    def identity(self) -> str:
        return "whole"


def test_heat_maps_are_one_a_class_and_one_half_where_the_ball_ends(project: Path) -> None:
    report = create_targets(task(project, "ribosome", "proteasome", kind="heatmap"))
    assert len(report.painted["TS_1"]) == 2
    for name, address in zip(("ribosome", "proteasome"), report.painted["TS_1"], strict=True):
        heat = np.asarray(volproc.open(address).data)
        assert heat.dtype == np.float16
        np.testing.assert_array_equal(heat >= 0.5, balls({name: 1}).astype(bool))
        z, y, x = np.ogrid[WHOLE]
        radius = RADII[name] * 0.07
        squares = [(z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2 for a, b, c in CENTRES[name]]
        expected = 0.5 ** (np.min(squares, axis=0) / radius**2)
        expected[np.min(squares, axis=0) > 9 * radius**2] = 0
        np.testing.assert_allclose(heat, expected, atol=0.5**9)  # what ends at three radii


def test_voxels_that_are_no_cubes_give_balls_in_angstrom() -> None:
    centre = np.array([[4.5, 9.0, 10.2]])
    z, y, x = np.ogrid[:10, :20, :24]
    squared = ((z - 4.5) * 2.0) ** 2 + (y - 9.0) ** 2 + ((x - 10.2) * 0.5) ** 2
    region = (slice(0, 10), slice(0, 20), slice(0, 24))
    mask = Balls(centre, 4.0, (2.0, 1.0, 0.5)).mask(region)
    np.testing.assert_array_equal(mask, squared <= 16)
    heat = Bumps(centre, 2.0, (2.0, 1.0, 0.5)).values(region)
    np.testing.assert_allclose(heat, np.where(squared <= 36, 0.5 ** (squared / 4), 0), atol=1e-6)


def test_a_ball_has_at_least_a_voxel_and_picks_outside_are_counted(project: Path) -> None:
    pick(project, "TS_1", "dust", [[3.0, 4.0, 5.0], [40.0, 4.0, 5.0], [3.0, -9.0, 5.0]])
    report = create_targets(task(project, "dust", name="dust"))
    found = np.asarray(volproc.open(f"{project}:TS_1/dust:octopi/1@10").data)
    assert int(found.sum()) == 7
    assert report.counts == {"TS_1": {"dust": 1}}
    assert report.notes[-1] == (
        "TS_1: 2 of 3 picks of dust lie outside of the tomogram of 20 × 24 × 28 voxels (z, y, x)"
    )


def test_picks_of_several_owners_are_painted_together_and_named(project: Path) -> None:
    pick(project, "TS_1", "ribosome", [[15.0, 4.0, 20.0]], user="you")
    report = create_targets(task(project, "ribosome"))
    assert report.counts["TS_1"] == {"ribosome": 3}
    assert "picks of ribosome by me/1, you/1 are painted together" in report.notes[-1]


def test_one_bad_run_does_not_stop_the_others(project: Path) -> None:
    voxels = np.zeros(SHAPE, np.float32)
    for run in ("TS_2", "TS_3"):
        add_tomogram(project, run, "wbp", voxels, voxel_size=10.0)
    pick(project, "TS_2", "ribosome", CENTRES["ribosome"])
    (file,) = (project.parent / "project/ExperimentRuns/TS_2/Picks").glob("*ribosome.json")
    file.write_text("{")
    report = create_targets(task(project, "ribosome"))
    assert list(report.painted) == ["TS_1"]
    assert list(report.failed) == ["TS_2"]
    assert "damaged" in report.failed["TS_2"]
    assert report.notes[-1].startswith("TS_3 has neither picks nor segmentations")
    assert not list(project.parent.glob("project/ExperimentRuns/TS_2/Segmentations/*"))


def test_targets_that_are_there_are_not_replaced_unasked(project: Path) -> None:
    wanted = task(project, "ribosome")
    create_targets(wanted)
    with pytest.raises(ExistsError, match=r"targets targets of octopi/1 exist in TS_1"):
        create_targets(wanted)
    create_targets(replace(task(project, "proteasome"), overwrite=True))
    found = np.asarray(volproc.open(f"{project}:TS_1/targets:octopi/1@10").data)
    np.testing.assert_array_equal(found, balls({"proteasome": 1}))


def test_what_cannot_be_a_target_is_refused(project: Path) -> None:
    config = str(project)
    with pytest.raises(ConfigError, match='"ribosom" is no object'):
        choose_targets(config, [Source("ribosom")])
    virus = create_project(project.parent / "virus.json", objects=[ProjectObject("virus", 1)])
    with pytest.raises(ConfigError, match=r"virus of .* has no radius"):
        choose_targets(str(virus), [Source("virus")])
    with pytest.raises(ConfigError, match="ribosome is a target twice"):
        choose_targets(config, [Source("ribosome")], [Source("ribosome")])
    with pytest.raises(ConfigError, match="NAME,USER,SESSION with each target"):
        choose_targets(config, [Source("ribosome")], user="me")
    with pytest.raises(AddressError, match='no run "TS_9"'):
        create_targets(task(project, "ribosome", runs=("TS_9",)))
    with pytest.raises(AddressError, match=r"TS_2 of .* has no tomogram wbp at 10 Å"):
        create_targets(task(project, "ribosome", runs=("TS_1", "TS_2")))
    with pytest.raises(ConfigError, match=r"no run of .* has a tomogram wbp at 7 Å"):
        create_targets(task(project, "ribosome", voxel_size=7.0))
