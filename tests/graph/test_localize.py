"""Particle centres: the whole-volume answer for every cut, lazily."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi

from volproc.core.errors import ConfigError, ShapeError
from volproc.core.volume import Volume
from volproc.graph.localize import localize

SHAPE = (5, 7, 11)


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, one voxel thick too."""
    return tuple(
        tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=4))), n]).tolist())
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


@given(cuts((20, 24, 28)))
def test_centres_are_those_of_the_balls_for_every_cut(chunks) -> None:
    points = localize(volume_of(balls(), chunks), **OPTIONS).compute(scheduler="sync")
    assert list(points.table["class_name"]) == ["ribosome", "ribosome", "ferritin"]
    np.testing.assert_array_equal(points.zyx, [[6, 7, 8], [13, 15, 20], [6, 17, 8]])
    assert list(points.table["num_voxels"]) == [(balls() == 1).sum() // 2 - 3] * 2 + [
        (balls() == 2).sum() - 1
    ]
    assert (points.voxel_size, points.shape, points.name) == ((10,) * 3, (20, 24, 28), "mask")


def test_centres_of_any_objects_are_those_of_scipy() -> None:
    classes = np.random.default_rng(2).integers(0, 3, (9, 13, 11)).astype(np.uint8)
    options = {"radius_min_scale": 0.0, "radius_max_scale": 99.0, "connectivity": 2}
    lazy = localize(volume_of(classes, (2, 5, 4)), **OPTIONS, **options)
    points = lazy.compute(scheduler="sync")
    for name, value in (("ribosome", 1), ("ferritin", 2)):
        labels, count = ndi.label(classes == value, ndi.generate_binary_structure(3, 2))
        expected = ndi.center_of_mass(labels > 0, labels, range(1, count + 1))
        np.testing.assert_allclose(points.select(name).zyx, expected, atol=1e-9)


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
        ({"radius_min_scale": 2.0}, "from 2.0 to 1.5. Give a smaller one first"),
        ({"radius_min_scale": -1.0}, "none negative"),
        ({"connectivity": 0}, "connectivity"),
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
