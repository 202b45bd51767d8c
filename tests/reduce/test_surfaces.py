"""Surface voxels on outer planes, decided by the neighbours."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.segmentation import find_boundaries

from volproc.core.errors import ShapeError
from volproc.plan.blocks import ChunkGrid
from volproc.reduce.measuring import Wanted
from volproc.reduce.objects import measure_block
from volproc.reduce.surfaces import add_surface, decide_surface
from volproc.reduce.tables import ObjectTable, merge_tables

SURFACE = Wanted(surface=True)


def blocks_of(labels: np.ndarray, chunks: tuple[int, ...]) -> dict[tuple[int, ...], ObjectTable]:
    return {
        block.index: measure_block(
            labels[block.write],
            offset=tuple(s.start for s in block.write),
            shape=labels.shape,
            wanted=SURFACE,
        )
        for block in ChunkGrid(labels.shape, chunks)
    }


def decided(tables: dict[tuple[int, ...], ObjectTable]) -> ObjectTable:
    out = []
    for index, table in tables.items():
        around = {}
        for axis, side in product(range(len(index)), range(2)):
            near = list(index)
            near[axis] += 2 * side - 1
            if tuple(near) in tables:
                around[3 - len(index) + axis, side] = tables[tuple(near)].outline
        out.append(add_surface(table, *decide_surface(table.outline, around)))
    return merge_tables(out)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([(5, 7, 11), (1, 6, 4), (7, 1, 1), (9, 8)]),
    st.tuples(*[st.integers(1, 5)] * 3),
    st.integers(0, 9999),
    st.sampled_from([2, 3, 40]),
)
def test_every_cut_counts_what_scikit_image_finds(shape, chunks, seed, top) -> None:
    labels = np.random.default_rng(seed).integers(0, top, shape)
    labels = labels.repeat(2, axis=0)[: shape[0]]  # some neighbours alike
    tables = blocks_of(labels, chunks[: len(shape)])
    merged = decided(tables)
    surface = find_boundaries(labels, connectivity=1, mode="inner")
    expected = [surface[labels == label].sum() for label in merged.label]
    np.testing.assert_array_equal(merged.num_surface, expected)


def test_planes_are_narrow_and_hold_only_what_they_show() -> None:
    labels = np.zeros((8, 8, 8), np.int64)
    labels[2, 2, 2], labels[:, :, 7] = 10**12, 10**15
    table = measure_block(labels, offset=(0, 0, 0), shape=(8, 8, 16), wanted=SURFACE)
    assert table.outline is not None
    assert {place: plane.dtype for place, plane in table.outline.planes.items()} == {
        (2, 1): np.uint8
    }
    assert table.outline.names.tolist() == [0, 10**15]
    assert table.outline.undecided[2, 1].nbytes == 8
    assert merge_tables([table]).outline is None


def test_renamed_neighbours_may_become_one_object() -> None:
    labels = np.array([[1, 1, 2, 2]]).repeat(3, 0)
    tables = blocks_of(labels, (3, 2))
    apart, united = tables, {}
    for index, table in tables.items():
        names = np.where(table.outline.names > 0, 5, 0)
        united[index] = table.with_labels(np.array([5]))
        object.__setattr__(united[index], "outline", table.outline.with_names(names))
    assert decided(apart).num_surface.tolist() == [3, 3]
    assert decided(united).num_surface.tolist() == [0]


def test_neighbours_that_are_missing_or_do_not_fit_are_refused() -> None:
    labels = np.ones((4, 6, 8), int)
    tables = blocks_of(labels, (4, 6, 4))
    one = tables[0, 0, 0].outline
    with pytest.raises(ShapeError, match=r"neighbour behind plane \(2, 1\) is missing"):
        decide_surface(one, {})
    other = blocks_of(labels, (4, 3, 4))[0, 0, 1].outline
    with pytest.raises(ShapeError, match="do not fit each other along axis 2"):
        decide_surface(one, {(2, 1): other})
    bare = measure_block(labels, offset=(0, 0, 0), shape=labels.shape)
    with pytest.raises(ShapeError, match="no surface voxels"):
        add_surface(bare, np.array([1]), np.array([1]))
