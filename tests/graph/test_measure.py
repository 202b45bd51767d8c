"""Measurements: the whole-volume answer for every cut, lazily."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi
from skimage.measure import regionprops

from volproc.core.errors import ShapeError
from volproc.core.volume import Volume
from volproc.graph.measure import measure

SHAPE = (5, 7, 11)


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, one voxel thick too."""
    return tuple(
        tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=4))), n]).tolist())
        for n in shape
    )


def dense(seed: int, shape: tuple[int, ...] = SHAPE, part: float = 0.6) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < part


@given(st.integers(0, 999), cuts(), cuts())
def test_measurements_are_those_of_scikit_image_for_every_cut(seed, chunks, others) -> None:
    generator = np.random.default_rng(seed)
    labels, _ = ndi.label(dense(seed, part=0.3))
    intensity = generator.normal(0, 3, SHAPE).astype(np.float32)
    lazy = measure(da.from_array(labels, chunks=chunks), da.from_array(intensity, chunks=others))
    table = lazy.compute(scheduler="sync")
    props = regionprops(labels, intensity)
    assert list(table["label"]) == [p.label for p in props]
    assert list(table["num_voxels"]) == [p.area for p in props]
    if not props:
        return
    centroids = table[["z", "y", "x"]].to_numpy()
    np.testing.assert_allclose(centroids, [p.centroid for p in props], atol=1e-9)
    boxes = table[[f"{a}_{e}" for e in ("min", "max") for a in "zyx"]].to_numpy()
    np.testing.assert_array_equal(boxes, [p.bbox for p in props])
    for name, key in (
        ("mean", "intensity_mean"),
        ("min", "intensity_min"),
        ("max", "intensity_max"),
    ):
        expected = [getattr(p, key) for p in props]
        np.testing.assert_allclose(table[f"{name}_intensity"], expected, rtol=1e-5, atol=1e-6)


@given(st.integers(0, 99), cuts())
def test_measurements_have_the_same_bits_for_every_cut(seed, chunks) -> None:
    labels, _ = ndi.label(dense(seed, part=0.4))
    intensity = np.random.default_rng(seed).normal(0, 3, SHAPE).astype(np.float32)
    whole = measure(da.from_array(labels, chunks=-1), da.from_array(intensity, chunks=-1))
    cut = measure(da.from_array(labels, chunks=chunks), da.from_array(intensity, chunks=chunks))
    assert whole.compute(scheduler="sync").equals(cut.compute(scheduler="sync"))


def test_labels_and_intensity_of_other_shapes_are_refused_with_both() -> None:
    with pytest.raises(ShapeError, match=r"got \(5, 7, 11\) and \(5, 7, 12\)"):
        measure(da.zeros(SHAPE, dtype=int), da.zeros((5, 7, 12)))


def test_nothing_is_computed_while_graphs_are_built() -> None:
    def explode(*args: Any, **kwargs: Any) -> Any:
        pytest.fail("something was computed while the graph was built")

    def never(block: np.ndarray) -> np.ndarray:
        pytest.fail("a voxel was computed while the graph was built")

    source = da.zeros((9, 13, 11), dtype="u1", chunks=4)
    array = da.map_blocks(never, source, dtype="u1", meta=np.empty((0, 0, 0), "u1"))
    with dask.config.set(scheduler=explode):
        volume = Volume(array, (10.0,) * 3)
        measure(volume, volume)
