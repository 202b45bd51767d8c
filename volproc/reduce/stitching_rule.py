"""From claims and matches to objects: who owns each, and in which order they are painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ConfigError
from volproc.reduce.component_kernels import unite_edges
from volproc.reduce.stitching import Claims, Flags, Ints, Matches
from volproc.reduce.stitching_kernels import drop_covered, unite_claims

MOST = 0.5
"""Part of an object above which it is left out if others cover it."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What some blocks know: a node of the tree."""

    claims: Claims
    matches: Matches


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What becomes of each claim of a volume.

    The lowest rank wins a voxel that several masks cover: whole masks come before united
    fragments, and among each the greater score, then the earlier first voxel.
    """

    claims: Claims
    """All claims, by block and number."""

    rank: Ints
    """Rank of the object that each claim is painted as, from 1; 0 for those that are not."""

    is_fragment: Flags
    """Whether a claim is painted in its block's own chunk only."""

    is_owned: Flags
    """Whether the object's mask is an owner's, by rank; [0] is unused."""

    num_fragments: Ints
    """Fragments by rank, 0 for an object that is painted as one mask; [0] is unused."""

    num_own: Ints
    """Voxels that the fragments have in their chunks, by rank, 0 for one mask; [0] is unused."""

    num_matches: int
    """Pairs of claims that were taken for the same object."""

    num_covered: int
    """Objects left out because others cover most of them."""


def merge_evidence(parts: Sequence[Evidence]) -> Evidence:
    """Combine what blocks know; the blocks of each part come before those of the next."""
    claims = Claims(*_columns([p.claims for p in parts], Claims))
    return Evidence(claims, merge_matches([p.matches for p in parts]))


def merge_matches(parts: Sequence[Matches]) -> Matches:
    """Put matches one after the other."""
    return Matches(*_columns(parts, Matches))


def _columns(tables: Sequence[Any], kind: Any) -> list[npt.NDArray[Any]]:
    return [np.concatenate([getattr(t, f.name) for t in tables]) for f in fields(kind)]


def check_min_overlap(min_overlap: float) -> None:
    """Refuse a share that is none.

    Raises
    ------
    ConfigError
        If it is outside [0, 1).
    """
    if not 0 <= min_overlap < 1:
        msg = (
            f"min_overlap is a part of an object, at least 0 and below 1, got {min_overlap}. "
            "0.5 is usual."
        )
        raise ConfigError(msg)


def judge(evidence: Evidence, *, num_blocks: int) -> Verdict:
    """Decide which claims are the same object, and whose mask it gets.

    Parameters
    ----------
    evidence : Evidence
        Of all blocks, claims by block and number; matches in any order.
    num_blocks : int
        Blocks of the volume.

    Returns
    -------
    verdict : Verdict

    Notes
    -----
    The rule, for a pair of claims that are each other's best partner:

    1. If one of them goes on where the block of the other does not see, the other is cut off, and
       no more whole than if it touched the border.
    2. Two whole claims are the same object. A set of such claims holds one of each block at most:
       a weaker pair that would break this does not count.
    3. A claim that is not whole, all of it in sight of a block with a whole partner, adds nothing.
    4. Two claims that are both not whole are fragments of one object, longer than the halo.

    The mask of a set is the owner's, of several owners' that with the greatest score, then with
    the first centroid; without an owner it is the largest. A mask more than half of which lies
    under masks of higher priority is left out. Fragments are painted each in its own
    block's chunk. About 200 bytes a claim and pair; a sort.
    """
    claims, matches = evidence.claims, evidence.matches
    starts = np.searchsorted(claims.block, np.arange(num_blocks))
    rows = starts[matches.blocks] + matches.numbers - 1
    links = _classify(claims, matches, rows)
    chosen = _choose(claims, matches, rows, links)
    chosen, num_covered = _drop_covered(claims, matches, rows, chosen)
    rank = np.zeros(len(claims), np.int64)
    rank[chosen] = np.arange(1, len(chosen) + 1)
    root = np.arange(len(claims))
    ends = rows[links.is_union]
    unite_edges(root, np.ascontiguousarray(ends[:, 0]), np.ascontiguousarray(ends[:, 1]))
    is_fragment = ~links.is_whole & ~links.is_absorbed
    fragments = np.flatnonzero(is_fragment)
    united, place = np.unique(root[fragments], return_inverse=True)
    order = _order_unions(claims, fragments, place, len(united))
    rank[fragments] = 1 + len(chosen) + order[place]
    num_objects = 1 + len(chosen) + len(united)
    return Verdict(
        claims=claims,
        rank=rank,
        is_fragment=is_fragment,
        is_owned=np.concatenate(([False], claims.is_owner[chosen], np.zeros(len(united), bool))),
        num_fragments=np.bincount(rank[fragments], minlength=num_objects),
        num_own=_sums(rank[fragments], claims.num_own[fragments], num_objects),
        num_matches=int(links.is_used.sum()),
        num_covered=num_covered,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Links:
    """What matches mean; flags of claims and of matches."""

    is_whole: Flags
    is_absorbed: Flags
    is_same: Flags
    is_union: Flags
    is_used: Flags


def _classify(claims: Claims, matches: Matches, rows: Ints) -> _Links:
    """Tell apart same objects, absorbed claims and fragments of one object."""
    goes_on = claims.count[rows] > matches.inside
    is_whole = claims.is_whole.copy()
    for side in range(2):
        is_whole[rows[matches.is_best & goes_on[:, side], 1 - side]] = False
    whole = is_whole[rows]
    any_link = matches.is_best | matches.has_best_piece
    is_same = matches.is_best & whole.all(axis=1)
    is_union = any_link & ~whole.any(axis=1)
    is_absorbed = np.zeros(len(claims), bool)
    is_used = is_same | is_union
    for side in range(2):
        absorbs = any_link & ~whole[:, side] & whole[:, 1 - side] & ~goes_on[:, side]
        is_absorbed[rows[absorbs, side]] = True
        is_used |= absorbs
    # a fragment that a whole mask stands for joins nothing any more
    is_union &= ~is_absorbed[rows].any(axis=1)
    return _Links(is_whole, is_absorbed, is_same, is_union, is_used)


def _choose(claims: Claims, matches: Matches, rows: Ints, links: _Links) -> Ints:
    """Rows of the whole claims whose masks are painted, by priority."""
    same = np.flatnonzero(links.is_same)
    iou = matches.overlap / (matches.inside.sum(axis=1) - matches.overlap)
    # block, number: a block's objects are numbered by first voxels, so this is no arrival order
    same = same[np.lexsort((rows[same, 1], rows[same, 0], -matches.overlap[same], -iou[same]))]
    ends = rows[same]
    root = unite_claims(
        np.ascontiguousarray(ends[:, 0]), np.ascontiguousarray(ends[:, 1]), claims.block
    )
    whole = np.flatnonzero(links.is_whole)
    owner = claims.is_owner[whole]
    size = np.where(owner, 0, -claims.count[whole])
    keys = (claims.block, claims.first, claims.centre)
    order = np.lexsort((*(k[whole] for k in keys), -claims.score[whole], size, ~owner, root[whole]))
    ordered = whole[order]
    chosen = ordered[np.diff(root[ordered], prepend=-1) != 0]
    priority = np.lexsort(
        (
            claims.block[chosen],
            claims.first[chosen],
            -claims.score[chosen],
        )
    )
    return chosen[priority]


def _drop_covered(claims: Claims, matches: Matches, rows: Ints, chosen: Ints) -> tuple[Ints, int]:
    """Leave out masks that masks of higher priority cover for the most part."""
    place = np.full(len(claims), -1)
    place[chosen] = np.arange(len(chosen))
    ends = place[rows]
    both = (ends >= 0).all(axis=1)
    ends, overlap = ends[both], matches.overlap[both]
    later, earlier = ends.max(axis=1), ends.min(axis=1)
    order = np.argsort(later, kind="stable")
    starts = np.searchsorted(later[order], np.arange(len(chosen) + 1))
    stands = drop_covered(claims.count[chosen], starts, earlier[order], overlap[order], MOST)
    return chosen[stands], int((~stands).sum())


def _order_unions(claims: Claims, fragments: Ints, place: Ints, num_unions: int) -> Ints:
    """Rank, from 0, of each union: by its best score, then its first voxel."""
    score = np.full(num_unions, -np.inf)
    first = np.full(num_unions, np.iinfo(np.int64).max)
    np.maximum.at(score, place, claims.score[fragments])
    np.minimum.at(first, place, claims.first[fragments])
    rank = np.empty(num_unions, np.int64)
    rank[np.lexsort((first, -score))] = np.arange(num_unions)
    return rank


def _sums(keys: Ints, values: Ints, size: int) -> Ints:
    total = np.zeros(size, np.int64)
    np.add.at(total, keys, values)
    return total
