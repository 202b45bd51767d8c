from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.core.errors import ShapeError
from volproc.core.types import Region, Shape, region_shape
from volproc.io.lazy import CHUNK_BYTES, as_dask, lazy_chunks
from volproc.io.open import open_


@dataclass
class Counting:
    """A source in memory that remembers what was read."""

    array: npt.NDArray[Any]
    chunks: Shape
    name: str = "counting"
    regions: list[Region] = field(default_factory=list)

    @property
    def shape(self) -> Shape:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    def read(self, region: Region) -> npt.NDArray[Any]:
        self.regions.append(region)
        return self.array[region].copy()

    def identity(self) -> str:
        return self.name


def make(shape: Shape = (5, 7, 11), chunks: Shape = (1, 7, 11)) -> Counting:
    return Counting(np.arange(prod(shape)).reshape(shape), chunks)


def test_nothing_is_read_before_it_is_asked_for() -> None:
    source = make()
    lazy = as_dask(source, chunks=(2, 3, 4))
    assert source.regions == []
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(lazy.compute(), source.array)


def test_one_task_a_chunk_reads_that_chunk_once() -> None:
    source = make()
    lazy = as_dask(source, chunks=(2, 3, 4))
    tasks = [key for key in lazy.__dask_graph__() if isinstance(key, tuple)]
    assert len(tasks) == prod(lazy.numblocks) == 3 * 3 * 3
    with dask.config.set(scheduler="synchronous"):
        lazy[:2, :3, :4].compute()
    assert source.regions == [(slice(0, 2), slice(0, 3), slice(0, 4))]


def test_the_same_source_gives_the_same_names_and_another_does_not() -> None:
    one = as_dask(make()).name
    assert as_dask(make()).name == one
    other = make()
    other.name = "changed"
    assert as_dask(other).name != one
    assert as_dask(make(), chunks=(1, 1, 1)).name != one


@dataclass
class Boundless:
    """What the head of a sparse file may claim: no voxel of it exists."""

    shape: Shape
    chunks: Shape = (64, 64, 64)
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype("f4"))

    def read(self, region: Region) -> npt.NDArray[Any]:
        return np.zeros(region_shape(region), self.dtype)

    def identity(self) -> str:
        return "boundless"


def test_the_number_of_chunks_costs_neither_time_nor_memory() -> None:
    tracemalloc.start()
    lazy = as_dask(Boundless((10**6, 10**6, 10**6)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert prod(lazy.numblocks) > 10**9
    assert peak < 20e6


def test_more_chunks_than_any_volume_has_are_refused() -> None:
    with pytest.raises(ShapeError, match="chunks along one axis"):
        as_dask(Boundless((2**50, 64, 64)))


@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    chunks=st.tuples(*[st.integers(1, 10)] * 3),
)
@settings(max_examples=40, deadline=None)
def test_any_chunks_give_the_whole(shape: Shape, chunks: Shape) -> None:
    source = make(shape, (1, *shape[1:]))
    with dask.config.set(scheduler="synchronous"):
        lazy = as_dask(source, chunks=tuple(min(c, n) for c, n in zip(chunks, shape, strict=True)))
        np.testing.assert_array_equal(lazy.compute(), source.array)
    read = sum(prod(region_shape(r)) for r in source.regions)
    assert read == source.array.size


@given(
    shape=st.tuples(*[st.integers(1, 3000)] * 3),
    storage=st.tuples(*[st.integers(1, 300)] * 3),
    itemsize=st.sampled_from([1, 2, 4, 8]),
)
@settings(max_examples=100, deadline=None)
def test_chunks_are_multiples_of_storage_chunks_within_the_limit(
    shape: Shape, storage: Shape, itemsize: int
) -> None:
    chunks = lazy_chunks(shape, storage, itemsize)
    for chunk, stored, size in zip(chunks, storage, shape, strict=True):
        assert chunk <= size
        assert chunk == size or chunk % min(stored, size) == 0
    smallest = prod(min(s, n) for s, n in zip(storage, shape, strict=True)) * itemsize
    assert prod(chunks) * itemsize <= max(CHUNK_BYTES, smallest)


def test_a_source_that_gives_the_wrong_shape_is_caught_where_it_does() -> None:
    class Wrong(Counting):
        def read(self, region: Region) -> npt.NDArray[Any]:
            return super().read(region)[:1]

    source = Wrong(np.zeros((5, 7, 11)), (1, 7, 11))
    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(AssertionError, match=r"gave shape \(1, 7, 11\)"),
    ):
        as_dask(source).compute()


def test_what_a_computation_gives_may_be_written_to_without_harm(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    voxels = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    np.save(path, voxels)
    volume = open_(path, voxel_size=1.0)

    def zero(block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        block[...] = 0
        return block

    assert volume.data.map_blocks(zero).compute().sum() == 0
    np.testing.assert_array_equal(volume.data.compute(), voxels)
    np.testing.assert_array_equal(np.load(path), voxels)
