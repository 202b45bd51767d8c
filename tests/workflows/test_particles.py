"""Localization as a story: from a class map to picks, and how good they are."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

from volproc.cluster.start import connect
from volproc.core.errors import (
    AddressError,
    ConfigError,
    ExistsError,
    InputChangedError,
    MissingFileError,
    ShapeError,
    VolprocError,
    VoxelSizeError,
)
from volproc.core.events import Event
from volproc.core.points import Points
from volproc.core.volume import Volume
from volproc.graph import localize as graph_localize
from volproc.graph import scaling
from volproc.graph.object_blocks import LabelWork
from volproc.graph.save import save
from volproc.io.copick_project import ProjectObject, create_project
from volproc.io.points import read_points
from volproc.reduce.tables import empty_table
from volproc.workflows.particle_stages import OpenWork, OwnedObjects, SplitWork
from volproc.workflows.particle_task import LocalizeTask
from volproc.workflows.particles import localize
from volproc.workflows.segment import segment

RADII = {"ribosome": 40.0, "ferritin": 30.0}
VALUES = {"ribosome": 1, "ferritin": 2, "membrane": 3}
CENTRES = {"ribosome": [(6, 7, 8), (13, 15, 20)], "ferritin": [(6, 17, 8)]}


def balls() -> np.ndarray:
    """Particles at the centres, a sheet of membrane, and a speck."""
    classes = np.zeros((20, 24, 28), np.uint8)
    grid = np.indices(classes.shape)
    classes[:, :, 26] = 3
    for name, centres in CENTRES.items():
        for z, y, x in centres:
            distance = (grid[0] - z) ** 2 + (grid[1] - y) ** 2 + (grid[2] - x) ** 2
            classes[distance <= (RADII[name] / 10) ** 2] = VALUES[name]
    classes[2, 2, 24] = 1
    return classes


@pytest.fixture
def map_path(tmp_path: Path) -> str:
    volume = Volume(da.from_array(balls(), chunks=-1), (10.0,) * 3)
    save(volume, tmp_path / "classes.zarr", kind="labels")
    return str(tmp_path / "classes.zarr")


def task_of(map_path: str, **changes: Any) -> LocalizeTask:
    return LocalizeTask(**({"address": map_path, "radii": RADII, "class_values": VALUES} | changes))


def check(points: Points) -> None:
    assert list(points.table["class_name"]) == ["ribosome", "ribosome", "ferritin"]
    np.testing.assert_allclose(points.zyx, [*CENTRES["ribosome"], *CENTRES["ferritin"]], atol=1e-6)


@pytest.mark.parametrize("name", ["picks.csv", "picks.star"])
def test_picks_are_found_and_written(map_path, tmp_path, name) -> None:
    points, paths = localize(task_of(map_path, output=str(tmp_path / name)))
    check(points)
    assert paths == [tmp_path / name]
    check(read_points(paths[0], voxel_size=10.0))


def test_without_an_output_nothing_is_written(map_path, listing) -> None:
    before = listing()
    points, paths = localize(task_of(map_path))
    check(points)
    assert paths == []
    assert listing() == before


@pytest.mark.parametrize("limit", [1, 3000, 10**6])
@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_neither_blocks_nor_workers_change_a_pick(
    map_path, tmp_path, monkeypatch, limit, executor
) -> None:
    np.save(tmp_path / "planes.npy", balls())
    whole, _ = localize(task_of(map_path))
    monkeypatch.setattr(scaling, "STATISTICS_VOXELS", limit)
    events: list[Event] = []
    with connect(executor) as runner:
        task = task_of(str(tmp_path / "planes.npy"), voxel_size=10.0)
        points, _ = localize(task, executor=runner, observe=events.append)
    assert events[0].total == {1: 20, 3000: 5, 10**6: 1}[limit]
    assert points.table.equals(whole.table)


def test_it_is_the_lazy_function_on_files(map_path) -> None:
    volume = LocalizeTask(map_path).open()
    lazy = graph_localize.localize(volume, RADII, class_values=VALUES).compute()
    points, _ = localize(task_of(map_path))
    assert points.table.equals(lazy.table)


@pytest.mark.parametrize("method", ["watershed", "centre-of-mass"])
def test_touching_particles_come_apart_as_in_the_lazy_function(
    tmp_path, monkeypatch, method
) -> None:
    classes = balls()
    grid = np.indices(classes.shape)
    for x in (14, 20):
        distance = (grid[0] - 6) ** 2 + (grid[1] - 15) ** 2 + (grid[2] - x) ** 2
        classes[distance <= 16] = 1
    np.save(tmp_path / "touching.npy", classes)
    monkeypatch.setattr(scaling, "STATISTICS_VOXELS", 2000)
    task = task_of(
        str(tmp_path / "touching.npy"), voxel_size=10.0, method=method, radius_max_scale=2.0
    )
    with connect("threads") as runner:
        points, _ = localize(task, executor=runner)
    volume = Volume(da.from_array(classes, chunks=(9, 24, 7)), (10.0,) * 3)
    lazy = graph_localize.localize(
        volume, RADII, class_values=VALUES, method=method, radius_max_scale=2.0
    )
    assert points.table.equals(lazy.compute().table)
    assert len(points) == {"watershed": 5, "centre-of-mass": 3}[method]


def test_a_block_carries_its_own_objects_to_a_worker() -> None:
    owned = OwnedObjects.of((1, 2, 3), empty_table(3))
    copy = pickle.loads(pickle.dumps(owned))
    assert copy == (1, 2, 3)
    assert len(copy.objects) == 0


def test_classes_come_from_the_record_of_a_segmentation(make_task, tmp_path) -> None:
    report = segment(make_task())
    task = LocalizeTask(report.output, radius_min_scale=0.0, radius_max_scale=50.0)
    points, _ = localize(task)
    assert points.class_names == ("ribosome",)
    record = json.loads(report.record.read_text())
    assert record["radii_angstrom"] == {"ribosome": 15.0}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    objects = (
        ProjectObject("ribosome", 1, 40.0),
        ProjectObject("ferritin", 2, 30.0),
        ProjectObject("membrane", 3, is_particle=False),
    )
    return create_project(tmp_path / "copick.json", objects=objects, runs=["TS_1"])


def test_classes_come_from_the_copick_project(config) -> None:
    volume = Volume(da.from_array(balls(), chunks=-1), (10.0,) * 3)
    address = f"{config}:TS_1/predict:volproc/1@10"
    save(volume, address)
    output = f"{config}:TS_1/:volproc/1"
    points, paths = localize(LocalizeTask(address, output))
    check(points)
    assert len(paths) == 2
    found = read_points(output, voxel_size=10.0)
    np.testing.assert_allclose(found.select("ribosome").zyx, CENTRES["ribosome"], atol=1e-6)


def test_classes_of_the_project_of_the_output_do_for_a_map_outside(config, map_path) -> None:
    points, _ = localize(LocalizeTask(map_path, f"{config}:TS_1/:volproc/1"))
    check(points)


def test_events_say_how_many(map_path) -> None:
    events: list[Event] = []
    localize(task_of(map_path), observe=events.append)
    assert events[-1].text == "3 particles"


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"radii": {}}, ConfigError, "radii of the particle classes .* --radius NAME=ANGSTROM"),
        ({"class_values": {}}, ConfigError, "values of the particle classes"),
        ({"radii": {"ribosom": 4.0}}, ConfigError, 'did you mean "ribosome"'),
        ({"radii": {"ribosome": 0.0}}, ConfigError, "radius of ribosome is 0.0 Å"),
        ({"connectivity": 5}, ConfigError, "connectivity"),
        ({"radius_min_scale": 3.0}, ConfigError, "Give a smaller one first"),
        ({"address": "nothing.zarr"}, MissingFileError, "does not exist"),
        ({"address": "float.npy", "voxel_size": 10.0}, ShapeError, "no class map.*float32"),
        ({"address": "image.npy", "voxel_size": 10.0}, ShapeError, r"no class map.*\(24, 28\)"),
        ({"address": "empty.npy", "voxel_size": 10.0}, VolprocError, "empty|no voxels"),
        ({"voxel_size": 12.0}, VoxelSizeError, "--voxel-size says 12"),
        ({"output": "picks.docx"}, AddressError, "no address of points"),
        ({"output": "none/picks.csv"}, MissingFileError, "does not exist"),
        ({"output": "old.csv"}, ExistsError, "--overwrite"),
        ({"options": {"convetion": "corner"}}, ConfigError, "convention"),
    ],
)
def test_bad_input_ends_in_one_message_and_nothing_half_written(
    map_path, tmp_path, listing, changes, error, text
) -> None:
    np.save(tmp_path / "float.npy", balls().astype("f4"))
    np.save(tmp_path / "image.npy", balls()[0])
    np.save(tmp_path / "empty.npy", balls()[:0])
    (tmp_path / "old.csv").write_text("old")
    changes = {"output": "picks.star"} | changes
    for key in ("address", "output"):
        if key in changes:
            changes[key] = str(tmp_path / changes[key])
    before = listing()
    with pytest.raises(error, match=text):
        localize(task_of(map_path, **changes))
    assert listing() == before


def test_picks_that_exist_are_refused_before_anything_is_read(config, map_path) -> None:
    output = f"{config}:TS_1/:volproc/1"
    localize(LocalizeTask(map_path, output))
    events: list[Event] = []
    with pytest.raises(ExistsError, match="--overwrite"):
        localize(LocalizeTask(map_path, output), observe=events.append)
    assert events == []
    points, paths = localize(LocalizeTask(map_path, output, overwrite=True))
    check(points)
    assert len(paths) == 2


class FailingBlocks:
    """Makes a kind of work fail after some blocks, and counts those that were done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: type, after: int) -> None:
        self.done: list[tuple[int, ...]] = []
        self.after = after
        original = kind.__call__  # type: ignore[operator]

        def call(work: Any, index: tuple[int, ...]) -> Any:
            if len(self.done) == self.after:
                raise OSError("disk full")
            result = original(work, index)
            self.done.append(tuple(index))
            return result

        monkeypatch.setattr(kind, "__call__", call)


@pytest.fixture
def planes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same class map as a file that is read in ten blocks."""
    monkeypatch.setattr(scaling, "STATISTICS_VOXELS", 2000)
    np.save(tmp_path / "planes.npy", balls())
    return str(tmp_path / "planes.npy")


@pytest.mark.parametrize(
    ("kind", "method", "after"),
    [(OpenWork, "watershed", 5), (SplitWork, "watershed", 1), (LabelWork, "centre-of-mass", 5)],
)
def test_a_localization_that_broke_off_goes_on_from_its_tables(
    planes, tmp_path, monkeypatch, kind, method, after
) -> None:
    expected, _ = localize(task_of(planes, voxel_size=10.0, method=method))
    task = task_of(planes, voxel_size=10.0, method=method, output=str(tmp_path / "picks.csv"))
    blocks = FailingBlocks(monkeypatch, kind, after)
    with pytest.raises(OSError, match="disk full"):
        localize(task)
    assert not (tmp_path / "picks.csv").exists()
    blocks.after = -1
    events: list[Event] = []
    points, _ = localize(task, observe=events.append)
    assert len(blocks.done) == len(set(blocks.done)) > after
    stage = "split" if kind is SplitWork else "localize"
    assert sum(e.kind == "skip" and e.stage == stage for e in events) == after
    assert points.table.equals(expected.table)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["picks.csv", "planes.npy"]


def test_another_size_goes_on_from_the_tables_of_the_objects(planes, tmp_path, monkeypatch) -> None:
    task = task_of(planes, voxel_size=10.0, output=str(tmp_path / "picks.csv"))
    opened = FailingBlocks(monkeypatch, OpenWork, -1)
    with monkeypatch.context() as patch:
        FailingBlocks(patch, SplitWork, 1)
        with pytest.raises(OSError, match="disk full"):
            localize(task)
    num_blocks = len(opened.done)
    points, _ = localize(replace(task, radius_min_scale=0.4))
    assert len(opened.done) == num_blocks
    check(points)


def test_a_map_that_changes_meanwhile_is_an_error(map_path, tmp_path) -> None:
    chunk = next(Path(map_path, "0").rglob("0/0/0"))

    def touch(event: Event) -> None:
        if event.kind == "done" and event.stage == "localize":
            os.utime(chunk, ns=(1, 1))

    with pytest.raises(InputChangedError, match="changed while it was read"):
        localize(task_of(map_path, output=str(tmp_path / "picks.csv")), observe=touch)
    assert not (tmp_path / "picks.csv").exists()


def test_no_tables_are_kept_of_a_map_that_changes_meanwhile(planes, tmp_path) -> None:
    work = tmp_path / ".picks.csv.work"

    def touch(event: Event) -> None:
        if event.kind == "done" and event.stage == "split":
            assert work.is_dir()
            os.utime(planes, ns=(1, 1))

    with pytest.raises(InputChangedError, match="changed while it was read"):
        localize(
            task_of(planes, voxel_size=10.0, output=str(tmp_path / "picks.csv")), observe=touch
        )
    assert not work.exists()
