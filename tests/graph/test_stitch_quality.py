"""Stitching of noisy and of real blocks: how good the result is."""

from __future__ import annotations

from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from scipy import ndimage as ndi
from scipy.spatial import cKDTree
from skimage.metrics import variation_of_information

from volproc.graph.stitch import segment_blocks, stitch
from volproc.reduce.stitching_grid import OverlapGrid

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def packing(size: int, seed: int) -> np.ndarray:
    """Centres of a dense packing, at least 9.5 voxels apart."""
    generator = np.random.default_rng(seed)
    kept: list[np.ndarray] = []
    for point in generator.random((2 * size**3 // 900, 3)) * size:
        if all(((point - other) ** 2).sum() > 9.5**2 for other in kept):
            kept.append(point)
    return np.array(kept)


def cells(centres: np.ndarray, region: tuple[slice, ...]) -> np.ndarray:
    """Voxels within 6.5 of the nearest centre."""
    grid = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in region), indexing="ij"), -1)
    distance, nearest = cKDTree(centres).query(grid, distance_upper_bound=6.5)
    return np.where(np.isfinite(distance), nearest + 1, 0)


def scored(truth: np.ndarray, labels: np.ndarray) -> tuple[float, int]:
    """F1 at an IoU above 0.5, and how many objects cover most of two."""
    both = np.zeros((truth.max() + 1, labels.max() + 1), int)
    np.add.at(both, (truth, labels), 1)
    one, other = both.sum(1)[1:], both.sum(0)[1:]
    both = both[1:, 1:]
    good = (both > (one[:, None] + other - both) / 2).sum()
    merges = ((both > one[:, None] / 2).sum(0) > 1).sum()
    return 2 * good / (len(one) + len(other)), int(merges)


def test_a_dense_packing_in_noisy_blocks_comes_out_as_from_one_block_without_merges() -> None:
    size, chunk, halo = 64, 32, 14
    centres = packing(size, 0)
    truth = cells(centres, (slice(0, size),) * 3)

    def noisy(region: tuple[slice, ...], seed: int) -> np.ndarray:
        generator = np.random.default_rng(seed)
        lower, upper = [s.start for s in region], [s.stop for s in region]
        seen = centres[((centres >= lower) & (centres < upper)).all(1)]
        seen = seen[generator.random(len(seen)) > 0.03]
        return cells(seen + generator.normal(0, 0.8, seen.shape), region)

    grid = OverlapGrid(((chunk,) * 2,) * 3, (halo,) * 3)
    parts = {index: noisy(grid.block(index), place) for place, index in enumerate(grid.indices())}
    blocks = da.map_blocks(
        lambda block_id: parts[block_id],
        chunks=grid.block_sizes,
        dtype=int,
        meta=np.empty((0, 0, 0), int),
    )
    labels, _ = dask.compute(*stitch(blocks, halo=halo), scheduler="sync")
    reached, merges = scored(truth, labels)
    oracle, _ = scored(truth, noisy((slice(0, size),) * 3, 99))
    assert merges == 0
    assert reached > oracle - 0.02


@pytest.mark.parametrize("is_split", [False, True])
def test_real_neurites_cut_into_blocks_come_back_whole(is_split) -> None:
    path = DATA / "labels" / "ffn_fib25_segmentation.npz"
    if not path.exists():
        pytest.skip("no shared data here")
    with np.load(path) as file:
        truth = file["segmentation"][20:90, 60:150, 100:200].astype(int)
    truth = components(truth) if is_split else truth

    def predict(block: np.ndarray) -> np.ndarray:
        instances = components(block) if is_split else block
        generator = np.random.default_rng([*block.shape, int(block.sum())])
        names = generator.choice(10**6, instances.max() + 1, replace=False) + 1
        names[0] = 0
        return names[instances]

    lazy = segment_blocks(da.from_array(truth), predict, chunks=(32, 40, 36), halo=(8, 6, 9))
    labels, report = dask.compute(*lazy, scheduler="sync")
    assert sum(variation_of_information(truth, labels)) < (1e-9 if is_split else 0.01)
    pairs = np.unique(np.stack([truth.ravel(), labels.ravel()]), axis=1)
    assert len(pairs[1]) == len(np.unique(labels))  # no false merge
    np.testing.assert_array_equal(labels > 0, truth > 0)
    assert len(report.united) > 10


def components(labels: np.ndarray) -> np.ndarray:
    """Connected parts of each label."""
    out, count = np.zeros(labels.shape, int), 0
    for value, box in enumerate(ndi.find_objects(labels), 1):
        if box is not None:
            parts, number = ndi.label(labels[box] == value)
            out[box][parts > 0] = parts[parts > 0] + count
            count += number
    return out
