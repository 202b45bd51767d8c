"""A lamella found block by block and lazily, against SciPy and scikit-image on the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.measure import label
from skimage.morphology import convex_hull_image
from skimage.transform import pyramid_expand, pyramid_reduce

from volproc.core.errors import (
    ConfigError,
    DtypeError,
    PlanError,
    ShapeError,
    VoxelSizeError,
)
from volproc.core.volume import Volume
from volproc.graph.clean_lamella import clean_lamella
from volproc.graph.lamella import find_lamella
from volproc.graph.lamella_rule import lamella_grid, make_lamella_rule
from volproc.io.open import open_
from volproc.plan.blocks import ChunkGrid
from volproc.training.labelled import ArraySource

SHAPE = (41, 37, 29)
CUTS = ((13, 17, 29), (41, 5, 11), (8, 37, 29))


def bent_slab() -> np.ndarray:
    """Probabilities of a bent, tilted slab with a hole, a smaller body above it, and specks."""
    rng = np.random.default_rng(8)
    z, y, x = np.ogrid[tuple(map(slice, SHAPE))]
    middle = 16 + 0.15 * y + 0.01 * (x - 14) ** 2
    likely = np.where(np.abs(z - middle) < 7, 0.97, 0.02)
    likely[14:20, 9:12, 8:12] = 0.1
    likely[36:40, 0:9, 0:9] = 0.9
    likely[rng.random(SHAPE) < 0.01] = 1.0
    return likely.astype(np.float32)


def largest(mask: np.ndarray) -> np.ndarray:
    labels = label(mask, connectivity=3)
    found: np.ndarray = labels == np.bincount(labels[labels > 0]).argmax()
    return found


def hulls(body: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Hulls of the slices of a body, and what is around it in slices without."""
    mask = around.copy()
    for z in np.flatnonzero(body.any(axis=(1, 2))):
        mask[z] = convex_hull_image(body[z])
    return mask


def expected(likely: np.ndarray, sigma: float, hull: str) -> np.ndarray:
    mask = (likely > 0.5).astype(np.float32)
    body = largest(gaussian_filter(mask, sigma, mode="reflect") > 0.5)
    return hulls(body, np.zeros(SHAPE, bool)) if hull == "slice" else body


def expected_of_cryosiam(likely: np.ndarray, threshold: float, hull: str) -> np.ndarray:
    body = largest(gaussian_filter(likely, (10, 5, 5), mode="constant") > threshold)
    if hull == "slice":
        return hulls(body, likely > threshold)
    hull_image = convex_hull_image(pyramid_reduce(body, 4, preserve_range=True))
    whole = pyramid_expand(hull_image, 4, preserve_range=True)
    return whole[tuple(map(slice, SHAPE))].astype(int)


def by_blocks(voxels: np.ndarray, cuts: tuple[int, ...], folder: Path, **rule: Any) -> np.ndarray:
    """The whole mask, read in other pieces than it was found in."""
    size = None if "compat" in rule else (10.0, 10.0, 10.0)
    found = find_lamella(
        ArraySource(voxels),
        make_lamella_rule(voxels.shape, size, **rule),
        folder=str(folder),
        grid=ChunkGrid(voxels.shape, cuts),
    )
    whole = [slice(0, n) for n in voxels.shape]
    parts = [found.read((slice(z, z + 1), whole[1], whole[2])) for z in range(voxels.shape[0])]
    return np.concatenate(parts)


def lazily(voxels: np.ndarray, cuts: tuple[int, ...], **rule: Any) -> np.ndarray:
    array = da.from_array(voxels, chunks=cuts)
    size: dict[str, Any] = {} if "compat" in rule else {"voxel_size": 10.0}
    mask: np.ndarray = clean_lamella(array, **size, **rule).compute(scheduler="sync")
    assert mask.dtype == np.uint8
    return mask


@pytest.mark.parametrize("hull", ["slice", "volume"])
def test_cryosiams_way_is_that_of_the_whole_volume_for_every_chunking(
    hull: Any, tmp_path: Path
) -> None:
    likely = bent_slab()
    due = expected_of_cryosiam(likely, 0.4, hull)
    assert due.any()
    assert hull == "volume" or due[~expected(likely, 2.0, "slice").any(axis=(1, 2))].any()
    rule = {"compat": "cryosiam", "threshold": 0.4, "hull": hull}
    for number, cuts in enumerate(CUTS[1:]):
        found = by_blocks(likely, cuts, tmp_path / str(number), **rule)
        np.testing.assert_array_equal(found, due)
    np.testing.assert_array_equal(lazily(likely, CUTS[0], **rule), due)


@pytest.mark.parametrize("hull", ["slice", "none"])
def test_one_clean_slab_is_left_for_every_chunking(hull: Any, tmp_path: Path) -> None:
    likely = bent_slab()
    due = expected(likely, 1.5, hull)
    assert largest(due).sum() == due.sum() > 0.8 * (likely > 0.9).sum()
    rule = {"hull": hull, "smooth_nm": 1.5}
    for number, cuts in enumerate(CUTS[::2]):
        found = by_blocks(likely, cuts, tmp_path / str(number), **rule)
        np.testing.assert_array_equal(found, due)
    np.testing.assert_array_equal(lazily(likely, CUTS[1], **rule), due)


def test_planes_span_a_tilted_slab_with_a_hole_for_every_chunking(tmp_path: Path) -> None:
    z, y, x = np.ogrid[tuple(map(slice, SHAPE))]
    slab = np.abs(z - (15 + 0.2 * y + 0.1 * x)) < 6
    holed = slab.astype(np.uint8)
    holed[:, 9:14, 9:14] = 0
    rule = {"hull": "plane", "smooth_nm": 1.0}
    first, *others = [
        by_blocks(holed, cuts, tmp_path / str(i), **rule) for i, cuts in enumerate(CUTS)
    ]
    assert np.count_nonzero(first != slab) < 0.03 * slab.sum()
    for other in (*others, lazily(holed, CUTS[0], **rule)):
        np.testing.assert_array_equal(other, first)


def test_thin_slabs_that_touch_all_sides_stay_as_they_are() -> None:
    slab = np.zeros(SHAPE, np.uint8)
    slab[20:29] = 1
    np.testing.assert_array_equal(lazily(slab, CUTS[0]), slab)  # 9 nm thick
    full = np.ones((5, 7, 9), np.uint8)
    np.testing.assert_array_equal(lazily(full, (3, 3, 3)), full)


def test_of_two_slabs_the_larger_stays_and_of_equal_ones_the_first() -> None:
    slabs = np.zeros(SHAPE, np.uint8)
    slabs[3:9], slabs[30:37] = 1, 1
    assert lazily(slabs, CUTS[2], smooth_nm=1.0)[:, 0, 0].nonzero()[0].tolist() == [*range(30, 37)]
    slabs[36] = 0
    assert lazily(slabs, CUTS[2], smooth_nm=1.0)[:, 0, 0].nonzero()[0].tolist() == [*range(3, 9)]


def test_bodies_that_touch_at_a_corner_are_one() -> None:
    bodies = np.zeros((8, 9, 10), np.uint8)
    bodies[1:4, 1:4, 1:4], bodies[4:6, 4:6, 4:6], bodies[7, 8, 8] = 1, 1, 1
    found = lazily(bodies, (4, 4, 4), smooth_nm=0.0, hull="none")
    bodies[7, 8, 8] = 0
    np.testing.assert_array_equal(found, bodies)


def test_smoothing_and_sizes_are_in_nm(tmp_path: Path) -> None:
    rule = make_lamella_rule(SHAPE, (20.0, 10.0, 5.0), smooth_nm=4.0, min_size_nm3=50.0)
    assert rule.sigma == (2.0, 4.0, 8.0)
    assert rule.radius == (8, 16, 32)
    assert rule.min_voxels == 50
    cube = np.zeros((9, 9, 9), np.uint8)
    cube[2:6, 2:6, 2:6] = 1  # 64 nm³
    assert lazily(cube, (4, 5, 9), smooth_nm=0.0, min_size_nm3=64.0).sum() == 64
    with pytest.raises(ConfigError, match="largest part has 64 voxels, fewer than the 65"):
        lazily(cube, (4, 5, 9), smooth_nm=0.0, min_size_nm3=65.0)


def test_an_empty_map_is_an_error_or_an_empty_mask_and_never_the_whole(tmp_path: Path) -> None:
    nothing = np.full((9, 8, 7), 0.2, np.float32)
    for rule in ({}, {"compat": "cryosiam", "threshold": 0.9}):
        with pytest.raises(ConfigError, match="has no lamella: nothing is left"):
            lazily(nothing, (4, 4, 4), **rule)
        with pytest.raises(ConfigError, match="has no lamella"):
            by_blocks(nothing, (4, 4, 4), tmp_path, **rule)
        assert not lazily(nothing, (4, 4, 4), empty="keep-empty", **rule).any()


def test_an_opened_volume_is_cleaned_from_its_file(tmp_path: Path) -> None:
    likely = bent_slab()
    np.save(tmp_path / "map.npy", likely)
    volume = open_(tmp_path / "map.npy", voxel_size=10.0)
    mask = clean_lamella(volume, smooth_nm=1.5)
    assert isinstance(mask, Volume)
    assert mask.voxel_size == (10.0, 10.0, 10.0)
    np.testing.assert_array_equal(mask.data.compute(), expected(likely, 1.5, "slice"))
    with pytest.raises(VoxelSizeError, match="has a voxel size of"):
        clean_lamella(volume, voxel_size=5.0)


def test_a_class_map_needs_the_class_by_value() -> None:
    classes = np.zeros((9, 8, 7), np.uint8)
    classes[2:7], classes[:, :2] = 3, 1
    with pytest.raises(DtypeError, match=r"holds 3 beside 0 and 1.*class_value"):
        lazily(classes, (4, 8, 7))
    found = lazily(classes, (4, 8, 7), class_value=3, smooth_nm=0.0)
    np.testing.assert_array_equal(found, classes == 3)


@pytest.mark.parametrize(
    ("rule", "error", "text"),
    [
        ({"hull": "slab"}, ConfigError, 'no hull "slab"'),
        ({"hull": "volume"}, ConfigError, "CryoSiam's alone"),
        ({"threshold": 1.5}, ConfigError, "a probability, in 0…1, got 1.5"),
        ({"threshold": 0.5, "class_value": 2}, ConfigError, "exclude each other"),
        ({"smooth_nm": -1.0}, ConfigError, "smooth_nm is a number from 0 on, got -1"),
        ({"min_size_nm3": float("nan")}, ConfigError, "min_size_nm3 is a number"),
        ({"smooth_nm": 1000.0}, PlanError, "reaches 4000 voxels"),
        ({"empty": "whole"}, ConfigError, 'no policy "whole"'),
        ({"compat": "cryosiam", "smooth_nm": 5.0}, ConfigError, "got smooth_nm"),
        ({"compat": "cryosiam", "hull": "none"}, ConfigError, "got hull none"),
        ({"voxel_size": None}, VoxelSizeError, "needs a voxel size"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    rule: dict[str, Any], error: type[Exception], text: str
) -> None:
    array = da.zeros(SHAPE, dtype=np.uint8, chunks=9)
    with pytest.raises(error, match=text):
        clean_lamella(array, **{"voxel_size": 10.0, **rule})


def test_only_volumes_are_cleaned() -> None:
    with pytest.raises(ShapeError, match="got shape"):
        clean_lamella(da.zeros((9, 8), dtype=np.uint8), voxel_size=10.0)


def test_blocks_are_near_cubes_of_whole_storage_chunks() -> None:
    class Tall(ArraySource):
        chunks = (1, 64, 100)

    grid = lamella_grid(Tall(np.broadcast_to(np.uint8(0), (464, 960, 928))))
    assert grid.chunks == (155, 192, 100)
