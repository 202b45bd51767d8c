"""Constants of a volume: NumPy's, whoever finds them and however it is cut."""

from __future__ import annotations

from dataclasses import replace

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import ModelError, NonFiniteError
from volproc.core.executor import SerialExecutor
from volproc.core.model import ModelSpec
from volproc.graph import scaling
from volproc.graph.scaling import ScalingRule, lazy_scaling, run_scaling, statistics_grid
from volproc.plan.blocks import ChunkGrid

SPEC = ModelSpec(architecture="none", weights="", patch=(4, 4, 4), classes=("a", "b"))


class ArraySource:
    """An array in memory that has storage chunks."""

    def __init__(self, array: np.ndarray, chunks: tuple[int, ...]) -> None:
        self.array, self.shape, self.dtype, self.chunks = array, array.shape, array.dtype, chunks

    def read(self, region: tuple[slice, ...]) -> np.ndarray:
        return self.array[region].copy()

    def identity(self) -> str:
        return "memory"


def source_of(array: np.ndarray, chunks: tuple[int, ...] = (2, 5, 4)) -> ArraySource:
    return ArraySource(array, chunks)


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 30, (7, 9, 11)).astype(np.float32)


def rule(normalization: str, **changes) -> ScalingRule:
    spec = replace(SPEC, normalization=normalization, percentiles=(5.0, 90.0))
    return ScalingRule(spec, changes.get("replace_nonfinite"), "noise")


@pytest.mark.parametrize("normalization", ["zscore", "percentile", "none"])
@pytest.mark.parametrize("limit", [60, 2**24])
def test_lazy_and_immediate_constants_are_the_same(monkeypatch, normalization, limit) -> None:
    monkeypatch.setattr(scaling, "STATISTICS_VOXELS", limit)
    source, how = source_of(noise()), rule(normalization)
    assert len(statistics_grid(source)) == 1 or limit == 60
    now, moments = run_scaling(source, how, executor=SerialExecutor())
    tasks, root = lazy_scaling(source, how, prefix="test")
    assert dask.get(tasks, root) == now
    assert moments.count == noise().size


def test_zscore_is_mean_and_deviation() -> None:
    found, _ = run_scaling(source_of(noise()), rule("zscore"), executor=SerialExecutor())
    exact = noise().astype(np.longdouble)
    assert found.shift == pytest.approx(float(exact.mean()), rel=1e-12)
    assert found.scale == pytest.approx(float(exact.std()), rel=1e-12)


def test_percentiles_are_numpys() -> None:
    found, _ = run_scaling(source_of(noise()), rule("percentile"), executor=SerialExecutor())
    low, high = np.percentile(noise().astype(float), (5, 90))
    assert found.shift == pytest.approx(low, rel=1e-6)
    assert found.scale == pytest.approx(high - low, rel=1e-6)


@given(st.tuples(*[st.integers(1, 11)] * 3), st.integers(8, 400))
def test_the_bits_do_not_depend_on_storage_chunks(chunks, limit) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scaling, "STATISTICS_VOXELS", limit)
        for normalization in ("zscore", "percentile"):
            how = rule(normalization)
            cut, _ = run_scaling(source_of(noise(), chunks), how, executor=SerialExecutor())
            patch.setattr(scaling, "STATISTICS_VOXELS", 10**6)
            whole, _ = run_scaling(source_of(noise()), how, executor=SerialExecutor())
            assert cut == whole


@pytest.mark.parametrize("normalization", ["zscore", "percentile"])
def test_a_constant_volume_is_not_divided_by_zero(normalization) -> None:
    source = source_of(np.full((7, 9, 11), 3, np.int16))
    found, _ = run_scaling(source, rule(normalization), executor=SerialExecutor())
    assert (found.shift, found.scale) == (3, 1)


def test_bad_voxels_are_counted_and_refused_before_percentiles() -> None:
    spoiled = noise()
    spoiled[0, 0, :3], spoiled[6, 8, 10] = np.nan, np.inf
    for normalization in ("zscore", "percentile", "none"):
        with pytest.raises(NonFiniteError, match="noise has 3 NaN and 1 infinite voxels of 693"):
            run_scaling(source_of(spoiled), rule(normalization), executor=SerialExecutor())


def test_bad_voxels_do_not_count_where_they_are_replaced() -> None:
    spoiled = noise()
    spoiled[0, 0, :3], spoiled[6, 8, 10] = np.nan, np.inf
    how = rule("zscore", replace_nonfinite=0.0)
    found, moments = run_scaling(source_of(spoiled), how, executor=SerialExecutor())
    assert found.replacement == 0.0
    assert (moments.num_nan, moments.num_inf) == (3, 1)
    good = spoiled[np.isfinite(spoiled)].astype(np.longdouble)
    assert found.shift == pytest.approx(float(good.mean()), rel=1e-12)


def test_a_replacement_that_nobody_needs_is_left_out() -> None:
    how = rule("zscore", replace_nonfinite=0.0)
    found, _ = run_scaling(source_of(noise()), how, executor=SerialExecutor())
    assert found.replacement is None


def test_a_volume_without_any_number_is_refused_even_so() -> None:
    empty = np.full((3, 3, 3), np.nan, np.float32)
    how = rule("zscore", replace_nonfinite=0.0)
    with pytest.raises(NonFiniteError, match="27 NaN and 0 infinite voxels of 27"):
        run_scaling(source_of(empty, (1, 3, 3)), how, executor=SerialExecutor())


def test_percentiles_without_counts_are_a_mistake_of_the_caller() -> None:
    moments = run_scaling(source_of(noise()), rule("none"), executor=SerialExecutor())[1]
    with pytest.raises(ModelError, match="needs percentiles"):
        rule("percentile").finish(moments, None)


@given(st.tuples(*[st.integers(1, 40)] * 3), st.tuples(*[st.integers(1, 9)] * 3))
def test_blocks_of_the_statistics_are_whole_storage_chunks_and_small(shape, chunks) -> None:
    source = ArraySource(np.broadcast_to(np.float32(0), shape), chunks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scaling, "STATISTICS_VOXELS", 500)
        grid = statistics_grid(source)
    storage = [min(c, n) for c, n in zip(chunks, shape, strict=True)]
    assert isinstance(grid, ChunkGrid)
    for size, chunk, n in zip(grid.chunks, storage, shape, strict=True):
        assert size % chunk == 0 or size == n
    assert np.prod(grid.chunks) <= max(500, np.prod(storage))
