"""Laws and oracles of connected components by block."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi

from volproc.core.errors import ConfigError, DtypeError, ShapeError
from volproc.plan.blocks import ChunkGrid
from volproc.reduce.components import (
    Union,
    label_array,
    label_block,
    merge_links,
    relabel,
    unite,
)
from volproc.reduce.faces import join_faces, upper_directions
from volproc.reduce.tables import merge_tables

DATA = Path(__file__).parents[2].parent / "shared" / "data"


@dataclass(frozen=True)
class Cut:
    """A class map and a way to cut it."""

    classes: npt.NDArray[np.uint8]
    chunks: tuple[int, ...]
    connectivity: int


@st.composite
def cuts(draw: st.DrawFn, num_classes: int = 1) -> Cut:
    ndim = draw(st.sampled_from((2, 3, 3)))
    shape = draw(st.tuples(*[st.integers(1, 9)] * (ndim - 1), st.integers(1, 13)))
    chunks = draw(st.tuples(*[st.integers(1, 6)] * ndim))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    density = draw(st.sampled_from((0.05, 0.2, 0.4, 0.6, 0.9, 1.0)))
    classes = (rng.random(shape) < density) * rng.integers(1, num_classes + 1, shape)
    return Cut(classes.astype(np.uint8), chunks, draw(st.integers(1, ndim)))


def by_first_voxel(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same objects, numbered in the order of their first voxels."""
    names, first, place = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.zeros(len(names), int)
    order = [i for i in np.argsort(first) if names[i] != 0]
    rank[order] = np.arange(1, len(order) + 1)
    return rank[place].reshape(labels.shape)


def label_each_class(classes: npt.NDArray[Any], connectivity: int) -> npt.NDArray[Any]:
    structure = ndi.generate_binary_structure(classes.ndim, connectivity)
    out = np.zeros(classes.shape, int)
    for value in np.unique(classes[classes != 0]):
        labels, _ = ndi.label(classes == value, structure)
        out[labels > 0] = labels[labels > 0] + out.max()
    return by_first_voxel(out)


@settings(deadline=None, max_examples=150)
@given(cuts())
def test_labels_of_a_mask_are_scipys_ids_included(cut: Cut) -> None:
    mask = cut.classes > 0
    structure = ndi.generate_binary_structure(mask.ndim, cut.connectivity)
    expected, num_objects = ndi.label(mask, structure)
    labels, found = label_array(mask, connectivity=cut.connectivity, chunks=cut.chunks)
    assert found == num_objects
    np.testing.assert_array_equal(labels, expected)


@settings(deadline=None, max_examples=100)
@given(cuts(num_classes=3))
def test_classes_are_labelled_apart_for_every_cut(cut: Cut) -> None:
    expected = label_each_class(cut.classes, cut.connectivity)
    labels, found = label_array(cut.classes, connectivity=cut.connectivity, chunks=cut.chunks)
    assert found == expected.max()
    np.testing.assert_array_equal(labels, expected)


@settings(deadline=None, max_examples=30)
@given(cuts(num_classes=2))
def test_a_second_pass_is_the_identity(cut: Cut) -> None:
    labels, _ = label_array(cut.classes, connectivity=cut.connectivity, chunks=cut.chunks)
    again, _ = label_array(labels, connectivity=cut.connectivity, chunks=cut.chunks)
    np.testing.assert_array_equal(again, labels)


@settings(deadline=None, max_examples=30)
@given(cuts(num_classes=2), st.randoms(use_true_random=False))
def test_the_order_and_the_tree_of_merging_change_nothing(cut: Cut, random: Any) -> None:
    parts, links = pieces(cut)
    firsts = [part.table.first for part in parts]
    expected = unite(firsts, links)
    random.shuffle(firsts)
    random.shuffle(links)
    half = len(links) // 2
    tree = merge_links([merge_links(links[:half]), merge_links(links[half:])])
    union = unite(firsts, [tree])
    np.testing.assert_array_equal(union.first, expected.first)
    np.testing.assert_array_equal(union.links, expected.links)
    np.testing.assert_array_equal(merge_links([tree, tree]), tree)


@settings(deadline=None, max_examples=30)
@given(cuts(num_classes=3))
def test_tables_of_blocks_merge_to_the_table_of_the_volume(cut: Cut) -> None:
    parts, links = pieces(cut)
    union = unite((part.table.first for part in parts), links)
    tables = [p.table.with_labels(union.lut(p.table.first)[p.table.label]) for p in parts]
    merged = merge_tables(tables)
    whole = label_block(
        cut.classes,
        offset=(0,) * cut.classes.ndim,
        shape=cut.classes.shape,
        connectivity=cut.connectivity,
    )
    order = np.argsort(whole.table.first)
    for name in ("count", "first", "sums", "lower", "upper", "classes"):
        expected = getattr(whole.table, name)[order]
        np.testing.assert_array_equal(getattr(merged, name), expected, err_msg=name)
    np.testing.assert_array_equal(merged.first, union.first)


def pieces(cut: Cut) -> tuple[list[Any], list[Any]]:
    """Components of all blocks, and links between them."""
    shape = cut.classes.shape
    parts = {
        block.index: label_block(
            cut.classes[block.write],
            offset=tuple(s.start for s in block.write),
            shape=shape,
            connectivity=cut.connectivity,
        )
        for block in ChunkGrid(shape, cut.chunks)
    }
    links = []
    for index, part in parts.items():
        steps = upper_directions(len(shape), cut.connectivity)
        beside = {s: tuple(np.add(index, s).tolist()) for s in steps}
        faces = {s: parts[at].faces for s, at in beside.items() if at in parts}
        links.append(join_faces(part.faces, faces, connectivity=cut.connectivity))
    return list(parts.values()), links


def spiral(size: int) -> npt.NDArray[np.bool_]:
    """One voxel wide, from the rim to the middle; windings never touch, corners included."""
    mask = np.zeros((size, size), bool)
    y, x, step_y, step_x = 0, -1, 0, 1
    length, turn = size, 0
    while length > 0:
        for _ in range(length):
            y, x = y + step_y, x + step_x
            mask[y, x] = True
        step_y, step_x = step_x, -step_y
        length -= 1 if turn == 0 else 2 if turn % 2 == 0 else 0
        turn += 1
    return mask


@pytest.mark.parametrize("chunks", [(1, 1), (3, 5), (4, 4), (7, 2)])
def test_a_spiral_over_all_blocks_is_one_object(chunks: tuple[int, int]) -> None:
    mask = spiral(23)
    assert ndi.label(mask)[1] == 1
    assert label_array(mask, chunks=chunks)[1] == 1
    assert (
        label_array(np.stack([mask, ~mask]), chunks=(1, *chunks))[1]
        == ndi.label(np.stack([mask, ~mask]))[1]
    )


def test_a_comb_that_crosses_a_face_many_times_is_one_object() -> None:
    mask = np.zeros((5, 8, 21), bool)
    mask[:, :, ::2] = True
    mask[4] = True  # the spine, in the last block along z
    assert label_array(mask, chunks=(2, 3, 21))[1] == 1
    mask[4] = False
    assert label_array(mask, chunks=(2, 3, 4))[1] == 11


@pytest.mark.parametrize("corner", list(product((0, 1), repeat=2)))
@pytest.mark.parametrize("connectivity", [1, 2, 3])
def test_contact_at_a_corner_of_eight_blocks_needs_connectivity_3(
    corner: tuple[int, int], connectivity: int
) -> None:
    mask = np.zeros((4, 6, 10), bool)
    z, y = 1 + corner[0], 2 + corner[1]
    mask[z, y, 4] = mask[3 - z, 5 - y, 5] = True
    labels, found = label_array(mask, connectivity=connectivity, chunks=(2, 3, 5))
    assert found == (1 if connectivity == 3 else 2)
    np.testing.assert_array_equal(
        labels, ndi.label(mask, ndi.generate_binary_structure(3, connectivity))[0]
    )


@pytest.mark.parametrize("connectivity", [1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 11)])
def test_empty_and_full_volumes(shape: tuple[int, ...], connectivity: int) -> None:
    empty, none = label_array(np.zeros(shape, bool), connectivity=connectivity, chunks=(2, 3, 4))
    assert none == 0
    assert not empty.any()
    full, one = label_array(np.ones(shape, bool), connectivity=connectivity, chunks=(2, 3, 4))
    assert one == 1
    assert (full == 1).all()


@pytest.mark.parametrize("shape", [(1, 1, 5), (3, 3, 3), (1, 11, 11), (5, 1, 7)])
@pytest.mark.parametrize("connectivity", [1, 2, 3])
def test_as_many_single_voxels_as_fit_are_found(shape: tuple[int, ...], connectivity: int) -> None:
    mask = np.zeros(shape, bool)
    mask[::2, ::2, ::2] = True  # cc3d's own binary path has no room for these
    assert label_array(mask, connectivity=connectivity)[1] == mask.sum()


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int16, np.uint16, ">u4", np.int64, np.uint64])
def test_every_integer_type_is_labelled_alike(dtype: Any) -> None:
    mask = np.random.default_rng(1).random((5, 7, 11)) < 0.4
    expected, _ = ndi.label(mask)
    labels, _ = label_array(mask.astype(dtype), chunks=(5, 4, 3))
    np.testing.assert_array_equal(labels, expected)


def test_negative_classes_are_classes() -> None:
    labels, found = label_array(np.array([[-1, -1, 2], [-1, 0, 2]], np.int16), chunks=(1, 2))
    assert found == 2
    assert labels.tolist() == [[1, 1, 2], [1, 0, 2]]


@pytest.mark.parametrize("view", ["transposed", "strided", "readonly"])
def test_the_memory_layout_does_not_matter(view: str) -> None:
    mask = np.random.default_rng(2).random((6, 8, 10)) < 0.4
    before = mask.copy()
    seen = {"transposed": mask.T, "strided": mask[::2, ::-1, 1:], "readonly": mask[:]}[view]
    if view == "readonly":
        seen.flags.writeable = False
    labels, _ = label_array(seen, connectivity=2, chunks=(3, 3, 4))
    structure = ndi.generate_binary_structure(3, 2)
    np.testing.assert_array_equal(labels, ndi.label(seen, structure)[0])
    np.testing.assert_array_equal(mask, before)


@pytest.mark.parametrize("connectivity", [1, 2, 3])
def test_a_class_map_of_blobs_equals_cc3d(connectivity: int) -> None:
    rng = np.random.default_rng(3)
    field = ndi.gaussian_filter(rng.standard_normal((48, 40, 56)), 2)
    classes = np.digitize(field, np.quantile(field, [0.4, 0.7, 0.9])).astype(np.uint8)
    whole = cc3d.connected_components(classes, connectivity={1: 6, 2: 18, 3: 26}[connectivity])
    labels, _ = label_array(classes, connectivity=connectivity, chunks=(20, 17, 24))
    np.testing.assert_array_equal(labels, by_first_voxel(whole))


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data are not here")
def test_real_connectomics_labels_are_cut_into_their_components() -> None:
    with np.load(DATA / "labels" / "ffn_fib25_segmentation.npz") as archive:
        classes = archive["segmentation"][:90, :100, :110]
    whole = cc3d.connected_components(classes, connectivity=26)
    labels, found = label_array(classes, connectivity=3, chunks=(33, 64, 47))
    assert found == whole.max()
    np.testing.assert_array_equal(labels, by_first_voxel(whole))


def test_relabel_equals_fancy_indexing_and_keeps_the_shape() -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 9, (5, 7, 11)).astype(np.uint32)
    lut = np.array([0, *rng.integers(1, 250, 8)], np.uint32)
    np.testing.assert_array_equal(relabel(labels, lut), lut[labels])
    narrow = relabel(labels[::2, :, ::-1], lut, dtype=np.uint8)
    assert narrow.dtype == np.uint8
    np.testing.assert_array_equal(narrow, lut[labels[::2, :, ::-1]])


def test_relabel_refuses_what_does_not_fit() -> None:
    lut = np.array([0, 300], np.uint32)
    with pytest.raises(DtypeError, match=r"labels up to 300 do not fit in uint8.*uint16"):
        relabel(np.ones((2, 2), np.uint32), lut, dtype=np.uint8)
    with pytest.raises(ShapeError, match=r"exceeds its table of 2, got 2"):
        relabel(np.full((2, 2), 2, np.uint32), lut)


def test_labels_above_four_thousand_million_objects_are_uint64() -> None:
    class Many(Union):
        num_objects = 2**32

    few = Union(np.array([5, 9]), np.zeros((0, 2), np.int64))
    many = Many(few.first, few.links)
    assert few.dtype == np.uint32
    assert many.dtype == np.uint64
    assert many.lut(np.array([9])).tolist() == [0, 2]


def test_components_that_were_not_united_are_refused() -> None:
    union = unite([np.array([3, 8])], [])
    with pytest.raises(ShapeError, match=r"not united, got 1 components for a union of 2"):
        union.lut(np.array([5]))


def test_bad_input_is_named_with_its_cure() -> None:
    place = {"offset": (0, 0, 0), "shape": (4, 4, 4)}
    with pytest.raises(ConfigError, match=r"1 \(faces\) to 3 \(corners\).*got 26.*connectivity 3"):
        label_block(np.ones((4, 4, 4), bool), **place, connectivity=26)
    with pytest.raises(DtypeError, match=r"got float64. Compare with a threshold"):
        label_block(np.ones((4, 4, 4)), **place, connectivity=1)
    with pytest.raises(ShapeError, match=r"5 voxels from 0 does not lie in 4 voxels along y"):
        label_block(np.ones((4, 5, 4), bool), **place, connectivity=1)
    with pytest.raises(ShapeError, match=r"axes \(z, y, x\) or \(y, x\)"):
        label_block(np.ones(4, bool), offset=(0,), shape=(4,), connectivity=1)
