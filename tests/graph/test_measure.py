"""Measurements: the whole-volume answer for every cut, lazily."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from skimage.measure import regionprops_table
from skimage.segmentation import find_boundaries

from volproc.core.errors import (
    ConfigError,
    DtypeError,
    ShapeError,
    VolprocError,
    VoxelSizeError,
)
from volproc.core.volume import Volume
from volproc.graph.measure import measure

DATA = Path(__file__).parents[2].parent / "shared" / "data"
SHAPE = (5, 7, 11)
SCALARS = {
    "num_voxels": "num_pixels",
    "mean_intensity": "intensity_mean",
    "min_intensity": "intensity_min",
    "max_intensity": "intensity_max",
    "std_intensity": "intensity_std",
    "equivalent_diameter_area": "equivalent_diameter_area",
    "axis_major_length": "axis_major_length",
    "axis_minor_length": "axis_minor_length",
}
PHYSICAL = {
    "equivalent_diameter_angstrom": "equivalent_diameter_area",
    "axis_major_length_angstrom": "axis_major_length",
    "axis_minor_length_angstrom": "axis_minor_length",
}


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, one voxel thick too."""
    return tuple(
        tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=2))), n]).tolist())
        for n in shape
    )


def objects(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Labels of three kinds: scattered components, crowded regions, anything anywhere."""
    rng = np.random.default_rng(seed)
    if seed % 3 == 0:
        return ndi.label(rng.random(shape) < 0.3)[0]
    if seed % 3 == 1:
        seeds = (rng.random(shape) < 0.1) * rng.integers(1, 999, shape)
        seeds.flat[0] = 7
        nearest = ndi.distance_transform_edt(
            seeds == 0, return_distances=False, return_indices=True
        )
        return seeds[tuple(nearest)] * (rng.random(shape) < 0.9)
    return rng.integers(0, 5, shape).astype(np.uint16)


def skimage_table(labels: np.ndarray, intensity: np.ndarray, **options: Any) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of objects of one voxel
        table = regionprops_table(
            labels,
            intensity,
            properties=["label", "centroid", "bbox", *SCALARS.values()],
            **options,
        )
    return pd.DataFrame(table)


def assert_equals_skimage(
    table: pd.DataFrame, labels: np.ndarray, intensity: np.ndarray, voxel_size: tuple[float, ...]
) -> None:
    axes = "zyx"[-labels.ndim :]
    expected = skimage_table(labels, intensity)
    physical = skimage_table(labels, intensity, spacing=voxel_size)
    assert list(table["label"]) == list(expected["label"])
    for i, axis in enumerate(axes):
        same = {axis: f"centroid-{i}", f"{axis}_min": f"bbox-{i}"}
        same |= {f"{axis}_max": f"bbox-{i + len(axes)}"}
        for name, other in same.items():
            np.testing.assert_allclose(table[name], expected[other], rtol=1e-9, err_msg=name)
        np.testing.assert_allclose(table[f"{axis}_angstrom"], physical[f"centroid-{i}"], rtol=1e-9)
    # Lengths are roots: where one is 0, scikit-image's rounding errors leave 1e-7.
    for name, other in SCALARS.items():
        close = {"rtol": 1e-6, "atol": 3e-7 * ("length" in name or "std" in name)}
        np.testing.assert_allclose(table[name], expected[other], **close, err_msg=name)
    for name, other in PHYSICAL.items():
        np.testing.assert_allclose(table[name], physical[other], rtol=1e-6, atol=1e-5, err_msg=name)
    surface = find_boundaries(labels, connectivity=1, mode="inner")
    counts = [surface[labels == label].sum() for label in table["label"]]
    np.testing.assert_array_equal(table["num_surface_voxels"], counts)
    inner = labels[(slice(1, -1),) * labels.ndim]
    at_edge = np.pad(np.zeros(inner.shape, bool), 1, constant_values=True)
    touching = [at_edge[labels == label].any() for label in table["label"]]
    np.testing.assert_array_equal(table["touches_edge"], touching)
    flat = labels.ravel()
    firsts = [np.flatnonzero(flat == label)[0] for label in table["label"]]
    np.testing.assert_array_equal(table["first"], firsts)
    assert_directions(table, labels)


def assert_directions(table: pd.DataFrame, labels: np.ndarray) -> None:
    """Directions against numpy's covariance, angles against scikit-image, where there is one."""
    for row, label in enumerate(table["label"]):
        at = np.stack(np.nonzero(labels == label))
        values, vectors = np.linalg.eigh(np.cov(at, bias=True))
        if labels.ndim == 2 and values[1] - values[0] > 1e-6:
            angle = regionprops_table((labels == label).astype(int), properties=["orientation"])
            # opposite directions are one
            turn = (table["orientation"][row] - angle["orientation"][0]) % np.pi
            assert min(turn, np.pi - turn) < 1e-6
        if labels.ndim == 3 and values[2] - values[1] > 1e-6:
            major = table.loc[row, [f"major_direction_{a}" for a in "zyx"]].to_numpy(float)
            assert abs(major @ vectors[:, 2]) == pytest.approx(1, abs=1e-6)
            assert major[np.flatnonzero(major)[0]] > 0
        if labels.ndim == 3 and values[1] - values[0] > 1e-6:
            minor = table.loc[row, [f"minor_direction_{a}" for a in "zyx"]].to_numpy(float)
            assert abs(minor @ vectors[:, 0]) == pytest.approx(1, abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 9999), cuts(), cuts())
def test_all_properties_are_those_of_scikit_image_for_every_cut(seed, chunks, others) -> None:
    labels = objects(seed)
    intensity = np.random.default_rng(seed).normal(5, 3, SHAPE)
    volume = Volume(da.from_array(labels, chunks=chunks), (9.0, 7.0, 8.0))
    lazy = measure(volume, da.from_array(intensity, chunks=others), "all")
    table = lazy.compute(scheduler="sync")
    if len(table):
        assert_equals_skimage(table, labels, intensity, volume.voxel_size)
        np.testing.assert_allclose(table["volume_nm3"], table["num_voxels"] * 0.504)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 9999), cuts((9, 13)))
def test_a_micrograph_is_measured_too(seed, chunks) -> None:
    labels = objects(seed, (9, 13))
    intensity = np.random.default_rng(seed).normal(5, 3, (9, 13))
    arrays = (da.from_array(labels, chunks=chunks), da.from_array(intensity))
    table = measure(*arrays, "all", voxel_size=(9.0, 7.0)).compute(scheduler="sync")
    assert "volume_nm3" not in table
    if len(table):
        assert_equals_skimage(table, labels, intensity, (9.0, 7.0))
        np.testing.assert_allclose(table["area_nm2"], table["num_voxels"] * 0.63)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 9999), cuts(), st.sampled_from(["f4", "f8", "i2"]))
def test_measurements_have_the_same_bits_for_every_cut(seed, chunks, dtype) -> None:
    labels = objects(seed)
    rng = np.random.default_rng(seed)
    intensity = (rng.normal(0, 3, SHAPE) * 10.0 ** rng.integers(0, 4, SHAPE)).astype(dtype)
    whole = measure(da.from_array(labels, chunks=-1), da.from_array(intensity), "all")
    cut = measure(da.from_array(labels, chunks=chunks), da.from_array(intensity, chunks=2), "all")
    # the default scheduler runs blocks in threads, in any order
    pd.testing.assert_frame_equal(whole.compute(), cut.compute(), check_exact=True)


def test_many_blocks_go_through_groups_and_every_level_of_the_tree() -> None:
    labels = ndi.label(np.random.default_rng(0).random((13, 17, 19)) < 0.5)[0]
    assert len(np.unique(labels)) > 60
    lazy = measure(da.from_array(labels, chunks=2), properties="all")
    whole = measure(da.from_array(labels, chunks=-1), properties="all")
    pd.testing.assert_frame_equal(lazy.compute(), whole.compute(), check_exact=True)


@pytest.mark.parametrize("chunks", [1, 2, 3, (1, 7, 11), (5, 1, 1)])
def test_surfaces_are_counted_once_where_three_blocks_meet(chunks) -> None:
    labels = np.ones(SHAPE, int)
    labels[0, 0, 0] = 0
    labels[2:4, 3:5, 4:7] = 2
    labels[4, 6, 10] = 3
    table = measure(da.from_array(labels, chunks=chunks), properties="num_surface_voxels").compute()
    surface = find_boundaries(labels, connectivity=1, mode="inner")
    expected = [surface[labels == i].sum() for i in (1, 2, 3)]
    assert table["num_surface_voxels"].tolist() == expected == [38, 12, 1]


def test_a_full_volume_has_no_surface_and_touches_the_edge() -> None:
    table = measure(da.ones((4, 6, 5), dtype="u1", chunks=2), properties="all").compute()
    assert table["num_surface_voxels"].tolist() == [0]
    assert table["touches_edge"].tolist() == [True]
    assert table["num_voxels"].tolist() == [120]


def test_one_voxel_has_no_extent() -> None:
    labels = np.zeros(SHAPE, "u8")
    labels[2, 3, 4] = 2**62
    values = np.full(SHAPE, 3.5)
    table = measure(da.from_array(labels, chunks=3), da.from_array(values), "all").compute()
    row = table.iloc[0]
    assert row[["axis_major_length", "axis_minor_length", "std_intensity"]].tolist() == [0, 0, 0]
    assert row[["z", "y", "x", "mean_intensity"]].tolist() == [2, 3, 4, 3.5]
    assert table["label"].tolist() == [2**62]
    assert table["num_surface_voxels"].tolist() == [1]
    directions = table.filter(like="direction").to_numpy().reshape(2, 3)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)


def test_an_empty_volume_has_a_table_with_all_columns() -> None:
    empty = da.zeros(SHAPE, dtype="u1", chunks=3)
    some = measure(empty + 1, empty, "all", voxel_size=10).compute()
    table = measure(empty, empty, "all", voxel_size=10).compute()
    assert len(table) == 0
    assert table.dtypes.equals(some.dtypes)


def test_far_from_the_origin_nothing_cancels() -> None:
    labels = np.zeros((3, 1, 200_005), "u1")
    labels[0, 0, 200_000:] = 1
    labels[1, 0, 199_999:200_003] = 1
    near = measure(da.from_array(labels[:, :, 199_990:]), properties="all").compute()
    far = measure(da.from_array(labels, chunks=(2, 1, 100_001)), properties="all").compute()
    for name in ("axis_major_length", "axis_minor_length", "major_direction_x"):
        assert near[name].tolist() == far[name].tolist()


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.uint32, np.int64])
def test_a_large_offset_does_not_drown_the_deviation(dtype) -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, SHAPE)
    values = (rng.integers(-5, 6, SHAPE) + 2**30).astype(dtype)
    table = measure(da.from_array(labels, chunks=3), da.from_array(values, chunks=4)).compute()
    for i, label in enumerate(table["label"]):
        exact = values[labels == label].astype(np.float64) - 2**30
        assert table["std_intensity"][i] == pytest.approx(exact.std(), rel=1e-12)
        assert table["mean_intensity"][i] == pytest.approx(exact.mean() + 2**30, rel=1e-15)


def test_tiny_and_huge_intensities_do_not_overflow() -> None:
    labels = np.array([[1, 1, 2, 2, 3, 3]])
    values = np.array([[1e-300, 3e-300, 1e300, 3e300, -1.7e308, -1.7e308]])
    table = measure(da.from_array(labels, chunks=(1, 2)), da.from_array(values)).compute()
    np.testing.assert_allclose(table["mean_intensity"], [2e-300, 2e300, -1.7e308], rtol=1e-15)
    np.testing.assert_allclose(table["std_intensity"], [1e-300, 1e300, 0], rtol=1e-15)


def test_objects_with_nan_are_nan_and_say_how_many() -> None:
    labels = np.array([[1, 1, 2, 2, 3]])
    values = np.array([[np.nan, 1, 2, 4, -np.inf]], "f4")
    names = ["mean_intensity", "min_intensity", "max_intensity", "std_intensity", "num_nonfinite"]
    table = measure(da.from_array(labels, chunks=2), da.from_array(values), names).compute()
    expected = [[np.nan] * 4 + [1], [3, 2, 4, 1, 0], [np.nan] * 4 + [1]]
    np.testing.assert_array_equal(table[names], expected)


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", ">i2", "<u2", "i4", ">u4", "i8", "u8"])
def test_labels_of_every_integer_type_are_measured(dtype) -> None:
    labels = np.random.default_rng(0).integers(0, 2, SHAPE).astype(dtype)
    table = measure(da.from_array(np.asfortranarray(labels), chunks=4), properties="all").compute()
    assert table["label"].tolist() == [1]
    assert table["num_voxels"][0] == (labels == 1).sum()


def test_what_is_cheap_is_measured_by_default_and_what_was_is_where_it_was() -> None:
    volume = Volume(da.ones(SHAPE, dtype="u1", chunks=3), (10.0,) * 3)
    columns = list(measure(volume, volume).compute().columns)
    box = [f"{a}_{e}" for a in "zyx" for e in ("min", "max")]
    first = ["label", "num_voxels", "z", "y", "x", *box, "first"]
    values = [f"{what}_intensity" for what in ("mean", "min", "max", "std")]
    more = ["equivalent_diameter_area", "touches_edge", "volume_nm3"]
    assert columns == first + values + more
    assert "volume_nm3" not in measure(volume.data).compute()


def test_properties_are_columns_in_the_order_asked_for_under_the_names_asked_for() -> None:
    labels = da.ones(SHAPE, dtype="u1")
    names = ["label", "bbox", "area", "intensity_mean", "major_axis_length"]
    columns = list(measure(labels, labels, names).compute().columns)
    assert columns[0] == "label"
    assert columns[-3:] == names[-3:]
    assert list(measure(labels, properties="first").compute().columns) == ["label", "first"]


@pytest.mark.parametrize(
    ("properties", "options", "error", "text"),
    [
        (["centroids"], {}, ConfigError, 'no property "centroids": did you mean "centroid"'),
        (["area", "num_voxels"], {}, ConfigError, "asked for twice"),
        (["mean_intensity"], {}, ConfigError, "needs an intensity, got none"),
        (["class_value"], {}, ConfigError, "needs classes"),
        (["volume_nm3"], {}, VoxelSizeError, "volume_nm3 needs a voxel size.*voxel_size="),
        (["axis_major_length_angstrom"], {}, VoxelSizeError, "needs a voxel size"),
        (["area_nm2"], {"voxel_size": 10}, ConfigError, "needs 2 axes, got 3. Ask for volume_nm3"),
        (None, {"voxel_size": (1.0, 2.0)}, VoxelSizeError, "one number an axis"),
        (None, {"voxel_size": -3.0}, VoxelSizeError, "-3.0 Å"),
    ],
)
def test_what_cannot_be_measured_is_refused(properties, options, error, text) -> None:
    with pytest.raises(error, match=text):
        measure(da.ones(SHAPE, dtype="u1"), None, properties, **options)


def test_a_voxel_size_that_contradicts_the_volume_is_refused() -> None:
    volume = Volume(da.ones(SHAPE, dtype="u1"), (10.0,) * 3)
    assert measure(volume, voxel_size=10).compute() is not None
    with pytest.raises(VoxelSizeError, match="has a voxel size of"):
        measure(volume, voxel_size=11)


@pytest.mark.parametrize(
    ("labels", "error", "text"),
    [
        (da.zeros(SHAPE), DtypeError, "labels are integers, got float64"),
        (da.zeros((0, 7, 11), dtype=int), ShapeError, "empty volume, got shape"),
        (da.zeros((2, *SHAPE), dtype=int), ShapeError, r"axes \(z, y, x\).*Select one channel"),
        (da.zeros(5, dtype=int), ShapeError, r"axes \(z, y, x\)"),
    ],
)
def test_labels_that_are_none_are_refused(labels, error, text) -> None:
    with pytest.raises(error, match=text):
        measure(labels)


@pytest.mark.parametrize(
    ("labels", "values", "text"),
    [
        (-np.ones(SHAPE, "i2"), None, "0 as background, got -1"),
        (np.full(SHAPE, 2**63, "u8"), None, "labels reach up to"),
        (np.ones(SHAPE, int), np.ones(SHAPE, complex), "real numbers of up to 64 bits"),
    ],
)
def test_bad_voxels_are_refused_when_they_are_read(labels, values, text) -> None:
    lazy = measure(da.from_array(labels), None if values is None else da.from_array(values))
    with pytest.raises(VolprocError, match=text):
        lazy.compute(scheduler="sync")


def test_labels_and_intensity_of_other_shapes_are_refused_with_both() -> None:
    with pytest.raises(ShapeError, match=r"got \(5, 7, 11\) and \(5, 7, 12\)"):
        measure(da.zeros(SHAPE, dtype=int), da.zeros((5, 7, 12)))


def test_each_chunk_is_computed_once_by_one_task() -> None:
    calls = []

    def source(block: np.ndarray) -> np.ndarray:
        calls.append(block.shape)
        return block

    meta = np.empty((0, 0, 0), int)
    labels = da.from_array(objects(0), chunks=2).map_blocks(source, meta=meta)
    lazy = measure(labels, properties="all")
    num_own = len(dict(lazy.__dask_graph__())) - len(dict(labels.__dask_graph__()))
    assert labels.npartitions <= num_own <= labels.npartitions * 1.2
    lazy.compute(scheduler="sync")
    assert len(calls) == labels.npartitions == 72


def test_nothing_is_computed_while_graphs_are_built() -> None:
    def explode(*args: Any, **kwargs: Any) -> Any:
        pytest.fail("something was computed while the graph was built")

    def never(block: np.ndarray) -> np.ndarray:
        pytest.fail("a voxel was computed while the graph was built")

    source = da.zeros((9, 13, 11), dtype="u1", chunks=4)
    array = da.map_blocks(never, source, dtype="u1", meta=np.empty((0, 0, 0), "u1"))
    with dask.config.set(scheduler=explode):
        volume = Volume(array, (10.0,) * 3)
        measure(volume, volume, "all")


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data are not here")
def test_real_nuclei_are_measured_as_by_scikit_image() -> None:
    labels = tifffile.imread(DATA / "microscopy" / "mask3d.tif")
    intensity = tifffile.imread(DATA / "microscopy" / "img3d.tif")
    volume = Volume(da.from_array(labels, chunks=(13, 20, 31)), (2000.0, 1000.0, 1000.0))
    table = measure(volume, da.from_array(intensity), "all").compute()
    assert len(table) == 51
    assert_equals_skimage(table, labels, intensity, volume.voxel_size)
