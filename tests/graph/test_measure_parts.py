"""Tables on their way to a file, part by part."""

from __future__ import annotations

import gc
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.core.errors import AddressError, ExistsError, MissingFileError
from volproc.graph import measure_parts
from volproc.graph.measure import measure
from volproc.graph.measure_parts import ranges_of, read_range, write_part
from volproc.reduce.objects import measure_block
from volproc.reduce.properties import finish
from volproc.reduce.tables import merge_tables

SHAPE = (9, 13, 17)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of a few rows, so that there are many."""
    monkeypatch.setattr(measure_parts, "SAMPLE", 3)
    monkeypatch.setattr(measure_parts, "RANGE_SAMPLES", 4)


def crowd(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 300, SHAPE) * 1_000_003, rng.normal(0, 10.0 ** rng.integers(0, 9, SHAPE))


@pytest.mark.usefixtures("narrow")
def test_the_file_holds_the_very_table(tmp_path: Path) -> None:
    labels, values = crowd()
    arrays = (da.from_array(labels, chunks=3), da.from_array(values, chunks=4))
    path = tmp_path / "objects.parquet"
    written = measure(*arrays, "all", voxel_size=9.0, path=path, scratch=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert written.compute() == str(path)
    expected = measure(*arrays, "all", voxel_size=9.0).compute()
    pd.testing.assert_frame_equal(pd.read_parquet(path), expected, check_exact=True)
    assert pq.ParquetFile(path).num_row_groups > 5
    del written
    gc.collect()
    assert list(tmp_path.iterdir()) == [path]  # neither scratch nor a temporary name is left


def test_without_objects_the_file_has_the_columns(tmp_path: Path) -> None:
    empty = da.zeros(SHAPE, dtype="u2", chunks=5)
    path = tmp_path / "objects.parquet"
    measure(empty, empty, "all", path=path).compute()
    expected = measure(empty, empty, "all").compute()
    pd.testing.assert_frame_equal(pd.read_parquet(path), expected)


def test_what_is_there_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "objects.parquet"
    good, bad = da.ones(SHAPE, dtype="i4", chunks=5), -da.ones(SHAPE, dtype="i4", chunks=5)
    measure(good, path=path).compute()
    with pytest.raises(ExistsError, match="overwrite"):
        measure(good, path=path)
    before = path.read_bytes()
    with pytest.raises(TypeError, match="got -1"):
        measure(bad, path=path, overwrite=True).compute(scheduler="sync")
    assert path.read_bytes() == before
    measure(good, properties="first", path=path, overwrite=True).compute()
    assert pd.read_parquet(path).columns.tolist() == ["label", "first"]
    assert list(tmp_path.iterdir()) == [path]


def test_paths_that_cannot_be_written_are_refused_before_anything_is_computed(tmp_path) -> None:
    labels = da.ones(SHAPE, dtype="u1")
    with pytest.raises(AddressError, match=r"Name it \*\.parquet"):
        measure(labels, path=tmp_path / "objects.csv")
    with pytest.raises(MissingFileError, match="Make the folder"):
        measure(labels, path=tmp_path / "nowhere" / "objects.parquet")


@pytest.mark.usefixtures("narrow")
@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(1, 60), max_size=40), min_size=1, max_size=6))
def test_ranges_hold_each_row_once_and_few_at_a_time(tmp_path_factory, rows) -> None:
    folder = tmp_path_factory.mktemp("parts")
    tables = [
        measure_block(np.array([[*r, 0]]), offset=(i, 0), shape=(len(rows), 99))
        for i, r in enumerate(rows)
    ]
    parts = [write_part(t, str(folder / f"{i}.npy"), None) for i, t in enumerate(tables)]
    ranges = list(ranges_of(parts))
    read = [read_range(parts, *span) for span in ranges]
    for span in ranges:
        in_range = sum(int(((t.label >= span[0]) & (t.label < span[1])).sum()) for t in tables)
        assert in_range <= 3 * (4 + len(parts))
    whole = merge_tables(tables)
    if len(whole):
        pd.testing.assert_frame_equal(finish(merge_tables(read)), finish(whole))
        assert np.concatenate([table.label for table in read]).tolist() == whole.label.tolist()
    else:
        assert ranges == []
