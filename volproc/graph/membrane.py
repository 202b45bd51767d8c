"""Points and the mask beside them, on blocks: distance, label, and the way to face."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.events import Observer, ignore
from volproc.core.executor import Executor, SerialExecutor, pool_of
from volproc.core.types import Index
from volproc.graph.run import run_stage
from volproc.graph.scaling import statistics_grid
from volproc.plan.blocks import ChunkGrid
from volproc.reduce.nearest_mask import Nearest, as_labels, merge_nearest, nearest_in_block
from volproc.reduce.surface_normals import reach_of_fit, surface_normals

Floats = npt.NDArray[np.float64]

NEAREST, CENTRES, NORMALS = "nearest mask", "centres of the mask", "normals of the mask"
"""Stages, for people."""


@dataclass(frozen=True, slots=True)
class _NearestWork:
    """Finds the nearest mask voxels in one block."""

    source: Source
    grid: ChunkGrid
    points: Floats
    unit: tuple[float, ...]
    reach: float

    def __call__(self, index: Index) -> Nearest:
        region = self.grid[index].write
        offset = tuple(s.start for s in region)
        block = self.source.read(region)
        return nearest_in_block(block, offset, self.points, unit=self.unit, reach=self.reach)


@dataclass(frozen=True, slots=True)
class _NormalWork:
    """Fits the normals at the voxels that lie in one block."""

    source: Source
    grid: ChunkGrid
    nearest: dict[Index, Nearest]
    points: Floats
    unit: tuple[float, ...]
    radius: float

    def __call__(self, index: Index) -> tuple[npt.NDArray[np.int64], Floats]:
        here = self.nearest[index]
        reach = reach_of_fit(self.radius, self.unit)
        region = tuple(
            slice(max(0, int(low) - r), min(n, int(high) + r + 1))
            for low, high, r, n in zip(
                here.voxel.min(axis=0), here.voxel.max(axis=0), reach, self.grid.shape, strict=True
            )
        )
        normals = surface_normals(
            self.source.read(region),
            tuple(s.start for s in region),
            here.voxel,
            here.label,
            self.points[here.point],
            unit=self.unit,
            radius=self.radius,
        )
        return here.point, normals


@dataclass(slots=True)
class _Sums:
    """Adds up what blocks counted."""

    by_label: dict[int, list[int]] = field(default_factory=dict)

    def add(self, counted: Mapping[int, tuple[int, ...]]) -> None:
        for label, row in counted.items():
            known = self.by_label.setdefault(label, [0, 0, 0, 0])
            self.by_label[label] = [a + b for a, b in zip(known, row, strict=True)]


@dataclass(frozen=True, slots=True)
class _CentreWork:
    """Counts the voxels of each label in one block, and adds up their coordinates."""

    source: Source
    grid: ChunkGrid

    def __call__(self, index: Index) -> dict[int, tuple[int, ...]]:
        region = self.grid[index].write
        block = as_labels(self.source.read(region))
        sums = _Sums()
        for z, plane in enumerate(block, start=region[0].start):
            places = np.nonzero(plane > 0)
            labels, which, counts = np.unique(
                plane[places], return_inverse=True, return_counts=True
            )
            y, x = (
                np.bincount(which, weights=place + part.start, minlength=len(labels))
                for place, part in zip(places, region[1:], strict=True)
            )
            rows = zip(counts.tolist(), (counts * z).tolist(), y.tolist(), x.tolist(), strict=True)
            sums.add(
                {int(label): tuple(map(int, row)) for label, row in zip(labels, rows, strict=True)}
            )
        return {label: tuple(row) for label, row in sums.by_label.items()}


def find_nearest(
    source: Source,
    points: Floats,
    *,
    unit: tuple[float, ...],
    reach: float,
    executor: Executor | None = None,
    observe: Observer = ignore,
) -> Nearest:
    """Find the voxel of a mask that is nearest to each point.

    Parameters
    ----------
    source : Source
        Mask, (z, y, x).
    points : ndarray, (n, 3)
        (z, y, x), voxels; they may lie outside of the volume.
    unit : tuple of float
        Length of a voxel along each axis.
    reach : float
        Longest distance that matters, included, in units.
    executor, observe
        Where blocks run, and who watches.

    Returns
    -------
    nearest : Nearest
        The same for every way of cutting the volume.

    Notes
    -----
    Only blocks in reach of a point are read, each once.
    """
    grid = statistics_grid(source)
    parts: list[Nearest] = []
    indices = sorted(_in_reach(grid, points, np.asarray(unit), reach))
    _run(
        NEAREST, indices, _NearestWork(source, grid, points, unit, reach), executor, observe,
        parts.append,
    )  # fmt: skip
    return merge_nearest(parts)


def find_normals(
    source: Source,
    points: Floats,
    nearest: Nearest,
    *,
    unit: tuple[float, ...],
    radius: float,
    executor: Executor | None = None,
    observe: Observer = ignore,
) -> Floats:
    """Fit the normal of a mask at the voxels nearest to some points.

    Parameters
    ----------
    source, points, unit, executor, observe
        As in `find_nearest`.
    nearest : Nearest
        What it returned, or part of it.
    radius : float
        As in `volproc.reduce.surface_normals.surface_normals`, in units.

    Returns
    -------
    normals : ndarray, (k, 3)
        Unit vectors (z, y, x) in the order of ``nearest``, from the mask to the point.
    """
    grid = statistics_grid(source)
    owners: dict[Index, list[int]] = {}
    for row, voxel in enumerate(nearest.voxel.tolist()):
        index = tuple(v // c for v, c in zip(voxel, grid.chunks, strict=True))
        owners.setdefault(index, []).append(row)
    by_block = {
        index: Nearest(
            nearest.point[rows], nearest.square[rows], nearest.label[rows], nearest.voxel[rows]
        )
        for index, rows in sorted(owners.items())
    }
    found: dict[int, Floats] = {}

    def take(result: tuple[npt.NDArray[np.int64], Floats]) -> None:
        found.update(zip(result[0].tolist(), result[1], strict=True))

    work = _NormalWork(source, grid, by_block, points, unit, radius)
    _run(NORMALS, by_block, work, executor, observe, take)
    return np.array([found[point] for point in nearest.point.tolist()]).reshape(-1, 3)


def find_centres(
    source: Source, *, executor: Executor | None = None, observe: Observer = ignore
) -> dict[int, tuple[float, ...]]:
    """Centre of mass of each label of a mask, (z, y, x), voxels.

    Parameters
    ----------
    source, executor, observe
        As in `find_nearest`.

    Notes
    -----
    The whole mask is read, once. Sums are whole numbers, so that the order does not matter.
    """
    grid = statistics_grid(source)
    sums = _Sums()
    _run(CENTRES, list(grid.indices()), _CentreWork(source, grid), executor, observe, sums.add)
    return {
        label: tuple(one / row[0] for one in row[1:])
        for label, row in sorted(sums.by_label.items())
    }


def _run(
    stage: str,
    indices: Iterable[Index],
    work: Any,
    executor: Executor | None,
    observe: Observer,
    take: Any,
) -> None:
    blocks = list(indices)
    run_stage(
        stage,
        blocks,
        work,
        executor=pool_of(executor or SerialExecutor(), "cpu"),
        observe=observe,
        collect=lambda _, result: take(result),
        total=len(blocks),
    )


def _in_reach(grid: ChunkGrid, points: Floats, unit: Floats, reach: float) -> set[Index]:
    """Blocks that have a voxel in reach of a point."""
    found: set[Index] = set()
    margin = reach / unit + 1
    for low, high in zip(points - margin, points + margin, strict=True):
        ranges = [
            range(max(0, int(np.floor(a)) // c), min(n, int(np.ceil(b)) // c + 1))
            for a, b, c, n in zip(low, high, grid.chunks, grid.numblocks, strict=True)
        ]
        found.update(product(*ranges))
    return found
