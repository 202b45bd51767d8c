"""Particle centres: the whole-volume answer for every cut, lazily."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from scipy.sparse.csgraph import connected_components
from skimage.segmentation import watershed

from volproc.core.errors import ConfigError, PlanError, ShapeError
from volproc.core.volume import Volume
from volproc.graph.localize import localize

SHAPE = (5, 7, 11)


@st.composite
def cuts(
    draw: st.DrawFn, shape: tuple[int, ...] = SHAPE, most: int = 4
) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, one voxel thick too."""
    return tuple(
        tuple(
            np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=most))), n]).tolist()
        )
        for n in shape
    )


def volume_of(array: np.ndarray, chunks: Any = -1) -> Volume:
    return Volume(da.from_array(array, chunks=chunks), (10.0,) * array.ndim, name="mask")


def balls() -> np.ndarray:
    """Two large balls of class 1, one of class 2, and specks of both."""
    classes = np.zeros((20, 24, 28), np.uint8)
    grid = np.indices(classes.shape)
    for (z, y, x), radius, value in (
        ((6, 7, 8), 4, 1),
        ((13, 15, 20), 4, 1),
        ((6, 17, 8), 3, 2),
        ((2, 2, 24), 1, 1),
        ((17, 3, 3), 0, 2),
    ):
        distance = (grid[0] - z) ** 2 + (grid[1] - y) ** 2 + (grid[2] - x) ** 2
        classes[distance <= radius**2] = value
    return classes


OPTIONS = {
    "radii": {"ribosome": 40.0, "ferritin": 30.0},
    "class_values": {"ferritin": 2, "ribosome": 1, "membrane": 3},
}


def whole_volume(
    classes: np.ndarray, value: int, smallest: float, largest: float, filter_size: int = 10
) -> np.ndarray:
    """Octopi's steps with scipy and scikit-image on the whole volume; radii in voxels."""
    mask = classes == value
    if not mask.any():
        return np.zeros((0, 3))
    box = ndi.find_objects(mask.astype(int))[0]
    opened = ndi.binary_opening(mask[box])
    distance = ndi.distance_transform_edt(opened).astype(np.float32)
    peaks = (ndi.maximum_filter(distance, size=filter_size) == distance) & opened
    markers, count = ndi.label(peaks)
    labels = watershed(-distance, markers, mask=opened)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    ball = 4 / 3 * np.pi
    kept = [i for i in range(1, count + 1) if ball * smallest**3 <= sizes[i] <= ball * largest**3]
    if not kept:
        return np.zeros((0, 3))
    centres = np.array(ndi.center_of_mass(labels > 0, labels, kept)) + [s.start for s in box]
    near = np.linalg.norm(centres[:, None] - centres, axis=2) <= smallest
    group = connected_components(near, directed=False)[1]
    first = sorted(set(group.tolist()), key=group.tolist().index)
    merged = np.array([centres[group == g].mean(axis=0) for g in first])
    size = np.array(classes.shape)
    return merged[((merged >= 0.005 * size) & (merged <= 0.995 * size)).all(axis=1)]


def clusters(seed: int, shape: tuple[int, ...] = (26, 31, 37)) -> np.ndarray:
    """Balls of two classes that touch, overlap, and stick out of the volume."""
    rng = np.random.default_rng(seed)
    classes = np.zeros(shape, np.uint8)
    grid = np.indices(shape)
    for _ in range(40):
        centre = [rng.integers(0, n) for n in shape]
        squared = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
        classes[squared <= rng.integers(2, 6) ** 2] = rng.integers(1, 3)
    return classes


def check_clusters(classes: np.ndarray, chunks: Any, filter_size: int, **options: Any) -> None:
    """Both classes against the whole volume, order included."""
    sizes = {"radius_min_scale": 0.3, "radius_max_scale": 2.0, "filter_size": filter_size}
    lazy = localize(volume_of(classes, chunks), **OPTIONS, **sizes, **options)
    points = lazy.compute(scheduler="sync")
    for name, value, radius in (("ribosome", 1, 4.0), ("ferritin", 2, 3.0)):
        expected = whole_volume(classes, value, 0.3 * radius, 2.0 * radius, filter_size)
        assert len(points.select(name)) == len(expected)
        np.testing.assert_allclose(points.select(name).zyx, expected, atol=1e-9)


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 99), st.sampled_from([1, 2, 3, 4, 10]), st.data())
def test_every_cut_gives_the_centres_of_scipy_and_scikit_image(seed, filter_size, data) -> None:
    chunks = tuple(data.draw(st.integers(9, 40)) for _ in range(3))
    check_clusters(clusters(seed), chunks, filter_size)


def test_beyond_the_box_of_a_class_there_is_no_background() -> None:
    inside = np.zeros((20, 30, 36), np.uint8)
    inside[4:13, 5:20, 6:30] = 1  # its box is the box of the class: only its edges are cut
    inside[10:14, 22:26, 6:12] = 2
    check_clusters(inside, (9, 16, 15), 4)
    check_clusters(np.pad(clusters(11, (16, 17, 18)), 4), (9, 13, 26), 3)


def test_thin_blocks_give_the_same_centres() -> None:
    check_clusters(clusters(7, (11, 13, 17)), (1, 5, 17), 4)


def test_ties_in_raster_order_do_not_see_the_cut_nor_other_objects() -> None:
    # two pairs of equal balls, each with a plane of voxels as far from one as from the other
    grid = np.indices((15, 15, 60))
    classes = np.zeros((15, 15, 60), np.uint8)
    for x in (8, 16, 40, 48):
        classes[(grid[0] - 7) ** 2 + (grid[1] - 7) ** 2 + (grid[2] - x) ** 2 <= 25] = 1
    options: dict[str, Any] = {"radius_min_scale": 0.3, "radius_max_scale": 2.0, "ties": "raster"}
    found = []
    for map_, chunks in ((classes, -1), (classes, (8, 15, 7)), (classes[:, :, :30], -1)):
        lazy = localize(volume_of(map_, chunks), **OPTIONS, **options)
        found.append(lazy.compute(scheduler="sync").zyx)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0][:2], found[2])
    assert len(found[0]) == 4


def test_raster_ties_do_not_see_the_cut_of_any_map() -> None:
    classes = clusters(3)
    options: dict[str, Any] = {"radius_min_scale": 0.2, "radius_max_scale": 3.0, "ties": "raster"}
    whole = localize(volume_of(classes), **OPTIONS, **options).compute(scheduler="sync")
    for chunks in ((10, 9, 40), (26, 12, 11)):
        cut = localize(volume_of(classes, chunks), **OPTIONS, **options)
        points = cut.compute(scheduler="threads", num_workers=2)
        assert points.table.equals(whole.table)
    assert len(whole) > 10


OCTOPI = Path(__file__).parents[2].parent / "shared" / "data" / "peers" / "octopi" / "expected"


@pytest.mark.skipif(not OCTOPI.exists(), reason="Octopi's outputs are not at hand")
@pytest.mark.parametrize("number", range(0, 108, 12))
def test_centres_and_their_order_are_those_of_octopi(number) -> None:
    case = json.loads((OCTOPI / "localize_cases.json").read_text())[number]
    classes = np.load(OCTOPI / "localize_cases.npz")[case["vol"]]
    radius = case["max_radius"]
    lazy = localize(
        Volume(da.from_array(classes, chunks=(40, 33, 50)), (1.0,) * 3),
        {"particle": radius},
        class_values={"particle": case["label"]},
        radius_min_scale=case["min_radius"] / radius,
        radius_max_scale=1.0,
        filter_size=case["filter_size"],
    )
    found = lazy.compute(scheduler="sync").zyx
    np.testing.assert_allclose(found, np.reshape(case["zyx"], (-1, 3)), atol=1e-9)


@settings(deadline=None, max_examples=6)
@given(cuts((20, 24, 28), 2))
def test_centres_are_those_of_the_balls_for_every_cut(chunks) -> None:
    options = {"method": "centre-of-mass"}
    points = localize(volume_of(balls(), chunks), **OPTIONS, **options).compute(scheduler="sync")
    assert list(points.table["class_name"]) == ["ribosome", "ribosome", "ferritin"]
    np.testing.assert_array_equal(points.zyx, [[6, 7, 8], [13, 15, 20], [6, 17, 8]])
    assert list(points.table["num_voxels"]) == [(balls() == 1).sum() // 2 - 3] * 2 + [
        (balls() == 2).sum() - 1
    ]
    assert (points.voxel_size, points.shape, points.name) == ((10,) * 3, (20, 24, 28), "mask")


def test_centres_of_any_objects_are_those_of_scipy() -> None:
    classes = np.random.default_rng(2).integers(0, 3, (9, 13, 11)).astype(np.uint8)
    options: dict[str, Any] = {"method": "centre-of-mass", "connectivity": 2, "border": 0}
    sizes = {"radius_min_scale": 0.0, "radius_max_scale": 99.0}
    lazy = localize(volume_of(classes, (2, 5, 4)), **OPTIONS, **options, **sizes)
    points = lazy.compute(scheduler="sync")
    for name, value in (("ribosome", 1), ("ferritin", 2)):
        labels, count = ndi.label(classes == value, ndi.generate_binary_structure(3, 2))
        expected = ndi.center_of_mass(labels > 0, labels, range(1, count + 1))
        np.testing.assert_allclose(points.select(name).zyx, expected, atol=1e-9)


@pytest.mark.parametrize("method", ["watershed", "centre-of-mass"])
def test_near_centres_are_one_particle_and_those_in_the_border_none(method) -> None:
    classes = np.zeros((20, 20, 40), np.uint8)
    for x in (4, 8, 20, 37):
        classes[9:12, 9:12, x : x + 3] = 1
    classes[9:12, 0:3, 30:33] = 1
    sizes = {"radius_min_scale": 0.4, "radius_max_scale": 2.0, "border": 0.1}
    options = {"radii": {"cube": 100.0}, "class_values": {"cube": 1}}
    points = localize(volume_of(classes, 7), **options, method=method, **sizes).compute()
    assert len(points) == 0  # 27 voxels, a ball of four has 268
    options["radii"] = {"cube": 20.0}
    points = localize(volume_of(classes, 7), **options, method=method, **sizes).compute()
    np.testing.assert_allclose(points.zyx, [[10, 10, 5], [10, 10, 9], [10, 10, 21]])


def test_an_object_too_large_for_a_task_is_named() -> None:
    classes = np.ones((20, 24, 28), np.uint8)
    lazy = localize(volume_of(classes, 9), **OPTIONS, max_object_voxels=5000)
    with pytest.raises(PlanError, match=r"at voxel \(0, 1, 1\) has a box of 20 × 24 × 28 = 13440"):
        lazy.compute(scheduler="sync")


def test_values_of_any_integer_type_are_found() -> None:
    for kind, value in (("i8", -5), ("u8", 2**63 + 1), (">i4", 70_000), ("?", 1)):
        classes = (balls() == 1).astype(kind) * np.array(value, kind)
        lazy = localize(
            volume_of(classes, 13), {"ribosome": 40.0}, class_values={"ribosome": value}
        )
        np.testing.assert_array_equal(lazy.compute().zyx, [[6, 7, 8], [13, 15, 20]])


def test_each_chunk_is_computed_once_and_the_scratch_goes(tmp_path: Path) -> None:
    seen: Counter[Any] = Counter()

    def count(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        seen[tuple(block_info[0]["chunk-location"])] += 1
        return block

    array = da.from_array(balls(), chunks=(9, 11, 13))
    counted = array.map_blocks(count, dtype="u1", meta=np.zeros((0, 0, 0), "u1"))
    lazy = localize(Volume(counted, (10.0,) * 3), **OPTIONS, scratch=tmp_path)
    assert len(lazy.compute(scheduler="threads")) == 3
    assert set(seen.values()) == {1}
    assert len(seen) == array.npartitions
    del lazy
    assert list(tmp_path.iterdir()) == []


def test_without_objects_there_are_no_points() -> None:
    empty = volume_of(np.zeros((4, 5, 6), np.uint8), 3)
    points = localize(empty, **OPTIONS).compute()
    assert len(points) == 0
    assert points.shape == (4, 5, 6)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"radii": {"ribosom": 40.0}}, 'radius but no value in the map: did you mean "ribosome"'),
        ({"radii": {}}, "no class has a radius"),
        ({"radius_min_scale": 2.0}, "from 2.0 to 1.0. Give a smaller one first"),
        ({"radius_max_scale": float("inf")}, "from 0.5 to inf"),
        ({"method": "com"}, 'method is "com": known are: centre-of-mass, erosion, peaks,'),
        ({"ties": "rasters"}, 'did you mean "raster"'),
        ({"connectivity": 2}, "a watershed goes across faces, got connectivity 2"),
        ({"filter_size": 0}, "has 0 voxels. Give at least 1"),
        ({"border": 0.5}, "border of 0.5 leaves no volume"),
        ({"max_object_voxels": 0}, "largest object has 0 voxels"),
        ({"radius_min_scale": -1.0}, "none negative"),
        ({"connectivity": 0, "method": "centre-of-mass"}, "connectivity"),
        ({"radii": {"ribosome": -40.0}}, "radius of ribosome is -40.0 Å"),
        ({"radii": {"ribosome": float("nan")}}, "radius of ribosome is nan Å"),
        (
            {"class_values": {"ribosome": 0, "ferritin": 2}},
            "ribosome has the value 0 .* background",
        ),
    ],
)
def test_rules_that_cannot_be_are_refused(changes, text) -> None:
    with pytest.raises(ConfigError, match=text):
        localize(volume_of(balls()), **(OPTIONS | changes))


def test_a_micrograph_has_no_particles_in_space() -> None:
    with pytest.raises(ShapeError, match=r"volumes \(z, y, x\), got shape \(4, 5\)"):
        localize(volume_of(np.zeros((4, 5), np.uint8)), **OPTIONS)


def test_nothing_is_computed_while_graphs_are_built() -> None:
    def explode(*args: Any, **kwargs: Any) -> Any:
        pytest.fail("something was computed while the graph was built")

    def never(block: np.ndarray) -> np.ndarray:
        pytest.fail("a voxel was computed while the graph was built")

    source = da.zeros((9, 13, 11), dtype="u1", chunks=4)
    array = da.map_blocks(never, source, dtype="u1", meta=np.empty((0, 0, 0), "u1"))
    with dask.config.set(scheduler=explode):
        volume = Volume(array, (10.0,) * 3)
        localize(volume, **OPTIONS)


def test_where_voxels_are_no_cubes_windows_and_distances_are_those_of_angstrom() -> None:
    size = (10.0, 40.0, 40.0)
    grid = np.indices((30, 14, 12))
    classes = np.zeros(grid.shape[1:], np.uint8)
    # Five voxels apart: a window of ten voxels a side would hide the smaller one.
    balls = {(150.0, 200.0, 240.0): 110.0, (150.0, 400.0, 240.0): 80.0}
    for centre, radius in balls.items():
        apart = sum((grid[i] * size[i] - centre[i]) ** 2 for i in range(3))
        classes[apart <= radius**2] = 1
    tables = []
    for chunks in (-1, (7, 5, 4)):
        volume = Volume(da.from_array(classes, chunks=chunks), size)
        how = {"radii": {"ball": 100.0}, "class_values": {"ball": 1}, "radius_max_scale": 1.3}
        found = localize(volume, **how).compute()
        np.testing.assert_allclose(sorted((found.zyx * size).tolist()), sorted(balls), atol=20)
        tables.append(found.table)
    assert tables[0].equals(tables[1])
