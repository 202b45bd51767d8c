"""Points beside a mask: distances as of the whole volume, normals as of the shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.graph import membrane, scaling
from volproc.graph.membrane import find_centres, find_nearest, find_normals
from volproc.plan.blocks import ChunkGrid


@dataclass(frozen=True)
class Kept:
    """A volume in memory, cut as a test wants it."""

    array: np.ndarray
    chunks: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    def read(self, region: Any) -> np.ndarray:
        return self.array[region]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one storage chunk each, whatever their size."""
    monkeypatch.setattr(membrane, "statistics_grid", lambda s: ChunkGrid(s.shape, s.chunks))
    assert scaling.statistics_grid is not membrane.statistics_grid


def brute(mask: np.ndarray, points: np.ndarray, unit: Any, reach: float) -> list[tuple]:
    """Nearest voxel, label by label, each in raster order."""
    rows = []
    for number, point in enumerate(points):
        best: tuple | None = None
        for label in np.unique(mask[mask > 0]):
            voxels = np.argwhere(mask == label)
            squares = ((voxels * unit - point * unit) ** 2).sum(axis=1)
            at = int(np.argmin(squares))
            if best is None or squares[at] < best[1]:
                best = (number, squares[at], int(label), tuple(voxels[at].tolist()))
        if best is not None and np.sqrt(best[1]) <= reach:
            rows.append(best)
    return rows


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.sampled_from([(9, 8, 13), (4, 8, 5), (2, 2, 2), (9, 1, 2)]))
def test_the_nearest_voxel_is_that_of_the_whole_volume(seed: int, chunks: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    filled = rng.random((9, 8, 13)) < rng.choice([0.0, 0.02, 0.3, 0.9])
    mask = filled * rng.integers(1, 4, (9, 8, 13))
    mask[3:8, 2:7, 4:10] = rng.integers(0, 3)
    # Many on the grid, where distances tie, some outside of the volume.
    points = np.concatenate([rng.integers(-3, 15, (6, 3)), rng.uniform(-1, 9, (6, 3))]).astype(
        float
    )
    unit = (1.0, 1.0, 1.0) if seed % 2 else (2.0, 1.0, 1.5)
    reach = float(rng.choice([1.0, 3.0, 30.0]))
    found = find_nearest(Kept(mask.astype(np.int16), chunks), points, unit=unit, reach=reach)
    rows = [
        (int(n), s, int(label), tuple(v.tolist()))
        for n, s, label, v in zip(found.point, found.square, found.label, found.voxel, strict=True)
    ]
    assert rows == brute(mask, points, np.array(unit), reach)


def ball_shell(size: int, radius: float, width: float) -> np.ndarray:
    z, y, x = np.indices((size,) * 3) - size // 2
    distance = np.sqrt(z**2 + y**2 + x**2)
    return (np.abs(distance - radius) <= width / 2).astype(np.uint8)


@pytest.mark.parametrize("width", [4.0, 40.0])
def test_normals_of_a_ball_and_of_its_shell_point_outwards_and_inwards(width: float) -> None:
    mask = ball_shell(61, 22.0 if width < 9 else 5.0, width)  # a shell, and a solid ball of 25
    outer = 24.0 if width < 9 else 25.0
    rng = np.random.default_rng(3)
    ways = rng.normal(size=(20, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    lengths = np.where(np.arange(20) % 2, outer + 3, outer - 8 if width < 9 else outer + 2)
    points = 30 + ways * lengths[:, None]
    source = Kept(mask, (61, 61, 61))
    nearest = find_nearest(source, points, unit=(1.0,) * 3, reach=10.0)
    assert len(nearest.point) == 20
    normals = find_normals(source, points, nearest, unit=(1.0,) * 3, radius=8.0)
    expected = ways * np.where(lengths > outer, 1, -1)[:, None]
    angles = np.degrees(np.arccos(np.clip((normals * expected).sum(axis=1), -1, 1)))
    assert angles.max() < 2
    assert angles.mean() < 0.8
    cut = Kept(mask, (17, 20, 61))
    parts = find_nearest(cut, points, unit=(1.0,) * 3, reach=10.0)
    again = find_normals(cut, points, parts, unit=(1.0,) * 3, radius=8.0)
    np.testing.assert_array_equal(again, normals)


def test_the_normal_of_a_tilted_sheet_is_no_way_to_its_centre() -> None:
    z, _, x = np.indices((30, 40, 50)).astype(float)
    way = np.array([0.6, 0.0, 0.8])
    mask = np.abs((z - 15) * way[0] + (x - 25) * way[2]) <= 1.5
    point = np.array([[15.0, 30.0, 25.0]]) + 4 * way
    for kept in (mask, mask.astype(np.float32) * 0.25):
        source = Kept(kept, (30, 40, 50))
        nearest = find_nearest(source, point, unit=(1.0,) * 3, reach=10.0)
        assert nearest.distance[0] == pytest.approx(2.5, abs=0.6)
        (normal,) = find_normals(source, point, nearest, unit=(1.0,) * 3, radius=8.0)
        assert normal @ way > np.cos(np.radians(1))
    assert find_centres(Kept(mask, (7, 11, 50)))[1] == pytest.approx((14.5, 19.5, 25), abs=0.5)


def test_a_normal_is_one_of_lengths_and_not_of_voxels() -> None:
    z, _, x = np.indices((20, 20, 40)).astype(float)
    mask = np.abs(z * 2 - 20 + x - 20) <= 2  # 45° where z counts twice
    points = np.array([[13.0, 10.0, 23.0]])
    source = Kept(mask.astype(np.uint8), (20, 20, 40))
    unit = (2.0, 1.0, 1.0)
    nearest = find_nearest(source, points, unit=unit, reach=20.0)
    (normal,) = find_normals(source, points, nearest, unit=unit, radius=8.0)
    assert normal == pytest.approx(np.array([1, 0, 1]) / np.sqrt(2), abs=0.05)


def test_a_single_voxel_faces_the_point() -> None:
    mask = np.zeros((9, 9, 9), np.uint8)
    mask[4, 4, 4] = 7
    points = np.array([[4.0, 7.0, 8.0], [4.0, 4.0, 4.0]])
    source = Kept(mask, (5, 5, 5))
    nearest = find_nearest(source, points, unit=(1.0,) * 3, reach=10.0)
    assert nearest.label.tolist() == [7, 7]
    assert nearest.distance.tolist() == [5, 0]
    normals = find_normals(source, points, nearest, unit=(1.0,) * 3, radius=3.0)
    assert normals.tolist() == [[0.0, 0.6, 0.8], [1.0, 0.0, 0.0]]
    assert find_centres(source) == {7: (4.0, 4.0, 4.0)}


def test_only_blocks_in_reach_are_read() -> None:
    read = []

    class Counted(Kept):
        def read(self, region: Any) -> np.ndarray:
            read.append(region)
            return super().read(region)

    source = Counted(np.ones((40, 40, 40), np.uint8), (10, 10, 10))
    found = find_nearest(source, np.array([[5.0, 5.0, 5.0]]), unit=(1.0,) * 3, reach=3.0)
    assert len(read) == 1
    assert found.distance.tolist() == [0.0]
    nowhere = find_nearest(source, np.zeros((0, 3)), unit=(1.0,) * 3, reach=3.0)
    assert len(nowhere.point) == 0


@pytest.mark.parametrize("chunks", [(5, 5, 5), (1, 1, 1)])
def test_of_equally_near_voxels_the_lowest_label_counts_and_the_reach_is_included(
    chunks: tuple[int, ...],
) -> None:
    mask = np.zeros((5, 5, 5), np.uint8)
    mask[2, 2, 0], mask[2, 2, 4], mask[4, 2, 2] = 3, 1, 1
    point = np.array([[2.0, 2.0, 2.0]])
    found = find_nearest(Kept(mask, chunks), point, unit=(1.0,) * 3, reach=2.0)
    assert found.label.tolist() == [1]
    assert found.voxel.tolist() == [[2, 2, 4]], "then the first in raster order"
