"""Linking of slices against a dense matrix of overlaps with an optimal assignment, and Cellpose.

The baseline counts all pairs of labels of two slices in one matrix, and assigns all sections of
both at once, as tools that hold the stack in memory do. It gives the same objects, which is
checked before anything is timed. Cases without a baseline show how time and memory grow.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from benchmarks.harness import Case, Contender, compare, run
from volproc.graph.link import link
from volproc.reduce.linking import Method

try:
    from cellpose.utils import stitch3D
except ImportError:  # a baseline only: the others say enough
    stitch3D = None  # noqa: N816

Labels = npt.NDArray[Any]


@dataclass(frozen=True)
class LinkCase(Case):
    """Round cells on a jittered grid, renumbered in each slice, some of them missing."""

    pitch: int
    """Voxels between two cells."""

    thickness: int
    """Slices of a chunk, which is whole along y and x."""

    method: Method = "hungarian"
    """As in `volproc.link`."""

    workers: int = 2
    """Threads of the linking; baselines have one."""

    is_lazy: bool = False
    """Whether slices are made when asked for, and nothing is kept: the whole is never there."""

    with_baseline: bool = True
    """Whether a baseline finishes in reasonable time and memory."""


CASES = (
    # a thousand cells a slice, small: assignments dominate
    LinkCase("thousand-small", (24, 512, 512), pitch=16, thickness=8),
    # the same number on four times the voxels: passes over voxels dominate
    LinkCase("thousand-large", (24, 1024, 1024), pitch=32, thickness=8),
    # what the second worker brings
    LinkCase("thousand-alone", (24, 1024, 1024), pitch=32, thickness=8, workers=1),
    # the rule of Cellpose, beside Cellpose
    LinkCase("stitch3d", (24, 512, 512), pitch=16, thickness=8, method="stitch3d"),
    # ten thousand cells a slice: a dense matrix has 10**8 entries
    LinkCase("ten-thousand", (24, 1600, 1600), pitch=16, thickness=8, with_baseline=False),
    # half a million sections, and a million: time doubles, memory does not
    LinkCase(
        "half-million", (100, 1136, 1136), pitch=16, thickness=4, is_lazy=True, with_baseline=False
    ),
    LinkCase(
        "million", (200, 1136, 1136), pitch=16, thickness=4, is_lazy=True, with_baseline=False
    ),
)

TINY = (
    LinkCase("tiny", (6, 40, 56), pitch=8, thickness=2),
    LinkCase("tiny-stitch3d", (6, 40, 56), pitch=8, thickness=2, method="stitch3d"),
    LinkCase("tiny-lazy", (6, 40, 56), pitch=8, thickness=2, is_lazy=True, with_baseline=False),
)


@dataclass(frozen=True)
class Cells:
    """Slices of a case, each made from its number alone."""

    places: Labels
    """Cells of one slice by their places on the grid, from 1."""

    def plane(self, z: int) -> Labels:
        """One slice: all cells drift, a few are missing, numbers are drawn anew."""
        generator = np.random.default_rng([7, z])
        num_cells = int(self.places.max())
        numbers = np.append(0, generator.permutation(num_cells).astype(np.int32) + 1)
        numbers[1:][generator.random(num_cells) < 0.02] = 0
        drift = [(z // 9) % 3 - 1, (z // 7) % 3 - 1]
        return np.roll(numbers[self.places], drift, (0, 1)).astype(np.int32)

    def block(self, block_info: Any = None) -> Labels:
        """Slices of one chunk of a dask array."""
        start, stop = block_info[None]["array-location"][0]
        return np.stack([self.plane(z) for z in range(start, stop)])


def cells_of(case: LinkCase) -> Cells:
    """Cells of random size, a little off their places, never touching."""
    generator = np.random.default_rng(0)
    grid = tuple(n // case.pitch for n in case.shape[1:])
    jitter = case.pitch // 8
    radius = generator.uniform(0.28, 0.38, grid) * case.pitch
    axes = [
        np.minimum(np.arange(n) // case.pitch, g - 1)
        for n, g in zip(case.shape[1:], grid, strict=True)
    ]
    centre = [
        (np.indices(grid)[axis] + 0.5) * case.pitch + generator.uniform(-jitter, jitter, grid)
        for axis in (0, 1)
    ]
    at = np.ix_(*axes)
    y, x = np.ogrid[: case.shape[1], : case.shape[2]]
    inside = (y - centre[0][at]) ** 2 + (x - centre[1][at]) ** 2 < radius[at] ** 2
    numbers = np.arange(1, np.prod(grid) + 1, dtype=np.int32).reshape(grid)
    return Cells(numbers[at] * inside)


def link_densely(slices: Labels, min_iou: float = 0.3, max_distance_z: int = 2) -> Labels:
    """Link by the rule of `volproc.link`, with dense matrices: the baseline."""
    num_labels = [int(plane.max()) + 1 for plane in slices]
    above = [np.zeros(n, bool) for n in num_labels]
    below = [np.zeros((n, 2), int) for n in num_labels]
    for distance in range(1, max_distance_z + 1):
        for z in range(len(slices) - distance):
            top = z + distance
            shape = num_labels[z], num_labels[top]
            pairs = slices[z].ravel().astype(np.int64) * shape[1] + slices[top].ravel()
            overlap = np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)
            union = overlap.sum(1, keepdims=True) + overlap.sum(0, keepdims=True) - overlap
            iou = overlap / np.maximum(union, 1)
            iou[0], iou[:, 0] = 0, 0
            iou[(iou < min_iou) | above[z][:, None] | (below[top][:, 0] > 0)[None]] = 0
            rows, columns = linear_sum_assignment(iou, maximize=True)
            chosen = iou[rows, columns] > 0
            above[z][rows[chosen]] = True
            below[top][columns[chosen]] = np.stack(
                [np.full(chosen.sum(), distance), rows[chosen]], 1
            )
    out, num_objects = np.zeros(slices.shape, np.uint32), 0
    tables: list[npt.NDArray[np.uint32]] = []
    for z, plane in enumerate(slices):
        labels, first = np.unique(plane, return_index=True)
        table = np.zeros(num_labels[z], np.uint32)
        for label in labels[np.argsort(first)]:
            distance, row = below[z][label]
            if label and distance:
                table[label] = tables[z - distance][row]
            elif label:
                num_objects += 1
                table[label] = num_objects
        tables.append(table)
        out[z] = table[plane]
    return out


def measure(case: LinkCase, repeats: int) -> dict[str, Any]:
    """Compare the linking of one case with its baseline."""
    cells = cells_of(case)
    chunks = tuple(
        tuple(min(step, n - i) for i in range(0, n, step))
        for n, step in zip(case.shape, (case.thickness, *case.shape[1:]), strict=True)
    )
    empty = np.empty((0, 0, 0), np.int32)
    lazy = da.map_blocks(cells.block, chunks=chunks, dtype=np.int32, meta=empty)
    slices = np.zeros(0) if case.is_lazy else lazy.compute(scheduler="sync")
    stack = lazy if case.is_lazy else da.from_array(slices, chunks=chunks)

    def own() -> Any:
        labels, num_objects = link(stack, method=case.method)
        kept = labels.map_blocks(_greatest, chunks=(1, 1, 1)).max() if case.is_lazy else labels
        options = {"num_workers": case.workers} if case.workers > 1 else {}
        scheduler = "threads" if case.workers > 1 else "sync"
        return dask.compute(kept, num_objects, scheduler=scheduler, **options)

    baselines: dict[str, Contender] = {}
    if case.with_baseline and case.method == "stitch3d" and stitch3D is not None:
        baselines["cellpose"] = lambda: _stitch_quietly(slices)
    elif case.with_baseline and case.method == "hungarian":
        baselines["dense"] = lambda: link_densely(slices)
    for name, baseline in baselines.items():
        if (own()[0] != baseline()).any():
            msg = f"{case.name}: other objects than {name}."
            raise AssertionError(msg)
    return compare(case, own, baselines, repeats=repeats)


def _greatest(block: Labels) -> Labels:
    return block.max(keepdims=True)


def _stitch_quietly(slices: Labels) -> Labels:
    assert stitch3D is not None
    with np.errstate(invalid="ignore"):  # it divides 0 by 0 in slices without background
        return stitch3D(slices.copy(), stitch_threshold=0.3)


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    return run(__doc__ or "", measure, CASES, TINY, argv)


if __name__ == "__main__":
    sys.exit(main())
