"""Particles by erosion and by nm³, weighted, inside, apart, scored: against scipy, cut anyhow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import starfile
from scipy import ndimage as ndi

from volproc.cluster.start import connect
from volproc.core.errors import ConfigError, NonFiniteError, ShapeError
from volproc.core.events import Event
from volproc.core.volume import Volume
from volproc.graph import localize as graph_localize
from volproc.graph import scaling
from volproc.graph.object_blocks import InsideWork
from volproc.io.omezarr_write import create_channels
from volproc.io.points import read_points
from volproc.workflows.particle_task import LocalizeTask
from volproc.workflows.particles import localize
from volproc.workflows.picking import pick
from volproc.workflows.verify import verify

SHAPE = (17, 26, 31)
VALUES = {"a": 3, "b": 7}
CUBE = np.ones((3, 3, 3), bool)
SIZE = (10.0, 10.0, 10.0)


def blobs() -> np.ndarray:
    """Smooth objects of two classes, some of which are bent or touch a face."""
    noise = np.random.default_rng(5).normal(size=(2, *SHAPE))
    smooth = np.stack([ndi.gaussian_filter(one, 1.2) for one in noise])
    chosen = np.array(list(VALUES.values()))[smooth.argmax(axis=0)]
    return np.where(smooth.max(axis=0) > 0.1, chosen, 0).astype(np.int16)


def beside(name: str) -> np.ndarray:
    """Noise: probabilities of both classes, or one map of variances, or of weights with signs."""
    rng = np.random.default_rng(len(name))
    if name == "scores":
        return rng.random((2, *SHAPE), np.float32)
    low, high = (0.0, 0.25) if name == "variance" else (-0.5, 2.0)
    return rng.uniform(low, high, SHAPE).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A class map, and maps beside it."""
    np.save(tmp_path / "classes.npy", blobs())
    for name in ("variance", "weights"):
        np.save(tmp_path / f"{name}.npy", beside(name))
    sink = create_channels(
        tmp_path / "scores.zarr", names=tuple(VALUES), shape=SHAPE, dtype=np.float32,
        voxel_size=SIZE, chunks=(8, 8, 8), overwrite=False,
    )  # fmt: skip
    sink.write(tuple(slice(0, n) for n in SHAPE), beside("scores"))
    sink.finish()
    return tmp_path


def task_of(folder: Path, **changes: Any) -> LocalizeTask:
    given: dict[str, Any] = {
        "class_values": VALUES, "method": "erosion", "min_voxels": {"": 2}, "voxel_size": 10.0,
    }  # fmt: skip
    return LocalizeTask(str(folder / "classes.npy"), **(given | changes))


def maps_of(folder: Path) -> dict[str, str]:
    return {
        "probabilities": str(folder / "scores.zarr"),
        "variance": str(folder / "variance.npy"),
        "weight_by": str(folder / "weights.npy"),
    }


def objects_of(name: str, *, is_eroded: bool = True, least: int = 2) -> list[np.ndarray]:
    """Masks of the objects of a class that have more voxels, by scipy."""
    mask = blobs() == VALUES[name]
    if is_eroded:
        mask = ndi.binary_erosion(mask, border_value=1)
    labels, count = ndi.label(mask, CUBE if is_eroded else None)
    masks = [labels == number for number in range(1, count + 1)]
    return [mask for mask in masks if mask.sum() > least]


def in_blocks(monkeypatch: pytest.MonkeyPatch, voxels: int) -> None:
    monkeypatch.setattr(scaling, "STATISTICS_VOXELS", voxels)


@pytest.mark.parametrize("voxels", [1, 2000, 10**6])
@pytest.mark.parametrize("method", ["erosion", "centre-of-mass"])
def test_every_number_of_a_particle_is_that_of_scipy_for_every_cut(
    folder, monkeypatch, method, voxels
) -> None:
    in_blocks(monkeypatch, voxels)
    with connect("threads" if voxels == 2000 else "serial") as runner:
        task = task_of(folder, method=method, border=0.0, **maps_of(folder))
        table = localize(task, executor=runner)[0].table
    scores, variance = beside("scores").astype(np.float64), beside("variance").astype(np.float64)
    weights = np.maximum(beside("weights").astype(np.float64), 0)
    where = np.indices(SHAPE)
    rows = []
    for channel, name in enumerate(VALUES):
        for mask in objects_of(name, is_eroded=method == "erosion"):
            shell = mask.copy()
            shell[1:-1, 1:-1, 1:-1] = False
            rows.append(
                [
                    *((weights * axis)[mask].sum() / weights[mask].sum() for axis in where),
                    scores[channel][mask].mean(),
                    mask.sum(),
                    scores[channel][mask].max(),
                    shell.any(),
                    np.sqrt(variance[mask].mean()),
                    mask.sum(),
                ]
            )
    found = table.drop(columns="class_name").astype(float)
    assert list(found)[3:] == [
        "score", "num_voxels", "max_score", "touches_edge", "spread", "volume_nm3",
    ]  # fmt: skip
    np.testing.assert_allclose(found.to_numpy(), np.array(rows, float), rtol=1e-9)
    assert 0 < found["touches_edge"].sum() < len(found)


def test_the_lazy_erosion_is_that_of_files(folder, monkeypatch) -> None:
    in_blocks(monkeypatch, 2000)
    points, _ = localize(task_of(folder))
    volume = Volume(da.from_array(blobs(), chunks=(5, 19, 9)), SIZE)
    lazy = graph_localize.localize(
        volume, dict.fromkeys(VALUES), class_values=VALUES, method="erosion", min_voxels=2
    ).compute()
    assert points.table.equals(lazy.table)
    assert len(points) == sum(len(objects_of(name)) for name in VALUES)


@pytest.mark.parametrize("method", ["erosion", "watershed"])
def test_a_centre_inside_is_a_voxel_of_its_own_object(folder, monkeypatch, method) -> None:
    how: dict[str, Any] = {"method": method, "min_voxels": {"": 5}, "filter_size": 30}
    how["weight_by"] = str(folder / "weights.npy")
    tables = []
    for voxels in (1500, 10**6):
        in_blocks(monkeypatch, voxels)
        tables.append(localize(task_of(folder, **how, inside=True))[0].table)
    assert tables[0].equals(tables[1])
    plain = localize(task_of(folder, **how))[0].table
    places = plain[["z", "y", "x"]].to_numpy(), tables[0][["z", "y", "x"]].to_numpy()
    is_moved = (places[0] != places[1]).any(axis=1)
    assert is_moved.any()
    assert not is_moved.all()
    if method == "erosion":
        masks = [mask for name in VALUES for mask in objects_of(name, least=5)]
        for before, after, moved, mask in zip(*places, is_moved, masks, strict=True):
            assert moved == (not mask[tuple(np.rint(before).astype(int))])
            voxels = np.argwhere(mask)
            nearest = voxels[((voxels - before) ** 2).sum(axis=1).argmin()]
            np.testing.assert_array_equal(after, nearest if moved else before)
    else:
        inside = blobs()[tuple(np.rint(places[1]).astype(int).T)]
        assert (inside == plain["class_name"].map(VALUES)).all()


@pytest.mark.parametrize("ties", ["raster", "scikit-image"])
def test_regions_of_a_watershed_are_weighted_and_scored_for_every_cut(
    folder, monkeypatch, ties
) -> None:
    tables = []
    for voxels in (1500, 10**6):
        in_blocks(monkeypatch, voxels)
        task = task_of(folder, method="watershed", ties=ties, **maps_of(folder))
        tables.append(localize(task)[0].table)
    assert tables[0].equals(tables[1])
    assert len(tables[0]) > 8
    assert (tables[0]["max_score"] > tables[0]["score"]).all()
    assert tables[0]["spread"].between(0.2, 0.5).all()
    plain = localize(task_of(folder, method="watershed", ties=ties))[0].table
    assert (plain[["z", "y", "x"]] != tables[0][["z", "y", "x"]]).any(axis=None)
    assert (plain["num_voxels"] == tables[0]["num_voxels"]).all()


def test_sizes_and_distances_say_which_particles_are_kept(folder) -> None:
    every = localize(task_of(folder))[0].table
    bounded = localize(task_of(folder, min_voxels={}, min_size_nm3=8.0, max_size_nm3=20.0))[0].table
    assert bounded["num_voxels"].tolist() == [n for n in every["num_voxels"] if 8 <= n <= 20]
    of_one = localize(task_of(folder, min_voxels={"": 2, "b": 10**6}))[0].table
    assert set(of_one["class_name"]) == {"a"}
    usual = localize(task_of(folder, min_voxels={}))[0].table
    assert len(usual) == (every["num_voxels"] > 100).sum()
    # Of equal scores the larger one stays.
    near = localize(task_of(folder, nms_distance=1000.0))[0].table
    assert near["num_voxels"].tolist() == [
        every.loc[every["class_name"] == name, "num_voxels"].max() for name in VALUES
    ]
    scored = task_of(folder, probabilities=str(folder / "scores.zarr"))
    best = localize(scored)[0].table.groupby("class_name")["score"].max()
    kept = localize(LocalizeTask(**{**_fields(scored), "nms_distance": 1000.0}))[0].table
    assert dict(zip(kept["class_name"], kept["score"], strict=True)) == dict(best)
    radii = dict.fromkeys(VALUES, 20.0)
    apart = localize(task_of(folder, radii=radii, nms_scale=50.0, radius_max_scale=50.0))[0]
    assert len(apart) == 2


def _fields(task: LocalizeTask) -> dict[str, Any]:
    return {name: getattr(task, name) for name in LocalizeTask.__slots__}


def test_a_map_is_localized_without_radii_by_sizes_alone(folder) -> None:
    found = {
        method: len(localize(task_of(folder, method=method, min_voxels={}, min_size_nm3=5.0))[0])
        for method in ("watershed", "centre-of-mass")
    }
    assert found["watershed"] > 0
    assert found["centre-of-mass"] > 0
    with pytest.raises(ConfigError, match=r"radii of the particle classes .*--min-size"):
        localize(task_of(folder, method="watershed", min_voxels={}))


def test_stars_keep_what_is_known_of_a_particle(folder) -> None:
    path = folder / "picks.star"
    points, _ = localize(
        task_of(folder, output=str(path), options={"convention": "centered"}, **maps_of(folder))
    )
    particles = starfile.read(path)["particles"]
    assert set(particles["rlnTomoName"]) == {"classes"} == {points.name}
    assert set(particles["volprocTouchesEdge"]) == {0, 1}
    again = read_points(path, voxel_size=10.0, shape=SHAPE).table
    for name in ("z", "y", "x", "score", "max_score", "spread", "touches_edge", "volume_nm3"):
        np.testing.assert_allclose(
            again[name].astype(float), points.table[name].astype(float), atol=1e-7
        )


def test_a_search_for_centres_inside_goes_on_and_can_be_verified(folder, monkeypatch) -> None:
    in_blocks(monkeypatch, 1500)
    done: list[Any] = []
    original = InsideWork.__call__

    def call(work: InsideWork, index: Any) -> Any:
        if len(done) == 3:
            raise OSError("disk full")
        done.append(index)
        return original(work, index)

    task = task_of(
        folder, inside=True, output=str(folder / "p.csv"), weight_by=str(folder / "weights.npy")
    )
    with monkeypatch.context() as patch:
        patch.setattr(InsideWork, "__call__", call)
        with pytest.raises(OSError, match="disk full"):
            pick(task)
    events: list[Event] = []
    pick(task, observe=events.append)
    skipped = [event.stage for event in events if event.kind == "skip"]
    assert skipped.count("inside") == 3
    assert skipped.count("localize") > 3
    assert verify(folder / "p.csv").is_equal


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"weight_by": "nan.npy"}, NonFiniteError, "weights of a have .* NaN"),
        ({"variance": "small.npy"}, ShapeError, "Give the variances that belong"),
        ({"probabilities": "labels.npy"}, ConfigError, "map of one class"),
        ({"min_voxels": {"c": 3}}, ConfigError, 'names the class "c", which is not looked for'),
        ({"min_size_nm3": 9.0, "max_size_nm3": 3.0}, ConfigError, "from 9.0 to 3.0 nm³"),
        ({"nms_distance": 3.0, "nms_scale": 1.0}, ConfigError, "radii|radius"),
        ({"nms_scale": 1.0}, ConfigError, "radii of the particle classes"),
        ({"method": "peaks", "radii": {"a": 9.0}, "inside": True}, ConfigError, "have no size"),
        ({"connectivity": 4}, ConfigError, r"connectivity is 4. Use 1 \(faces\)"),
        ({"class_values": {"a": 0, "b": 7}, "objects": ("a",)}, ConfigError, '"a" is no particle'),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(folder, changes, error, text) -> None:
    np.save(folder / "nan.npy", np.full(SHAPE, np.nan, np.float32))
    np.save(folder / "small.npy", np.zeros((5, 6, 7), np.float32))
    np.save(folder / "labels.npy", np.zeros(SHAPE, np.float32))
    for name in ("weight_by", "variance", "probabilities"):
        if name in changes:
            changes = {**changes, name: str(folder / changes[name])}
    with pytest.raises(error, match=text):
        localize(task_of(folder, output=str(folder / "out.csv"), **changes))
    assert not (folder / "out.csv").exists()
