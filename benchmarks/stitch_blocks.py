"""Stitching of overlapping blocks against rules that look at faces alone, in one process.

Each case cuts a volume of known objects into blocks with a halo and has every block segmented by
itself, under numbers of its own. The figures to read are those of ``quality``: F1 at an IoU above
0.5, true objects of which one found object covers the most of two or more (merges), true objects
that lie in two found ones or more by a fifth each (splits), and the variation of information in
bits. ``oracle`` is the same noisy predictor on the whole volume at once: nothing to stitch. Times
are those of the stitching alone; the baselines work in memory, on chunks without halos.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import cc3d
import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from skimage.metrics import variation_of_information

from benchmarks.harness import ROOT, Case, compare, run
from volproc.core.types import Index, Region, whole
from volproc.graph.stitch import stitch
from volproc.reduce.stitching_grid import OverlapGrid, within

Labels = npt.NDArray[Any]
Blocks = dict[Index, Labels]

NEURITES = ROOT.parent / "shared" / "data" / "labels" / "ffn_fib25_segmentation.npz"
"""Dense neurites of a fly's brain; the case is left out where the file is not there."""

RADIUS, DISTANCE, JITTER, DROPOUT = 6.5, 9.5, 0.8, 0.03


@dataclass(frozen=True)
class StitchCase(Case):
    """A volume of objects, cut into blocks."""

    chunk: int
    """Side of a chunk, voxels."""

    halo: int
    """Voxels that a block sees beyond its chunk."""

    kind: str = "cells"
    """``cells``: a dense packing, each block's centres moved and some missed; ``neurites``: real
    labels, each block an exact crop; ``pieces``: the same, each connected part of a crop by
    itself."""

    seed: int = 0
    """Of the packing and its noise."""


CASES = (
    # about 2,000 cells in 64 noisy blocks, a halo longer than a cell
    StitchCase("cells", (160, 160, 160), 40, 14),
    # another packing
    StitchCase("cells-2", (160, 160, 160), 40, 14, seed=1),
    # a halo shorter than a cell: more are cut off by every block that sees them
    StitchCase("cells-short-halo", (160, 160, 160), 40, 7),
    *(
        case
        for case in (
            # objects longer than any halo
            StitchCase("neurites", (250, 250, 250), 64, 16, "neurites"),
            StitchCase("neurites-thin", (250, 250, 250), 90, 4, "neurites"),
            # what a block sees in two parts is two objects to it
            StitchCase("neurites-pieces", (250, 250, 250), 64, 16, "pieces"),
        )
        if NEURITES.exists()
    ),
)

TINY = (StitchCase("tiny-cells", (48, 48, 48), 24, 12),)


def measure(case: StitchCase, repeats: int) -> dict[str, Any]:
    """Compare the stitching of one case with its baselines, in quality and time."""
    cut = tuple(min(case.chunk, case.shape[0] - n) for n in range(0, case.shape[0], case.chunk))
    grid = OverlapGrid((cut,) * 3, (case.halo,) * 3)
    truth, predict = _problem(case)
    blocks = {
        index: predict(grid.block(index), place) for place, index in enumerate(grid.indices())
    }
    lazy = da.map_blocks(
        lambda block_id: blocks[block_id],
        chunks=grid.block_sizes,
        dtype=np.uint32,
        meta=np.empty((0, 0, 0), np.uint32),
    )

    def own() -> Labels:
        return stitch(lazy, halo=case.halo, chunks=grid.cuts)[0].compute(scheduler="sync")

    rules: dict[str, Callable[[], Labels]] = {
        "face_contact": lambda: unite_across_faces(blocks, grid, lambda plane: plane),
        "cellpose_rule": lambda: unite_across_faces(blocks, grid, shrink),
    }
    lazy_pair = stitch(lazy, halo=case.halo, chunks=grid.cuts)
    labels, report = dask.compute(*lazy_pair, scheduler="sync")
    quality = {"own": rate(truth, labels)}
    quality |= {name: rate(truth, rule()) for name, rule in rules.items()}
    if case.kind == "cells":
        quality["oracle"] = rate(truth, predict(whole(case.shape), len(grid)))
    return {
        **compare(case, own, rules, repeats=repeats),
        "quality": quality,
        "num_blocks": len(grid),
        "num_united": len(report.united),
    }


def _problem(case: StitchCase) -> tuple[Labels, Callable[[Region, int], Labels]]:
    """True objects, and what finds them in a region; the second argument seeds the noise."""
    if case.kind != "cells":
        with np.load(NEURITES) as file:
            truth = file["segmentation"].astype(np.uint32)
        if case.kind == "pieces":
            truth = _parts(truth)
        return truth, lambda region, place: _shuffle(
            _parts(truth[region]) if case.kind == "pieces" else truth[region], place
        )
    centres = pack(case)

    def predict(region: Region, place: int) -> Labels:
        generator = np.random.default_rng([case.seed, 1, place])
        lower, upper = [s.start for s in region], [s.stop for s in region]
        seen = centres[((centres >= lower) & (centres < upper)).all(axis=1)]
        seen = seen[generator.random(len(seen)) > DROPOUT]
        return _cells(seen + generator.normal(0, JITTER, seen.shape), region)

    return _cells(centres, whole(case.shape)), predict


def pack(case: StitchCase) -> npt.NDArray[np.float64]:
    """Centres at least `DISTANCE` apart, as many as random tries find room for."""
    generator = np.random.default_rng(case.seed)
    tries = generator.random((case.num_voxels // 450, 3)) * case.shape
    near = cKDTree(tries).query_ball_point(tries, DISTANCE)
    is_kept = np.ones(len(tries), bool)
    for place, others in enumerate(near):
        if is_kept[place]:
            is_kept[others] = False
            is_kept[place] = True
    return tries[is_kept]


def _cells(centres: npt.NDArray[np.float64], region: Region) -> Labels:
    """Voxels nearest to each centre, up to a cell's radius."""
    places = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in region), indexing="ij"), -1)
    distance, nearest = cKDTree(centres).query(places, distance_upper_bound=RADIUS)
    return np.where(np.isfinite(distance), nearest + 1, 0).astype(np.uint32)


def _parts(labels: Labels) -> Labels:
    """Connected parts of each label, with corners."""
    return cc3d.connected_components(labels, connectivity=26, out_dtype=np.uint32)


def _shuffle(labels: Labels, seed: int) -> Labels:
    """The same objects under random numbers."""
    numbers = np.random.default_rng(seed).choice(10**6, labels.max() + 1, replace=False) + 1
    numbers[0] = 0
    return numbers.astype(np.uint32)[labels]


def unite_across_faces(
    blocks: Blocks, grid: OverlapGrid, prepare: Callable[[Labels], Labels]
) -> Labels:
    """Baseline: unite labels that touch across the faces of chunks, once ``prepare`` is done.

    Halos are thrown away. Without preparation this is what connected components would do;
    `shrink` makes it the rule of Cellpose's distributed segmentation.
    """
    out, offset = np.zeros(grid.shape, np.int64), 0
    for index, block in blocks.items():
        chunk = block[within(grid.chunk(index), grid.block(index))].astype(np.int64)
        out[grid.chunk(index)] = np.where(chunk > 0, chunk + offset, 0)
        offset += int(block.max())
    pairs = [np.zeros((0, 2), np.int64)]
    for below, above in _faces(grid):
        one, other = prepare(out[below].squeeze()), prepare(out[above].squeeze())
        touch = (one > 0) & (other > 0)
        pairs.append(np.unique(np.stack([one[touch], other[touch]], axis=1), axis=0))
    ends = np.concatenate(pairs)
    graph = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(offset + 1,) * 2)
    return np.where(out > 0, connected_components(graph, directed=False)[1][out] + 1, 0)


def _faces(grid: OverlapGrid) -> Iterator[tuple[Region, Region]]:
    """Pairs of planes of voxels that face each other across two chunks."""
    for index, axis in product(grid.indices(), range(3)):
        if index[axis] == 0:
            continue
        below, above = list(grid.chunk(index)), list(grid.chunk(index))
        start = above[axis].start
        below[axis], above[axis] = slice(start - 1, start), slice(start, start + 1)
        yield tuple(below), tuple(above)


def shrink(plane: Labels) -> Labels:
    """Take a voxel away all around each label of a plane."""
    slope = np.sqrt(sum(g**2 for g in np.gradient(plane.astype(float))))
    inner = (plane > 0) & (slope == 0)
    return np.where(ndi.distance_transform_edt(inner) > 1, plane, 0)


def rate(truth: Labels, found: Labels) -> dict[str, float]:
    """F1, merges, splits and variation of information."""
    sizes, sizes_found = np.bincount(truth.reshape(-1)), np.bincount(found.reshape(-1))
    is_both = (truth > 0) & (found > 0)
    table = coo_matrix(
        (np.ones(is_both.sum(), np.int64), (truth[is_both], found[is_both])),
        shape=(len(sizes), len(sizes_found)),
    )
    table.sum_duplicates()
    one, other, voxels = table.row, table.col, table.data
    iou = voxels / (sizes[one] + sizes_found[other] - voxels)
    num_true, num_found = (int((s[1:] > 0).sum()) for s in (sizes, sizes_found))
    covered = np.bincount(other[voxels > 0.5 * sizes[one]])
    parts = np.bincount(one[voxels > 0.2 * sizes[one]])
    return {
        "f1": round(2 * int((iou > 0.5).sum()) / (num_true + num_found), 4),
        "num_true": num_true,
        "num_found": num_found,
        "merged": int(covered[covered > 1].sum()),
        "split": int((parts > 1).sum()),
        "information_bits": round(float(variation_of_information(truth, found).sum()), 6),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    return run(__doc__ or "", measure, CASES, TINY, argv)


if __name__ == "__main__":
    sys.exit(main())
