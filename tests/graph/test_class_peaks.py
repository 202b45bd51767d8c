"""Peaks of probabilities: the same for every cut, each class by itself, distances in Å."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
from scipy import ndimage as ndi

from volproc.core.errors import ConfigError, NonFiniteError, ShapeError
from volproc.core.points import Points
from volproc.core.volume import Volume
from volproc.graph.localize import localize

SHAPE = (20, 33, 31)
CENTRES = {"ribosome": [(6, 8, 7), (13, 20, 22)], "ferritin": [(7, 25, 8), (12, 9, 24)]}
RADII = {"ribosome": 60.0, "ferritin": 40.0}
CHANNELS = ("background", "ferritin", "ribosome")


def maps(size: tuple[float, ...] = (10.0, 10.0, 10.0), seed: int = 0) -> np.ndarray:
    """Channels of a network that is certain in balls around the centres, with noise elsewhere."""
    rng = np.random.default_rng(seed)
    found = np.zeros((3, *SHAPE), np.float32)
    grid = np.indices(SHAPE)
    for number, name in enumerate(CHANNELS[1:], start=1):
        for centre in CENTRES[name]:
            apart = sum(((grid[i] - centre[i]) * size[i]) ** 2 for i in range(3))
            found[number][apart <= (0.7 * RADII[name]) ** 2] = 1
    noise = rng.random((3, *SHAPE), np.float32) * 0.4
    return np.maximum(found, noise).astype(np.float32)


def volume_of(array: np.ndarray, chunks: Any = -1, size: Any = (10.0,) * 3) -> Volume:
    return Volume(da.from_array(array, chunks=chunks), size, name="map", channels=CHANNELS)


def find(volume: Volume, **options: Any) -> Points:
    how: dict[str, Any] = {
        "radii": RADII, "class_values": {"ribosome": 2, "ferritin": 1}, "method": "peaks",
    }  # fmt: skip
    points: Points = localize(volume, **(how | options)).compute()
    return points


def places(points: Points, name: str) -> list[tuple[int, ...]]:
    return sorted(tuple(np.rint(row).astype(int)) for row in points.select(name).zyx)


@pytest.mark.parametrize("chunks", [(3, 20, 33, 31), (2, 7, 9, 31), (1, 20, 5, 6)])
def test_certain_balls_give_their_middles_for_every_cut(chunks) -> None:
    whole = find(volume_of(maps()))
    assert {name: places(whole, name) for name in CENTRES} == CENTRES
    assert list(whole.table["class_name"].unique()) == list(RADII)
    np.testing.assert_array_equal(whole.table["score"], 1.0)
    assert find(volume_of(maps(), chunks)).table.equals(whole.table)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16])
def test_stored_types_are_probabilities_all_the_same(dtype) -> None:
    stored = (maps() * 255).round() if dtype == np.uint8 else maps()
    found = find(volume_of(stored.astype(dtype)))
    assert {name: places(found, name) for name in CENTRES} == CENTRES
    np.testing.assert_array_equal(found.table["score"], 1.0)


def greedy(scores: np.ndarray, threshold: float, distance: float, size: np.ndarray) -> list[Any]:
    """The rule on the whole volume, written out: maxima of 26 neighbours, the best kept first."""
    is_peak = (scores == ndi.maximum_filter(scores, size=3)) & (scores >= threshold)
    rows = sorted((-scores[tuple(p)], *p) for p in np.argwhere(is_peak))
    kept: list[Any] = []
    for row in rows:
        apart = [np.linalg.norm((np.array(row[1:]) - k[1:]) * size) for k in kept]
        if all(a > distance for a in apart):
            kept.append(np.array(row))
    return [tuple(k[1:].astype(int)) for k in kept]


@pytest.mark.parametrize("size", [(10.0, 10.0, 10.0), (30.0, 10.0, 15.0)])
def test_without_smoothing_it_is_greedy_suppression_in_angstrom(size) -> None:
    rng = np.random.default_rng(3)
    scores = rng.random((9, 17, 13)).astype(np.float32)
    volume = Volume(da.from_array(scores, chunks=(4, 6, 13)), size)
    found = find(volume, radii={"ribosome": 45.0}, smooth_scale=0.0, threshold=0.6, border=0.0)
    expected = greedy(scores, 0.6, 45.0, np.array(size))
    assert [tuple(row) for row in found.zyx.astype(int)] == expected
    np.testing.assert_allclose(found.table["score"], [scores[p] for p in expected])


def test_where_voxels_are_no_cubes_balls_are_found_in_angstrom() -> None:
    size = (20.0, 10.0, 10.0)
    found = find(volume_of(maps(size), (3, 6, 12, 31), size))
    assert {name: places(found, name) for name in CENTRES} == CENTRES


def test_refined_peaks_lie_between_voxels() -> None:
    grid = np.indices((15, 17, 19), np.float64)
    centre = (7.3, 8.0, 9.6)
    apart = sum((grid[i] - centre[i]) ** 2 for i in range(3))
    volume = Volume(da.from_array(np.exp(-apart / 18), chunks=8), (10.0,) * 3)
    alone = {"radii": {"ribosome": 60.0}, "class_values": {"ribosome": 1}}
    np.testing.assert_allclose(find(volume, refine=True, **alone).zyx, [centre], atol=0.03)
    np.testing.assert_array_equal(find(volume, **alone).zyx, [(7, 8, 10)])


def test_without_particles_there_are_no_points() -> None:
    assert len(find(volume_of(np.zeros((3, *SHAPE), np.float32)))) == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"threshold": float("nan")}, "threshold of peaks is nan"),
        ({"distance_scale": -1.0}, "distance of peaks is -1.0 radii"),
        ({"smooth_scale": 11.0}, "smoothing of peaks is 11.0 radii"),
        ({"radii": {"virus": 5.0}, "class_values": {"virus": 7}}, "no channel 7 for virus"),
    ],
)
def test_rules_that_cannot_be_are_refused(options, text) -> None:
    with pytest.raises(ConfigError, match=text):
        find(volume_of(maps()), **options)


def test_maps_that_are_no_probabilities_of_the_classes_are_refused() -> None:
    alone = Volume(da.from_array(maps()[1], chunks=-1), (10.0,) * 3)
    with pytest.raises(ConfigError, match="of one class, got 2"):
        find(alone)
    with pytest.raises(ShapeError, match="volumes"):
        find(Volume(da.zeros((5, 6)), (10.0,) * 2))
    broken = maps()
    broken[1, 3, 4, 5] = np.nan
    with pytest.raises(NonFiniteError, match=r"ferritin have 1 NaN.*\[3, 4, 5\]"):
        find(volume_of(broken))
