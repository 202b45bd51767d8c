"""Counts at planes: equal to NumPy's, exact, and the same for every cut and order."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import DtypeError
from volproc.reduce.seam_kernels import BOTH, CHANGED, FOREGROUND, ONE
from volproc.reduce.seams import (
    JUMP,
    MOST_TILES,
    PAIRS,
    STEP,
    Kind,
    PlaneCollector,
    PlaneCounts,
    find_tiles,
    join_blocks,
    merge_planes,
    scan_block,
)

SHAPE = (5, 7, 11)

UNITS = 2**149


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[tuple[int, ...], ...]:
    return tuple(
        tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=3))), n]).tolist())
        for n in shape
    )


def scan(array: np.ndarray, kind: Kind, cut: tuple, tiles: tuple) -> dict:
    """Scan a volume, which may have channels first, block by block."""
    lead = array.ndim - len(cut)
    edges = [(0, *accumulate(c)) for c in cut]
    blocks = {}
    for index in product(*(range(len(c)) for c in cut)):
        region = tuple(slice(e[i], e[i + 1]) for e, i in zip(edges, index, strict=True))
        blocks[index] = scan_block(
            array[(slice(None),) * lead + region],
            kind=kind,
            index=index,
            offset=tuple(s.start for s in region),
            shape=array.shape[lead:],
            tiles=tiles,
        )
    return blocks


def whole(array: np.ndarray, kind: Kind, tiles: tuple = ()) -> PlaneCounts:
    own = array.shape[-3:] if array.ndim > 3 else array.shape
    cut = tuple((n,) for n in own)
    return join_blocks(list(scan(array, kind, cut, tiles or find_tiles(cut)).values()), [], own)


def assert_equal(one: PlaneCounts, other: PlaneCounts) -> None:
    assert one.kind == other.kind
    for a, b in zip(one.axes, other.axes, strict=True):
        assert a.tolist() == b.tolist()
    for name in ("label", "count", "lower", "upper"):
        np.testing.assert_array_equal(getattr(one.objects, name), getattr(other.objects, name))


@given(st.integers(0, 99))
def test_labels_are_counted_as_numpy_counts_them(seed) -> None:
    labels = np.random.default_rng(seed).integers(0, 4, SHAPE)
    found = whole(labels, "labels")
    for axis, counts in enumerate(found.axes):
        moved = np.moveaxis(labels, axis, 0).reshape(SHAPE[axis], -1)
        before, here = moved[:-1], moved[1:]
        both = (before > 0) & (here > 0)
        assert counts[1:, BOTH].tolist() == both.sum(1).tolist()
        assert counts[1:, CHANGED].tolist() == (both & (before != here)).sum(1).tolist()
        assert counts[1:, ONE].tolist() == ((before > 0) ^ (here > 0)).sum(1).tolist()
        assert counts[:, FOREGROUND].tolist() == (moved > 0).sum(1).tolist()


@given(st.integers(0, 99), cuts())
def test_jumps_and_steps_are_exact_sums(seed, grid) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=SHAPE) * 10.0 ** rng.integers(-42, 30, SHAPE)).astype(np.float32)
    values.flat[0], values.flat[17] = np.nan, np.inf
    tiles = find_tiles(grid)
    found = whole(values, "intensity", tiles)
    for axis, counts in enumerate(found.axes):
        others = [tiles[a] for a in range(3) if a != axis]
        moved = np.moveaxis(values, axis, 0)
        for plane in range(1, SHAPE[axis]):
            with np.errstate(invalid="ignore"):
                steps = moved[plane] - moved[plane - 1]
            good = steps[np.isfinite(steps)]
            exact = sum((abs(Fraction(float(v))) for v in good), Fraction(0))
            assert counts[plane, JUMP] == exact * UNITS
            assert counts[plane, PAIRS] == good.size
            signed = []
            for i, j in product(*(range(len(e) - 1) for e in others)):
                part = steps[others[0][i] : others[0][i + 1], others[1][j] : others[1][j + 1]]
                part = part[np.isfinite(part)]
                signed.append(sum((Fraction(float(v)) for v in part), Fraction(0)) * UNITS)
            assert counts[plane, STEP:].tolist() == signed


@given(st.integers(0, 99), cuts(), st.sampled_from(["labels", "intensity"]), st.randoms())
def test_every_cut_and_order_gives_the_same_counts(seed, cut, kind, random) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 5, SHAPE)
    if kind == "intensity":
        values = rng.normal(size=SHAPE).astype(np.float32)
    tiles = find_tiles(((2, 3), (7,), (4, 4, 3)))
    expected = whole(values, kind, tiles)
    blocks = scan(values, kind, cut, tiles)
    order = list(blocks)
    random.shuffle(order)
    collector = PlaneCollector(SHAPE)
    for index in order:
        collector.add(index, blocks[index])
    assert collector.num_waiting == 0
    assert_equal(collector.finish(), expected)
    half = len(order) // 2
    groups = [order[:half], order[half:]] if half else [order]
    parts = [join_blocks([blocks[i] for i in g], list(blocks.values()), SHAPE) for g in groups]
    assert_equal(merge_planes(parts[::-1]), expected)


def test_a_collector_keeps_only_the_front_of_the_blocks() -> None:
    labels = np.ones((12, 6, 6), np.uint8)
    cut = ((1,) * 12, (3, 3), (3, 3))
    collector = PlaneCollector(labels.shape)
    blocks = scan(labels, "labels", cut, ())
    most = 0
    for index, block in blocks.items():
        collector.add(index, block)
        most = max(most, collector.num_waiting)
    assert most <= 4
    assert_equal(collector.finish(), whole(labels, "labels"))


def test_channels_add_up_but_their_steps_stay_apart() -> None:
    rng = np.random.default_rng(0)
    one = rng.random((4, 5, 6)).astype(np.float32)
    both = np.stack([one, 1 - one])
    found = whole(both, "intensity")
    alone = [whole(channel, "intensity") for channel in both]
    for axis in range(3):
        assert (
            found.axes[axis][:, JUMP].tolist() == sum(a.axes[axis][:, JUMP] for a in alone).tolist()
        )
        assert (
            found.axes[axis][:, STEP:].tolist()
            == np.hstack([a.axes[axis][:, STEP:] for a in alone]).tolist()
        )


def test_a_micrograph_has_two_axes() -> None:
    labels = np.array([[1, 1, 0], [2, 1, 3]])
    rows, columns = whole(labels, "labels").axes
    assert rows[1].tolist() == [2, 1, 1, 3]  # both, changed, one, and the slice's own voxels
    assert columns.tolist() == [[0, 0, 0, 2], [2, 1, 0, 2], [1, 1, 1, 1]]


def test_there_are_never_many_tiles() -> None:
    (edges,) = find_tiles(((1,) * 1000,))
    assert len(edges) <= MOST_TILES + 1
    assert (edges[0], edges[-1]) == (0, 1000)


@pytest.mark.parametrize(
    ("dtype", "kind", "said"),
    [(np.float32, "labels", "labels are integers"), (np.complex64, "intensity", "real numbers")],
)
def test_voxels_of_a_wrong_type_are_refused(dtype, kind, said) -> None:
    with pytest.raises(DtypeError, match=said):
        whole(np.zeros((2, 3), dtype), kind)
