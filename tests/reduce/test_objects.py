"""Measurements of objects against scikit-image, for every cut."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops_table

from volproc.core.errors import DtypeError, ShapeError
from volproc.plan.blocks import ChunkGrid
from volproc.reduce.measuring import Wanted
from volproc.reduce.objects import measure_block
from volproc.reduce.properties import finish
from volproc.reduce.table_rows import table_to_rows
from volproc.reduce.tables import ObjectTable, empty_table, merge_tables

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def measure_cut(
    labels: npt.NDArray[Any],
    chunks: tuple[int, ...],
    intensity: npt.NDArray[Any] | None = None,
) -> list[ObjectTable]:
    return [
        measure_block(
            labels[block.write],
            offset=tuple(s.start for s in block.write),
            shape=labels.shape,
            intensity=None if intensity is None else intensity[block.write],
        )
        for block in ChunkGrid(labels.shape, chunks)
    ]


def reference(labels: npt.NDArray[Any], intensity: npt.NDArray[Any] | None = None) -> pd.DataFrame:
    names = ["label", "num_pixels", "centroid", "bbox"]
    if intensity is not None:
        names += ["intensity_mean", "intensity_min", "intensity_max"]
    table = regionprops_table(labels, intensity, properties=names)
    axes = "zyx"[-labels.ndim :]
    new = {"num_pixels": "num_voxels"}
    new |= {f"centroid-{i}": axis for i, axis in enumerate(axes)}
    new |= {f"bbox-{i}": f"{axis}_min" for i, axis in enumerate(axes)}
    new |= {f"bbox-{i + len(axes)}": f"{axis}_max" for i, axis in enumerate(axes)}
    new |= {f"intensity_{what}": f"{what}_intensity" for what in ("mean", "min", "max")}
    return pd.DataFrame(table).rename(columns=new)


def assert_same(one: ObjectTable, other: ObjectTable) -> None:
    """Bit for bit."""
    for name in ("label", "count", "first", "sums", "lower", "upper"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    if one.intensity is not None:
        for name in ("digits", "least", "greatest", "num_nonfinite"):
            a, b = getattr(one.intensity, name), getattr(other.intensity, name)
            assert a.tobytes() == b.tobytes(), name


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([(5, 7, 11), (1, 1, 1), (3, 1, 9), (7, 11), (1, 13)]),
    st.tuples(*[st.integers(1, 6)] * 3),
    st.integers(0, 10_000),
    st.randoms(use_true_random=False),
)
def test_any_cut_and_any_order_gives_the_same_bits(
    shape: tuple[int, ...], chunks: tuple[int, ...], seed: int, random: Any
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, shape) * rng.integers(1, 2**40)
    intensity = (rng.standard_normal(shape) * 10.0 ** rng.integers(-30, 30, shape)).astype("f4")
    intensity[rng.random(shape) < 0.3] *= 0  # zeros of both signs
    if seed % 3 == 0:
        intensity[rng.random(shape) < 0.1] = np.nan
    whole = merge_tables(measure_cut(labels, shape, intensity))
    tables = measure_cut(labels, chunks[: len(shape)], intensity)
    random.shuffle(tables)
    half = len(tables) // 2 or 1
    assert_same(merge_tables(tables), whole)
    tree = [merge_tables(tables[:half]), merge_tables(tables[half:] or [empty_table(len(shape))])]
    assert_same(merge_tables(tree), whole)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([(5, 7, 11), (2, 9, 3), (7, 11)]),
    st.tuples(*[st.integers(1, 6)] * 3),
    st.integers(0, 10_000),
)
def test_measurements_equal_scikit_image(
    shape: tuple[int, ...], chunks: tuple[int, ...], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 9, shape)
    labels.flat[0] = 4  # never empty
    intensity = rng.standard_normal(shape).astype(np.float32) + 3
    frame = finish(merge_tables(measure_cut(labels, chunks[: len(shape)], intensity)))
    expected = reference(labels, intensity)
    for name in expected.columns:
        np.testing.assert_allclose(frame[name], expected[name], rtol=1e-6, err_msg=name)
    index = np.arange(labels.size).reshape(shape)
    firsts = [index[labels == label].min() for label in frame["label"]]
    np.testing.assert_array_equal(frame["first"], firsts)


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float64, ">f4", bool]
)
def test_intensities_of_every_type_are_summed(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (5, 7, 11)).astype(np.uint16)
    intensity = (rng.random((5, 7, 11)) * 100).astype(dtype)
    frame = finish(merge_tables(measure_cut(labels, (2, 3, 4), intensity)))
    expected = [intensity[labels == i].astype(np.float64).mean() for i in range(1, 5)]
    np.testing.assert_allclose(frame["mean_intensity"], expected, rtol=1e-6)
    np.testing.assert_allclose(
        frame["max_intensity"], [intensity[labels == i].max() for i in range(1, 5)], rtol=1e-6
    )


def test_half_precision_is_exact() -> None:
    intensity = np.array([[0.5, 60000.0, -60000.0]], np.float16)
    frame = finish(
        measure_block(np.ones((1, 3), int), offset=(0, 0), shape=(1, 3), intensity=intensity)
    )
    assert frame["mean_intensity"][0] == 0.5 / 3


def test_sums_that_cancel_keep_the_small_part() -> None:
    intensity = np.array([[1e30, 1e-10, -1e30, 1e-10]], np.float32)
    (table,) = measure_cut(np.ones((1, 4), int), (1, 4), intensity)
    assert finish(table)["mean_intensity"][0] == pytest.approx(0.5e-10, rel=1e-6)


def test_objects_with_nan_are_nan_and_the_others_are_not() -> None:
    labels = np.array([[1, 1, 2, 2, 3]])
    intensity = np.array([[np.nan, 1, 2, 4, np.inf]], np.float32)
    frame = finish(merge_tables(measure_cut(labels, (1, 2), intensity)))
    np.testing.assert_array_equal(frame["mean_intensity"], [np.nan, 3, np.nan])
    np.testing.assert_array_equal(frame["min_intensity"], [np.nan, 2, np.nan])
    np.testing.assert_array_equal(frame["max_intensity"], [np.nan, 4, np.nan])


def test_more_objects_than_the_first_table_holds() -> None:
    rng = np.random.default_rng(1)
    labels = rng.permutation(2**40 - np.arange(5 * 14 * 22)).reshape(5, 14, 22)
    table = merge_tables(measure_cut(labels, (5, 7, 22)))
    assert (table.count == 1).all()
    np.testing.assert_array_equal(table.label, np.sort(labels.ravel()))
    np.testing.assert_array_equal(labels.ravel()[table.first], table.label)
    np.testing.assert_array_equal(
        table.centroids, np.stack(np.unravel_index(table.first, labels.shape), 1)
    )


def test_a_volume_without_objects_has_an_empty_table() -> None:
    frame = finish(merge_tables(measure_cut(np.zeros((3, 5, 7), np.uint8), (2, 2, 2))))
    assert len(frame) == 0
    assert list(frame.columns[:5]) == ["label", "num_voxels", "z", "y", "x"]


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data are not here")
def test_real_nuclei_are_measured_as_by_scikit_image() -> None:
    labels = tifffile.imread(DATA / "microscopy" / "mask3d.tif")
    intensity = tifffile.imread(DATA / "microscopy" / "img3d.tif")
    frame = finish(merge_tables(measure_cut(labels, (13, 20, 31), intensity)))
    expected = reference(labels, intensity)
    assert len(frame) == 51
    for name in expected.columns:
        np.testing.assert_allclose(frame[name], expected[name], rtol=1e-6, err_msg=name)


def test_bad_input_is_named_with_its_cure() -> None:
    place: Any = {"offset": (0, 0), "shape": (2, 2)}
    with pytest.raises(DtypeError, match=r"labels are integers, got float32"):
        measure_block(np.ones((2, 2), np.float32), **place)
    with pytest.raises(DtypeError, match=r"0 as background, got -3"):
        measure_block(np.array([[0, -3], [1, 1]]), **place)
    with pytest.raises(DtypeError, match=r"got 18446744073709551615"):
        measure_block(np.full((2, 2), 2**64 - 1, np.uint64), **place)
    with pytest.raises(DtypeError, match=r"real numbers of up to 64 bits, got complex64"):
        measure_block(np.ones((2, 2), int), **place, intensity=np.ones((2, 2), np.complex64))
    with pytest.raises(ShapeError, match=r"got \(2, 2\) and \(2, 1\)"):
        measure_block(np.ones((2, 2), int), **place, intensity=np.ones((2, 1)))


def test_tables_that_do_not_fit_each_other_are_refused() -> None:
    flat = measure_block(np.ones((2, 2), int), offset=(0, 0), shape=(2, 2))
    deep = measure_block(np.ones((1, 2, 2), int), offset=(0, 0, 0), shape=(1, 2, 2))
    with pytest.raises(ShapeError, match=r"differ in their axes.*Measure all blocks alike"):
        merge_tables([flat, deep])
    with pytest.raises(ShapeError, match=r"empty_table"):
        merge_tables([])


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[1:9, 2:10, 3:12],
        lambda a: a[:, :, ::2],
        lambda a: a[::2, ::3],
        lambda a: a[::-1, :, ::-1],
        lambda a: a.transpose(2, 0, 1),
        lambda a: a[3:4, :, 2:3],
    ],
)
@pytest.mark.parametrize("dtype", ["u4", "i8", ">u2"])
def test_how_a_block_lies_in_memory_changes_nothing(view: Any, dtype: str) -> None:
    rng = np.random.default_rng(4)
    labels = view(rng.integers(0, 9, (11, 12, 13)).repeat(2, 1).astype(dtype))
    values = view(rng.standard_normal((11, 24, 13)).astype(np.float32))
    labels.flags.writeable = False
    options: dict[str, Any] = {
        "offset": (0, 0, 0),
        "shape": labels.shape,
        "wanted": Wanted(surface=True, products=True, squares=True),
    }
    plain = [np.array(a.tolist(), dtype=a.dtype.newbyteorder("=")) for a in (labels, values)]
    one = measure_block(labels, intensity=values, **options)
    other = measure_block(plain[0], intensity=plain[1], **options)
    assert one.label.tolist() == np.unique(plain[0][plain[0] > 0]).tolist()
    assert table_to_rows(one).tobytes() == table_to_rows(other).tobytes()


def test_labels_that_differ_in_their_last_bit_are_different_objects() -> None:
    labels = np.array([[2**62, 2**62 + 1, 2**62 + 1, 2**62]], np.uint64)
    table = measure_block(labels, offset=(0, 0), shape=(1, 4))
    assert table.label.tolist() == [2**62, 2**62 + 1]
    assert table.count.tolist() == [2, 2]
