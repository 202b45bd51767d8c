"""The rule of stitching: which claims are one object, and whose mask it gets."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi

from volproc.core.errors import ConfigError
from volproc.reduce.stitching import (
    Claims,
    Matches,
    claim_objects,
    empty_claims,
    empty_matches,
    match_blocks,
)
from volproc.reduce.stitching_grid import OverlapGrid, common, within
from volproc.reduce.stitching_paint import number_objects, paint_chunk, pick_palette
from volproc.reduce.stitching_rule import (
    Evidence,
    Verdict,
    check_min_overlap,
    judge,
    merge_evidence,
    merge_matches,
)
from volproc.reduce.tables import merge_tables

GRID = OverlapGrid(((6, 5), (7, 6, 6)), (3, 4))


def noisy(seed: int, grid: OverlapGrid = GRID) -> dict[tuple[int, ...], np.ndarray]:
    """Blocks that agree on most voxels."""
    generator = np.random.default_rng(seed)
    base = generator.random(grid.shape)
    return {
        i: ndi.label(
            base[grid.block(i)] + generator.normal(0, 0.05, base[grid.block(i)].shape) < 0.5
        )[0]
        for i in grid.indices()
    }


def gather(parts: dict[tuple[int, ...], np.ndarray], grid: OverlapGrid = GRID) -> list[Evidence]:
    """What each block knows, in raster order."""
    known = {i: claim_objects(part, grid=grid, index=i) for i, part in parts.items()}
    found = []
    for index, (numbers, claims) in known.items():
        matches = [empty_matches()]
        for partner in grid.partners(index):
            region = common(grid.block(index), grid.block(partner))
            one = numbers[within(region, grid.block(index))]
            other = known[partner][0][within(region, grid.block(partner))]
            places = (grid.ordinal(index), grid.ordinal(partner))
            matches.append(match_blocks(one, other, places=places, min_overlap=0.5))
        found.append(Evidence(claims, merge_matches(matches)))
    return found


def decide(parts: list[Evidence], grid: OverlapGrid = GRID) -> Verdict:
    return judge(merge_evidence(parts), num_blocks=len(grid))


def same(one: Verdict, other: Verdict) -> bool:
    return all(
        np.array_equal(getattr(one, f.name), getattr(other, f.name))
        for f in fields(Verdict)
        if f.name != "claims"
    )


@given(st.integers(0, 999))
@settings(max_examples=15)
def test_the_order_of_matches_changes_nothing(seed) -> None:
    evidence = merge_evidence(gather(noisy(seed)))
    order = np.random.default_rng(seed).permutation(len(evidence.matches))
    columns = {f.name: getattr(evidence.matches, f.name)[order] for f in fields(evidence.matches)}
    mixed = Evidence(evidence.claims, replace(evidence.matches, **columns))
    options = {"num_blocks": len(GRID)}
    assert same(judge(evidence, **options), judge(mixed, **options))


def test_any_tree_gives_the_same_verdict() -> None:
    parts = gather(noisy(1))
    pairs = [merge_evidence(parts[:2]), merge_evidence(parts[2:5]), *parts[5:]]
    assert same(decide(parts), decide([merge_evidence(pairs[:2]), *pairs[2:]]))
    nothing = Evidence(empty_claims(2), empty_matches())
    assert same(decide(parts), decide([nothing, *parts, nothing]))


@given(st.integers(0, 999))
@settings(max_examples=15)
def test_each_object_has_one_mask_or_fragments_in_their_own_chunks(seed) -> None:
    verdict = decide(gather(noisy(seed)))
    painted = verdict.rank > 0
    whole = painted & ~verdict.is_fragment
    assert np.unique(verdict.rank[whole]).size == whole.sum()
    assert (verdict.num_fragments[verdict.rank[whole]] == 0).all()
    assert verdict.claims.is_whole[whole].all()
    for rank in np.unique(verdict.rank[painted & verdict.is_fragment]):
        rows = verdict.rank == rank
        assert verdict.num_fragments[rank] == rows.sum()
        assert verdict.num_own[rank] == verdict.claims.num_own[rows].sum()


def claims_of(block: list[int], number: list[int], is_whole: list[bool]) -> Claims:
    """Objects of ten voxels, each with a first voxel of its own."""
    size = len(block)
    count, box = np.full(size, 10), np.zeros((size, 2), int)
    return Claims(
        block=np.array(block),
        number=np.array(number),
        count=count,
        first=np.arange(size),
        centre=np.arange(size),
        num_own=count,
        is_whole=np.array(is_whole),
        is_owner=np.array(is_whole),
        score=np.zeros(size),
        lower=box,
        upper=box + 9,
    )


def matches_of(*rows: tuple[tuple[int, int], tuple[int, int], int]) -> Matches:
    """Mutual best partners: blocks, numbers, voxels in common."""
    return replace(
        empty_matches(),
        blocks=np.array([r[0] for r in rows]),
        numbers=np.array([r[1] for r in rows]),
        overlap=np.array([r[2] for r in rows]),
        inside=np.full((len(rows), 2), 10),
        is_best=np.ones(len(rows), bool),
        has_best_piece=np.zeros(len(rows), bool),
    )


def test_two_objects_of_one_block_are_never_one() -> None:
    """Best partners in a chain: others cannot make two objects of the first block the same."""
    claims = claims_of([0, 0, 1, 2], [1, 2, 1, 1], [True] * 4)
    matches = matches_of(((0, 1), (1, 1), 9), ((0, 2), (2, 1), 8), ((1, 2), (1, 1), 6))
    verdict = judge(Evidence(claims, matches), num_blocks=3)
    assert verdict.rank.tolist() == [1, 2, 0, 0]


def test_a_fragment_that_a_whole_object_stands_for_joins_nothing() -> None:
    claims = claims_of([0, 1, 2, 3], [1, 1, 1, 1], [False, False, False, True])
    chain = ((0, 1), (1, 1), 9), ((1, 2), (1, 1), 9)
    verdict = judge(Evidence(claims, matches_of(*chain)), num_blocks=4)
    assert verdict.rank.tolist() == [2, 2, 2, 1]
    verdict = judge(Evidence(claims, matches_of(*chain, ((1, 3), (1, 1), 9))), num_blocks=4)
    assert verdict.rank.tolist() == [2, 0, 3, 1]


def test_an_object_that_others_cover_is_left_out_and_counted() -> None:
    """One block sees one object, the other two, the second of which lies under the first."""
    grid = OverlapGrid(((1,), (10, 10)), (0, 6))
    one, other = np.zeros((2, 1, 16), int)
    one[0, 5:13] = 1
    other[0, 1:6], other[0, 6:9] = 1, 2  # 5 … 10 and 10 … 13 of the volume
    verdict = decide(gather({(0, 0): one, (0, 1): other}, grid), grid)
    assert verdict.rank.tolist() == [1, 0, 0]
    assert verdict.num_covered == 1


def test_a_block_that_sees_less_does_not_decide() -> None:
    """Two parts under one label: the second block sees one of them, clear of its border."""
    grid = OverlapGrid(((1,), (10, 10)), (0, 6))
    one, other = np.zeros((2, 1, 16), int)
    one[0, 1:3], one[0, 8:12] = 5, 5
    other[0, 4:8] = 3
    verdict = decide(gather({(0, 0): one, (0, 1): other}, grid), grid)
    assert verdict.rank.tolist() == [1, 0]
    assert not verdict.is_fragment[0]


@given(st.integers(0, 999))
@settings(max_examples=15)
def test_painting_shows_the_lowest_rank_of_all_masks(seed) -> None:
    parts = noisy(seed)
    numbers = {i: claim_objects(p, grid=GRID, index=i)[0] for i, p in parts.items()}
    verdict = decide(gather(parts))
    expected = np.full(GRID.shape, np.iinfo(int).max)
    for index in GRID.indices():
        rows = verdict.claims.block == GRID.ordinal(index)
        for number, rank, is_fragment in zip(
            verdict.claims.number[rows], verdict.rank[rows], verdict.is_fragment[rows], strict=True
        ):
            if rank:
                mask = np.zeros(GRID.shape, bool)
                mask[GRID.block(index)] = numbers[index] == number
                if is_fragment:
                    inside = np.zeros(GRID.shape, bool)
                    inside[GRID.chunk(index)] = True
                    mask &= inside
                expected[mask] = np.minimum(expected[mask], rank)
    expected[expected == np.iinfo(int).max] = 0
    out, tables = np.zeros(GRID.shape, int), []
    for index in GRID.indices():
        palette = pick_palette(verdict, grid=GRID, index=index)
        painted, table = paint_chunk(palette, numbers.__getitem__, grid=GRID, index=index)
        out[GRID.chunk(index)] = np.concatenate([[0], palette.ranks])[painted]
        tables.append(table)
    np.testing.assert_array_equal(out, expected)
    numbering = number_objects(verdict, merge_tables(tables))
    labels = numbering.label[out]
    ids, first = np.unique(labels[labels > 0], return_index=True)
    assert ids.tolist() == list(range(1, numbering.report.num_objects + 1))
    assert (np.diff(first) > 0).all()
    lost = np.unique(out[(out > 0) & (labels == 0)])
    own = verdict.num_own[lost]
    assert (own - [(out == r).sum() for r in lost] > 0.5 * own).all()


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_shares_that_are_none_are_refused(share) -> None:
    with pytest.raises(ConfigError, match="at least 0 and below 1"):
        check_min_overlap(share)
