"""Conformance suites of file formats: subclass them to test your own reader and writer."""

# The name of a law is its sentence; a docstring would say it twice.
# ruff: noqa: D102

from __future__ import annotations

import itertools
import pickle
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from volproc.core.arrays import Sink, Source
from volproc.core.errors import ExistsError
from volproc.core.types import Region, Shape, region_shape, whole

OpenSource = Callable[[], Source]
"""Opens the file anew, and gives its source."""


class ReaderTests:
    """Laws every reader obeys. Give it an ``open_source`` fixture.

    Examples
    --------
    >>> class TestMine(ReaderTests):
    ...     @pytest.fixture
    ...     def open_source(self, tmp_path):
    ...         path = tmp_path / "mine.npy"
    ...         np.save(path, np.arange(385).reshape(5, 7, 11))
    ...         return lambda: MySource(path)
    """

    head_bytes: int = 2**17
    """What opening may read or allocate, at most; matters for files that are larger."""

    pickle_bytes: int = 2**14
    """What a pickled source may take: it holds an address, no voxels."""

    @pytest.fixture
    def open_source(self) -> OpenSource:
        """Override this: a function that opens the file anew."""
        pytest.fail("a ReaderTests suite gives an open_source fixture")

    @pytest.fixture
    def source(self, open_source: OpenSource) -> Source:
        """Source under test."""
        return open_source()

    def test_opening_reads_the_head_only(self, open_source: OpenSource) -> None:
        open_source()  # imports and caches are no cost of the file
        before = _bytes_read()
        tracemalloc.start()
        try:
            open_source()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak <= self.head_bytes
        assert _bytes_read() - before <= self.head_bytes

    def test_the_whole_is_as_the_header_says(self, source: Source) -> None:
        voxels = source.read(whole(source.shape))
        assert voxels.shape == source.shape
        assert voxels.dtype == source.dtype
        assert source.dtype.isnative
        assert len(source.shape) in (2, 3)

    def test_any_region_equals_the_same_region_of_the_whole(self, source: Source) -> None:
        voxels = source.read(whole(source.shape))
        for region in _regions(source.shape):
            part = source.read(region)
            assert part.shape == region_shape(region)
            assert part.dtype == source.dtype
            np.testing.assert_array_equal(part, voxels[region])

    def test_what_was_read_may_be_written_into(self, source: Source) -> None:
        region = whole(source.shape)
        first = source.read(region)
        before = first.copy()
        first[...] = 0
        np.testing.assert_array_equal(source.read(region), before)

    def test_a_pickled_source_is_small_and_reads_the_same(self, source: Source) -> None:
        pickled = pickle.dumps(source)
        assert len(pickled) <= self.pickle_bytes
        again: Source = pickle.loads(pickled)
        region = whole(source.shape)
        np.testing.assert_array_equal(again.read(region), source.read(region))
        assert again.identity() == source.identity()

    def test_a_source_opened_twice_is_the_same(self, open_source: OpenSource) -> None:
        assert open_source().identity() == open_source().identity()

    def test_threads_may_read_at_the_same_time(self, source: Source) -> None:
        voxels = source.read(whole(source.shape))
        regions = list(_regions(source.shape))
        with ThreadPoolExecutor(4) as pool:
            for region, part in zip(regions, pool.map(source.read, regions), strict=True):
                np.testing.assert_array_equal(part, voxels[region])

    def test_storage_chunks_are_sensible(self, source: Source) -> None:
        assert len(source.chunks) == len(source.shape)
        assert all(c >= 1 for c in source.chunks)


class SinkTests:
    """Laws every writer obeys. Give it ``create`` and ``load``.

    Examples
    --------
    >>> class TestMine(SinkTests):
    ...     suffix = ".npy"
    ...     def create(self, path, shape, **options):
    ...         return my_create(path, shape=shape, dtype=self.dtype, **options)
    ...     def load(self, path):
    ...         return np.load(path)
    """

    suffix: str = ""
    """Ending of the files, with the dot."""

    dtype: npt.DTypeLike = np.float32
    """Type of the voxels."""

    shapes: tuple[Shape, ...] = ((5, 7, 11), (6, 9))
    """What is written: a volume and a micrograph."""

    def create(self, path: Path, shape: Shape, **options: Any) -> Sink:
        """Override this: begin a file; ``options`` are ``overwrite`` and ``resume``."""
        pytest.fail("a SinkTests suite has a create method")

    def load(self, path: Path) -> npt.NDArray[Any]:
        """Override this: the whole of a finished file."""
        pytest.fail("a SinkTests suite has a load method")

    def voxels(self, shape: Shape) -> npt.NDArray[Any]:
        """Distinct values that fit every type."""
        values = np.random.default_rng(3).integers(0, 120, shape)
        return values.astype(self.dtype)

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """Where the file will be: alone in its folder."""
        folder = tmp_path / "output"
        folder.mkdir()
        return folder / f"volume{self.suffix}"

    def test_regions_in_any_order_give_the_same_volume(self, path: Path) -> None:
        for shape in self.shapes:
            voxels = self.voxels(shape)
            for seed in (0, 1):
                sink = self.create(path, shape, overwrite=True)
                assert sink.shape == shape
                regions = _cut(sink)
                np.random.default_rng(seed).shuffle(regions)  # type: ignore[arg-type]
                for region in regions:
                    sink.write(region, voxels[region])
                sink.finish()
                np.testing.assert_array_equal(self.load(path), voxels)

    def test_a_pickled_sink_writes_and_another_finishes(self, path: Path) -> None:
        shape = self.shapes[0]
        voxels = self.voxels(shape)
        sink = self.create(path, shape)
        for region in _cut(sink):
            again: Sink = pickle.loads(pickle.dumps(sink))
            again.write(region, voxels[region])
        sink.finish()
        np.testing.assert_array_equal(self.load(path), voxels)

    def test_threads_may_write_different_regions_where_it_says_so(self, path: Path) -> None:
        shape = self.shapes[0]
        voxels = self.voxels(shape)
        sink = self.create(path, shape)
        if not sink.is_parallel:
            pytest.skip("the sink says that one writes at a time")
        regions = _cut(sink)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda region: sink.write(region, voxels[region]), regions))
        sink.finish()
        np.testing.assert_array_equal(self.load(path), voxels)

    def test_nothing_has_the_final_name_before_the_end(self, path: Path) -> None:
        shape = self.shapes[0]
        sink = self.create(path, shape)
        sink.write(whole(shape), self.voxels(shape))
        assert not path.exists()
        sink.finish()
        assert [p.name for p in path.parent.iterdir()] == [path.name]

    def test_discard_leaves_nothing(self, path: Path) -> None:
        shape = self.shapes[0]
        sink = self.create(path, shape)
        sink.write(whole(shape), self.voxels(shape))
        sink.discard()
        assert list(path.parent.iterdir()) == []

    def test_an_existing_output_is_refused(self, path: Path) -> None:
        shape = self.shapes[0]
        self._write(path, shape, self.voxels(shape))
        with pytest.raises(ExistsError, match="overwrite"):
            self.create(path, shape)

    def test_overwriting_keeps_the_old_output_until_the_end(self, path: Path) -> None:
        shape = self.shapes[0]
        old = self.voxels(shape)
        new = old[::-1].copy()
        self._write(path, shape, old)
        sink = self.create(path, shape, overwrite=True)
        sink.write(whole(shape), new)
        np.testing.assert_array_equal(self.load(path), old)
        sink.finish()
        np.testing.assert_array_equal(self.load(path), new)
        assert [p.name for p in path.parent.iterdir()] == [path.name]

    def test_an_unfinished_output_is_gone_on_with(self, path: Path) -> None:
        shape = self.shapes[0]
        voxels = self.voxels(shape)
        regions = _cut(self.create(path, shape))
        self.create(path, shape).write(regions[0], voxels[regions[0]])
        sink = self.create(path, shape, resume=True)
        for region in regions[1:]:
            sink.write(region, voxels[region])
        sink.finish()
        np.testing.assert_array_equal(self.load(path), voxels)

    def _write(self, path: Path, shape: Shape, voxels: npt.NDArray[Any]) -> None:
        sink = self.create(path, shape)
        sink.write(whole(shape), voxels)
        sink.finish()


def _regions(shape: Shape) -> Iterator[Region]:
    """Corners, single voxels and a dozen boxes, the same ones each time."""
    yield tuple(slice(0, 1) for _ in shape)
    yield tuple(slice(n - 1, n) for n in shape)
    yield tuple(slice(n // 2, n) for n in shape)
    generator = np.random.default_rng(11)
    for _ in range(12):
        starts = [int(generator.integers(0, n)) for n in shape]
        # Boxes of real files stay small enough for a suite that runs on each of them.
        stops = [
            int(generator.integers(a + 1, min(n, a + 40) + 1))
            for a, n in zip(starts, shape, strict=True)
        ]
        yield tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))


def _cut(sink: Sink) -> list[Region]:
    """Regions that cover a sink: multiples of its chunks, about three an axis."""
    steps = [
        min(n, c * max(1, -(-n // (3 * c)))) for n, c in zip(sink.shape, sink.chunks, strict=True)
    ]
    spans = [
        [slice(a, min(a + step, n)) for a in range(0, n, step)]
        for n, step in zip(sink.shape, steps, strict=True)
    ]
    regions = list(itertools.product(*spans))
    assert sum(prod(region_shape(r)) for r in regions) == prod(sink.shape)
    return regions


def _bytes_read() -> int:
    """Bytes that this process has read through system calls; 0 where nobody counts."""
    counters = Path("/proc/self/io")
    if not counters.exists():
        return 0
    return int(counters.read_text().split()[1])
