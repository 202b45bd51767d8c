"""Labelling and measuring in one go: the same as one after the other."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.core.errors import ConfigError, DtypeError, ExistsError, ShapeError
from volproc.core.volume import Volume
from volproc.graph.label import label
from volproc.graph.label_and_measure import label_and_measure
from volproc.graph.measure import measure

SHAPE = (5, 7, 11)


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, one voxel thick too."""
    return tuple(
        tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=2))), n]).tolist())
        for n in shape
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 9999), cuts(), st.integers(1, 3), st.sampled_from(["?", "i1"]))
def test_both_are_those_of_the_two_verbs_for_every_cut(seed, chunks, connectivity, dtype) -> None:
    rng = np.random.default_rng(seed)
    mask = (rng.random(SHAPE) < 0.5).astype(dtype)
    if dtype == "i1":
        mask *= rng.integers(-1, 3, SHAPE).astype(dtype)
    values = da.from_array(rng.normal(0, 3, SHAPE), chunks=4)
    volume = Volume(da.from_array(mask, chunks=chunks), (9.0, 7.0, 8.0), name="mask")
    labels, table = label_and_measure(volume, values, "all", connectivity=connectivity)
    assert labels.data.chunks == chunks
    assert (labels.voxel_size, labels.name) == (volume.voxel_size, "mask labels")
    found, frame = dask.compute(labels.data, table, scheduler="sync")
    whole = Volume(da.from_array(mask), (9.0, 7.0, 8.0))
    expected = label(whole, connectivity=connectivity)[0].data.compute()
    np.testing.assert_array_equal(found, expected)
    measured = measure(Volume(da.from_array(expected), (9.0, 7.0, 8.0)), values, "all").compute()
    if dtype == "i1":
        assert frame["class_value"].tolist() == mask.ravel()[measured["first"]].tolist()
        frame = frame.drop(columns="class_value")
    pd.testing.assert_frame_equal(frame, measured, check_exact=True)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 99), cuts((9, 13)))
def test_a_micrograph_too(seed, chunks) -> None:
    mask = np.random.default_rng(seed).random((9, 13)) < 0.6
    _, table = label_and_measure(da.from_array(mask, chunks=chunks), None, "all", connectivity=2)
    expected = measure(label(da.from_array(mask), connectivity=2)[0], None, "all").compute()
    pd.testing.assert_frame_equal(table.compute(scheduler="sync"), expected, check_exact=True)


def test_an_object_through_all_groups_of_blocks_is_one_row() -> None:
    mask = np.zeros((9, 18, 18), bool)
    mask[:, ::3] = True
    mask[4] = True
    _, table = label_and_measure(da.from_array(mask, chunks=2), None, "all")
    frame = table.compute()
    expected = measure(da.from_array(mask.astype(int)), None, "all").compute()
    assert len(frame) == 1
    pd.testing.assert_frame_equal(frame, expected, check_exact=True)


def test_without_objects_there_are_all_columns() -> None:
    mask = da.zeros(SHAPE, dtype="u1", chunks=3)
    labels, table = label_and_measure(mask, mask, "all", voxel_size=10)
    frame = table.compute()
    assert len(frame) == 0
    assert {"class_value", "std_intensity", "num_surface_voxels", "volume_nm3"} <= {*frame.columns}
    assert not labels.compute().any()


def test_each_chunk_is_computed_once_by_two_tasks() -> None:
    calls = []

    def threshold(block: np.ndarray) -> np.ndarray:
        calls.append(block.shape)
        return block > 0.5

    source = da.from_array(np.random.default_rng(0).random((16, 16, 16)), chunks=2)
    mask = source.map_blocks(threshold, meta=np.empty((0, 0, 0), bool))
    labels, table = label_and_measure(mask, properties="all")
    keys = {*dict(labels.__dask_graph__()), *dict(table.__dask_graph__())}
    num_own = len(keys - {*dict(mask.__dask_graph__())})
    assert num_own <= mask.npartitions * 2.5
    dask.compute(labels, table, scheduler="sync")
    assert len(calls) == mask.npartitions == 512


def test_the_table_goes_to_a_file_if_asked(tmp_path) -> None:
    mask = da.from_array(np.random.default_rng(0).random(SHAPE) < 0.4, chunks=3)
    path = tmp_path / "objects.parquet"
    labels, written = label_and_measure(mask, path=path)
    found, name = dask.compute(labels, written)
    assert name == str(path)
    assert pd.read_parquet(path)["label"].tolist() == list(range(1, found.max() + 1))
    with pytest.raises(ExistsError):
        label_and_measure(mask, path=path)


@pytest.mark.parametrize(
    ("mask", "options", "error"),
    [
        (np.zeros(SHAPE, "f4"), {}, DtypeError),
        (np.zeros((0, 7, 11), bool), {}, ShapeError),
        (np.zeros(SHAPE, bool), {"connectivity": 4}, ConfigError),
        (np.zeros(SHAPE, bool), {"properties": ["class_value"]}, ConfigError),
        (np.zeros(SHAPE, bool), {"intensity": da.zeros((5, 7, 12))}, ShapeError),
    ],
)
def test_bad_input_is_refused(mask, options, error) -> None:
    with pytest.raises(error):
        label_and_measure(da.from_array(mask), **options)
