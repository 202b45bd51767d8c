"""Claims of blocks, and matches between them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi

from volproc.reduce.stitching import claim_objects, match_blocks
from volproc.reduce.stitching_grid import OverlapGrid
from volproc.reduce.stitching_kernels import count_pairs, drop_covered, paint_lowest, unite_claims

GRID = OverlapGrid(((3, 4), (5, 2), (6, 7)), (2, 1, 3))


def random_labels(seed: int, shape: tuple[int, ...], top: int, part: float = 0.5) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(1, top + 1, shape) * (generator.random(shape) < part)


@given(st.integers(0, 999), st.integers(1, 40), st.sampled_from(list(GRID.indices())))
def test_claims_are_what_the_block_sees_of_each_object(seed, top, index) -> None:
    region, chunk = GRID.block(index), GRID.chunk(index)
    labels = random_labels(seed, tuple(s.stop - s.start for s in region), top)
    names = np.random.default_rng(seed).choice(2**62, top + 1, replace=False)
    names[0] = 0
    numbers, claims = claim_objects(names[labels], grid=GRID, index=index)
    whole = np.zeros(GRID.shape, int)
    whole[region] = numbers
    raster = np.arange(whole.size).reshape(GRID.shape)
    ids, first = np.unique(labels, return_index=True)
    assert [labels.flat[first[i]] for i in np.argsort(first) if ids[i]] == [
        labels[numbers == n][0] for n in range(1, numbers.max() + 1)
    ]
    assert (claims.block == GRID.ordinal(index)).all()
    for row, number in enumerate(claims.number):
        at = np.argwhere(whole == number)
        assert (len(np.unique(labels[numbers == number])), claims.count[row]) == (1, len(at))
        assert claims.first[row] == raster[whole == number].min()
        assert claims.num_own[row] == (whole[chunk] == number).sum()
        centre = np.floor(at.mean(0) + 0.5).astype(int)
        assert claims.centre[row] == raster[tuple(centre)]
        np.testing.assert_array_equal(claims.lower[row], at.min(0))
        np.testing.assert_array_equal(claims.upper[row], at.max(0) + 1)
        touches = any(
            (low == s.start > 0) or (high + 1 == s.stop < n)
            for low, high, s, n in zip(at.min(0), at.max(0), region, GRID.shape, strict=True)
        )
        is_inside = all(s.start <= c < s.stop for c, s in zip(centre, chunk, strict=True))
        assert claims.is_whole[row] == (not touches)
        assert claims.is_owner[row] == (is_inside and not touches)


@pytest.mark.parametrize("dtype", ["u1", "i2", ">i4", "u4", "i8", "u8", bool])
def test_labels_of_any_integer_type_are_numbered_alike(dtype) -> None:
    labels = random_labels(3, (5, 6, 9), 1)
    expected, _ = claim_objects(labels, grid=GRID, index=(0, 0, 0))
    numbers, claims = claim_objects(labels.astype(dtype), grid=GRID, index=(0, 0, 0))
    np.testing.assert_array_equal(numbers, expected)
    assert numbers.dtype == np.uint32
    assert len(claims) == 1


def test_scores_are_means_under_objects_or_values_of_labels() -> None:
    labels = np.zeros((5, 6, 9), int)
    labels[0, 0, :2], labels[1, 1, 3:6] = 70, 30
    values = np.random.default_rng(0).random(labels.shape)
    _, claims = claim_objects(labels, grid=GRID, index=(0, 0, 0), scores=values)
    means = [values[labels == 70].mean(), values[labels == 30].mean()]
    np.testing.assert_allclose(claims.score, means, rtol=1e-12)
    _, claims = claim_objects(labels, grid=GRID, index=(0, 0, 0), scores={30: 0.25, 70: -1.0})
    assert claims.score.tolist() == [-1.0, 0.25]
    _, claims = claim_objects(labels, grid=GRID, index=(0, 0, 0))
    assert claims.score.tolist() == [0, 0]


def slow_matches(one: np.ndarray, other: np.ndarray, share: float) -> dict[tuple[int, int], tuple]:
    """Every pair: voxels in common, sizes, and whether they are mutual best partners."""
    pairs = [
        (a, b)
        for a, b in product(range(1, one.max() + 1), range(1, other.max() + 1))
        if ((one == a) & (other == b)).any()
    ]
    both = {(a, b): int(((one == a) & (other == b)).sum()) for a, b in pairs}
    size = {(a, b): (int((one == a).sum()), int((other == b).sum())) for a, b in pairs}

    def rank(pair: tuple[int, int]) -> tuple[float, int, int]:
        return (-both[pair] / (sum(size[pair]) - both[pair]), *pair)

    found = {}
    for a, b in pairs:
        is_best = (
            min((p for p in pairs if p[0] == a), key=rank)
            == min((p for p in pairs if p[1] == b), key=rank)
            == (a, b)
        )
        enough = both[a, b] > share * min(size[a, b])
        found[a, b] = (both[a, b], *size[a, b], is_best and enough)
    return found


@given(st.integers(0, 999), st.integers(1, 6), st.sampled_from([0.0, 0.3, 0.5, 0.8]))
def test_matches_are_the_mutual_best_partners(seed, top, share) -> None:
    one = random_labels(seed, (3, 4, 5), top).astype(np.uint32)
    changed = np.random.default_rng(seed + 1).random(one.shape) < 0.3
    other = np.where(changed, random_labels(seed + 2, one.shape, top), one).astype(np.uint32)
    matches = match_blocks(one, other, places=(3, 8), min_overlap=share)
    columns = (matches.overlap, *matches.inside.T, matches.is_best)
    rows = zip(matches.numbers.tolist(), *(c.tolist() for c in columns), strict=True)
    assert {tuple(n): tuple(v) for n, *v in rows} == slow_matches(one, other, share)
    assert matches.blocks.tolist() == [[3, 8]] * len(matches)


@given(st.integers(0, 999), st.integers(1, 4))
def test_pieces_are_the_best_partners_of_connected_parts(seed, top) -> None:
    one = random_labels(seed, (3, 4, 5), top, 0.7).astype(np.uint32)
    other = random_labels(seed + 1, (3, 4, 5), top, 0.7).astype(np.uint32)
    parts = []
    for labels in (one, other):
        pieces, owners = np.zeros(labels.shape, int), [0]
        for value in range(1, top + 1):
            found, count = ndi.label(labels == value)
            pieces[found > 0] = found[found > 0] + len(owners) - 1
            owners += [value] * count
        # in the order of first voxels, by which ties are settled
        _, first = np.unique(pieces, return_index=True)
        order = np.argsort(first[1:]) if pieces.min() == 0 else np.argsort(first)
        rank = np.zeros(len(owners), int)
        rank[1 + order] = np.arange(1, len(owners))
        sorted_owners = np.zeros(len(owners), int)
        sorted_owners[rank] = owners
        parts.append((rank[pieces], sorted_owners))
    slow = slow_matches(parts[0][0], parts[1][0], 0.5)
    expected = {(parts[0][1][a], parts[1][1][b]) for (a, b), row in slow.items() if row[-1]}
    matches = match_blocks(one, other, places=(0, 1), min_overlap=0.5)
    assert {tuple(n) for n in matches.numbers[matches.has_best_piece].tolist()} == expected


def test_blocks_that_share_no_object_have_no_matches() -> None:
    one = np.array([[1, 0, 0], [0, 0, 2]], np.uint32)
    other = np.array([[0, 3, 0], [1, 0, 0]], np.uint32)
    for pair in ((one, other), (one, other * 0), (one * 0, other)):
        assert len(match_blocks(*pair, places=(0, 1), min_overlap=0.5)) == 0


@given(st.integers(0, 999))
def test_runs_of_pairs_add_up_to_a_table_of_contacts(seed) -> None:
    generator = np.random.default_rng(seed)
    one, other = generator.integers(0, 3, (2, 50)).astype(np.uint32)
    runs = count_pairs(one, other)
    table, expected = np.zeros((3, 3), int), np.zeros((3, 3), int)
    np.add.at(table, (runs[:, 0], runs[:, 1]), runs[:, 2])
    np.add.at(expected, (one, other), 1)
    np.testing.assert_array_equal(table[1:, 1:], expected[1:, 1:])


def test_a_set_holds_one_claim_of_each_block() -> None:
    block = np.array([0, 0, 1, 2])
    one, other = np.array([0, 2, 1]), np.array([2, 3, 3])  # 0-2, 2-3 and last 1-3
    assert unite_claims(one, other, block).tolist() == [0, 1, 0, 0]
    assert unite_claims(one[:0], other[:0], block).tolist() == [0, 1, 2, 3]
    assert unite_claims(one[::-1].copy(), other[::-1].copy(), block).tolist() == [0, 1, 1, 1]


def test_masks_fall_only_to_masks_that_stand() -> None:
    # 1 is covered by 0 and falls, so that 2, which 1 alone covers, stands
    count = np.array([10, 10, 10])
    starts, others = np.array([0, 1, 3, 4]), np.array([1, 0, 2, 1])
    overlap = np.array([6, 6, 6, 6])
    assert drop_covered(count, starts, others, overlap, 0.5).tolist() == [True, False, True]
    assert drop_covered(count, starts, others, overlap, 0.6).all()


def test_the_lowest_rank_shows() -> None:
    out = np.array([0, 4, 4, 4, 0], np.uint32)
    ranks = np.array([0, 3, 0, 9], np.uint32)
    paint_lowest(np.array([1, 1, 2, 3, 0], np.uint32), ranks, out)
    assert out.tolist() == [3, 3, 4, 4, 0]
