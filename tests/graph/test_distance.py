"""Distances: those of the whole volume, for every cut."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi

import volproc
from volproc.core.errors import ConfigError, DtypeError, VoxelSizeError
from volproc.core.volume import Volume
from volproc.graph.distance import distance

SHAPE = (5, 7, 11)


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, one voxel thick too."""
    return tuple(
        tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=2))), n]).tolist())
        for n in shape
    )


def random_mask(seed: int, shape: tuple[int, ...] = SHAPE, part: float = 0.95) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < part


def expected_distance(mask, max_distance, voxel_size=None) -> np.ndarray:
    whole = ndi.distance_transform_edt(mask, sampling=voxel_size)
    return np.minimum(whole, max_distance).astype(np.float32)


@settings(max_examples=12)
@given(
    st.integers(0, 999),
    cuts(),
    st.sampled_from([1.0, 2.5, 4.0, 50.0]),
    st.sampled_from([None, 2.0, (1.5, 1.0, 3.25)]),
)
def test_distances_are_scipys_for_every_cut(seed, chunks, max_distance, voxel_size) -> None:
    mask = random_mask(seed)
    lazy = distance(da.from_array(mask, chunks=chunks), max_distance, voxel_size=voxel_size)
    assert (lazy.chunks, lazy.dtype) == (chunks, np.float32)
    np.testing.assert_array_equal(
        lazy.compute(scheduler="sync"), expected_distance(mask, max_distance, voxel_size)
    )


@settings(max_examples=12)
@given(st.integers(0, 999), cuts((9, 13)))
def test_a_micrograph_is_measured_label_by_label(seed, chunks) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, (9, 13)).repeat(3, 0)[5:14]
    expected = sum(np.where(labels == k, expected_distance(labels == k, 2.5), 0) for k in (1, 2))
    lazy = distance(da.from_array(labels, chunks=chunks), 2.5, per_label=True)
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), expected)


def test_an_opened_volume_is_read_where_it_is(tmp_path: Path) -> None:
    mask = random_mask(1, (9, 13, 11))
    np.save(tmp_path / "mask.npy", mask.astype(np.uint8))
    volume = volproc.open(tmp_path / "mask.npy", voxel_size=10.0)
    scratch = tmp_path / "scratch"
    found = distance(volume, 25.0, voxel_size=volume.voxel_size, scratch=scratch)
    assert isinstance(found, Volume)
    assert (found.voxel_size, found.name) == (volume.voxel_size, "mask distance")
    np.testing.assert_array_equal(found.data.compute(), expected_distance(mask, 25.0, 10.0))
    assert not scratch.exists()


def test_each_chunk_of_a_computed_mask_is_computed_once(tmp_path: Path) -> None:
    calls = []

    def threshold(block: np.ndarray) -> np.ndarray:
        calls.append(block.shape)
        return block > 0

    source = da.from_array(random_mask(2).astype("u1"), chunks=(2, 3, 4))
    mask = source.map_blocks(threshold, dtype=bool, meta=np.empty((0, 0, 0), bool))
    lazy = distance(mask, 6, scratch=tmp_path)
    assert calls == []
    found = lazy.compute(scheduler="sync")
    np.testing.assert_array_equal(found, expected_distance(random_mask(2), 6))
    assert len(calls) == source.npartitions
    del lazy
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_there_are_two_tasks_a_block_at_most() -> None:
    mask = da.zeros((8, 8, 8), dtype=bool, chunks=2)
    own = [k for k in distance(mask, 3).__dask_graph__() if "distance" in str(k)]
    assert len(own) == 2 * mask.npartitions + 1


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_distance": 0}, ConfigError, "greatest distance is 0"),
        ({"voxel_size": -1.0}, VoxelSizeError, "along z is -1"),
        ({"mask": da.zeros(SHAPE)}, DtypeError, "got float64"),
    ],
)
def test_what_has_no_distance_is_refused(options: dict[str, Any], error, text) -> None:
    def explode(*args: Any, **kwargs: Any) -> Any:
        pytest.fail("something was computed")

    arguments = {"mask": da.ones(SHAPE, dtype=bool), "max_distance": 2.0} | options
    with dask.config.set(scheduler=explode), pytest.raises(error, match=text):
        distance(**arguments)
