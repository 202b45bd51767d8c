"""Instances of overlapping blocks: what a block claims, and which claims mean the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt

from volproc.core.errors import DtypeError, NonFiniteError, ShapeError
from volproc.core.types import Index, Region, region_shape
from volproc.reduce.geometry_kernels import measure_any
from volproc.reduce.objects import table_from_rows
from volproc.reduce.placement import lift
from volproc.reduce.stitching_grid import OverlapGrid, within
from volproc.reduce.stitching_kernels import count_pairs, write_numbers, write_owners
from volproc.reduce.tables import ObjectTable

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Labels = npt.NDArray[Any]
Scores = npt.NDArray[Any] | Mapping[int, float] | None
"""Confidence: a value a voxel, whose mean under an object counts; or a value a label."""


@dataclass(frozen=True, slots=True, eq=False)
class Claims:
    """Objects that blocks have found, as columns; one row a block and object.

    A block's objects are numbered 1..n by their first voxels in the block, whatever labels they
    came with. Rows ascend by block, then number. ``d`` is the number of axes.
    """

    block: Ints
    """Place of the block in raster order, (n,)."""

    number: Ints
    """Number of the object in its block, (n,)."""

    count: Ints
    """Voxels of the object that the block sees, (n,)."""

    first: Ints
    """Raster index of the first of them in the volume, (n,)."""

    centre: Ints
    """Raster index of the voxel that holds their centroid, (n,)."""

    num_own: Ints
    """How many of them lie in the block's chunk, (n,)."""

    is_whole: Flags
    """Whether the object stays clear of the block's outer planes, those of the volume's edge
    apart, (n,)."""

    is_owner: Flags
    """Whether the centroid lies in the block's chunk, and the object is whole, (n,)."""

    score: npt.NDArray[np.float64]
    """Confidence, comparable between blocks; 0 where none is given, (n,)."""

    lower: Ints
    """First voxel of the box, (n, d)."""

    upper: Ints
    """End of the box, exclusive, (n, d)."""

    def __len__(self) -> int:
        return len(self.block)


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Pairs of claims of two blocks that have voxels in common, as columns."""

    blocks: Ints
    """Places of the two blocks in raster order, the earlier first, (n, 2)."""

    numbers: Ints
    """Numbers of the two objects in their blocks, (n, 2)."""

    overlap: Ints
    """Voxels in common, (n,)."""

    inside: Ints
    """Voxels of each that both blocks see, (n, 2)."""

    is_best: Flags
    """Whether each is the other's best partner, and the overlap is large enough, (n,)."""

    has_best_piece: Flags
    """Whether that holds for two connected pieces of them in the region that both see, (n,)."""

    def __len__(self) -> int:
        return len(self.overlap)


def claim_objects(
    labels: Labels, *, grid: OverlapGrid, index: Index, scores: Scores = None
) -> tuple[npt.NDArray[np.uint32], Claims]:
    """Number the objects of one block, and say what the block knows of them.

    Parameters
    ----------
    labels : ndarray of int, (z, y, x) or (y, x)
        Instances in a block with its halo, numbered in any way; 0 is background.
    grid : OverlapGrid
        How the volume is cut.
    index : tuple of int
        Which block.
    scores : ndarray of the same shape, or mapping of label to float, optional
        Confidence of the objects, comparable between blocks.

    Returns
    -------
    numbers : ndarray of uint32
        Objects 1..n of this block, by their first voxels.
    claims : Claims

    Raises
    ------
    DtypeError
        If the labels are not integers, or negative.
    NonFiniteError
        If a score is NaN or infinite.
    ShapeError
        If the block has another shape than the grid says, or the scores do not fit.

    Notes
    -----
    Two passes over the block and one over its chunk; about 150 bytes an object.
    """
    region = grid.block(index)
    _check_block(labels, region)
    wide = np.ascontiguousarray(labels, np.uint32 if labels.dtype.itemsize <= 4 else np.uint64)
    offset = tuple(s.start for s in region)
    rows, keys, places = measure_any(lift(wide))
    numbers = np.zeros(labels.shape, np.uint32)
    write_numbers(wide.reshape(-1), keys, places, numbers.reshape(-1))
    ids = np.arange(1, len(rows) + 1)
    table = table_from_rows(rows, ids, offset, grid.shape, labels.shape)
    own = numbers[within(grid.chunk(index), region)]
    num_own = np.bincount(own.reshape(-1), minlength=len(ids) + 1)[1:]
    score = _mean_scores(numbers, labels, scores, len(ids))
    return numbers, _describe(table, num_own, score, grid, index)


def _check_block(labels: Labels, region: Region) -> None:
    if labels.dtype.kind not in "iub":
        msg = f"instances are integers, got {labels.dtype}. Convert them to integer labels."
        raise DtypeError(msg)
    if labels.shape != region_shape(region):
        msg = (
            f"a block of shape {region_shape(region)} got labels of shape {labels.shape}. Give "
            "labels for the whole block, halo included."
        )
        raise ShapeError(msg)
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        msg = (
            f"labels are positive with 0 as background, got {labels.min()}. Replace negative ones."
        )
        raise DtypeError(msg)


def _mean_scores(
    numbers: npt.NDArray[np.uint32], labels: Labels, scores: Scores, num_objects: int
) -> npt.NDArray[np.float64]:
    """Score of each object, by number."""
    if scores is None or num_objects == 0:
        return np.zeros(num_objects)
    if isinstance(scores, Mapping):
        _, places = np.unique(numbers, return_index=True)
        ids = labels.reshape(-1)[places[-num_objects:]].tolist()
        missing = [i for i in ids if i not in scores]
        if missing:
            msg = f"label {missing[0]} has no score, got {len(scores)}. Give one for each label."
            raise ShapeError(msg)
        score = np.array([scores[i] for i in ids], np.float64)
    else:
        values = np.asarray(scores, np.float64)
        if values.shape != labels.shape:
            msg = (
                f"labels and scores differ in shape, got {labels.shape} and {values.shape}. Give a "
                "score for each voxel, or a mapping of label to score."
            )
            raise ShapeError(msg)
        flat = numbers.reshape(-1)
        score = np.bincount(flat, values.reshape(-1))[1:] / np.bincount(flat)[1:]
    if not np.isfinite(score).all():
        broken = int((~np.isfinite(score)).sum())
        msg = f"scores are finite numbers, got NaN or infinity for {broken} objects. Replace them."
        raise NonFiniteError(msg)
    return score


def _describe(
    table: ObjectTable,
    num_own: Ints,
    score: npt.NDArray[np.float64],
    grid: OverlapGrid,
    index: Index,
) -> Claims:
    region, chunk = grid.block(index), grid.chunk(index)
    count = table.count[:, None]
    centre = (2 * table.sums + count) // (2 * count)  # the voxel that holds the centroid
    is_whole = np.ones(len(table), bool)
    is_inside = np.ones(len(table), bool)
    for axis, (seen, own, size) in enumerate(zip(region, chunk, grid.shape, strict=True)):
        is_whole &= (table.lower[:, axis] > seen.start) | (seen.start == 0)
        is_whole &= (table.upper[:, axis] < seen.stop) | (seen.stop == size)
        is_inside &= (centre[:, axis] >= own.start) & (centre[:, axis] < own.stop)
    strides = np.cumprod((1, *grid.shape[:0:-1]))[::-1]
    return Claims(
        block=np.full(len(table), grid.ordinal(index)),
        number=table.label,
        count=table.count,
        first=table.first,
        centre=centre @ strides,
        num_own=num_own.astype(np.int64),
        is_whole=is_whole,
        is_owner=is_whole & is_inside,
        score=score,
        lower=table.lower,
        upper=table.upper,
    )


def match_blocks(
    one: npt.NDArray[np.uint32],
    other: npt.NDArray[np.uint32],
    *,
    places: tuple[int, int],
    min_overlap: float,
) -> Matches:
    """Find the objects of two blocks that claim the same voxels.

    Parameters
    ----------
    one, other : ndarray of uint32, same shape
        Numbered objects of two blocks in the region that both see.
    places : tuple of int
        Places of the two blocks in raster order.
    min_overlap : float
        Least part of the smaller of two objects, exclusive, that has to be in common.

    Returns
    -------
    matches : Matches
        All pairs with common voxels.

    Notes
    -----
    The best partner has the greatest intersection over union in the region; of equal ones, the
    one whose first voxel comes first. Objects are compared as wholes, and once more piece by
    piece: what one block sees as two pieces that touch its border may be one object for another,
    which sees where they join. Linear in the voxels of the region.
    """
    if not (one.any() and other.any()):
        return empty_matches()
    pieces = [_split(one), _split(other)]
    runs = count_pairs(pieces[0][0].reshape(-1), pieces[1][0].reshape(-1))
    if not len(runs):
        return empty_matches()
    pairs, overlap, _ = _sum_pairs(runs[:, :2], runs[:, 2])
    sizes = [np.bincount(p.reshape(-1)) for p, _ in pieces]
    inside = np.stack([sizes[0][pairs[:, 0]], sizes[1][pairs[:, 1]]], axis=1)
    is_best_piece = _are_best(pairs, overlap, inside, min_overlap)
    owners = np.stack([pieces[0][1][pairs[:, 0]], pieces[1][1][pairs[:, 1]]], axis=1)
    numbers, common_voxels, row = _sum_pairs(owners, overlap)
    has_best_piece = np.zeros(len(numbers), bool)
    has_best_piece[row[is_best_piece]] = True
    sizes = [np.bincount(v.reshape(-1)) for v in (one, other)]
    inside = np.stack([sizes[0][numbers[:, 0]], sizes[1][numbers[:, 1]]], axis=1)
    return Matches(
        blocks=np.tile(np.array(places, np.int64), (len(numbers), 1)),
        numbers=numbers,
        overlap=common_voxels,
        inside=inside,
        is_best=_are_best(numbers, common_voxels, inside, min_overlap),
        has_best_piece=has_best_piece,
    )


def _split(labels: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.uint32], Ints]:
    """Connected pieces of labels, numbered from 1, and the label of each by number.

    Pieces are connected by faces alone: whatever connectivity made the labels, two blocks that
    agree on the voxels then agree on the pieces.
    """
    pieces, num_pieces = cc3d.connected_components(
        lift(labels), connectivity=6, return_N=True, out_dtype=np.uint32
    )
    owners = np.zeros(num_pieces + 1, np.int64)
    write_owners(pieces.reshape(-1), np.ascontiguousarray(labels).reshape(-1), owners)
    return pieces, owners


def _sum_pairs(pairs: Ints, voxels: Ints) -> tuple[Ints, Ints, Ints]:
    """Unite equal pairs: the pairs, their voxels, and the row that each went into."""
    base = pairs[:, 1].max() + 1
    keys, row = np.unique(pairs[:, 0] * base + pairs[:, 1], return_inverse=True)
    total = np.zeros(len(keys), np.int64)
    np.add.at(total, row, voxels)
    return np.stack([keys // base, keys % base], axis=1), total, row


def _are_best(pairs: Ints, overlap: Ints, inside: Ints, min_overlap: float) -> Flags:
    """Mutual best partners with enough in common."""
    iou = overlap / (inside.sum(axis=1) - overlap)
    is_best = overlap > min_overlap * inside.min(axis=1)
    for side in range(2):
        order = np.lexsort((pairs[:, 1 - side], -iou, pairs[:, side]))
        begins = np.diff(pairs[order, side], prepend=-1) != 0
        favourite = np.zeros(len(pairs), bool)
        favourite[order[begins]] = True
        is_best &= favourite
    return is_best


def empty_claims(ndim: int) -> Claims:
    """Return claims without rows."""
    none, vectors, flags = np.zeros(0, np.int64), np.zeros((0, ndim), np.int64), np.zeros(0, bool)
    return Claims(none, none, none, none, none, none, flags, flags, np.zeros(0), vectors, vectors)


def empty_matches() -> Matches:
    """Return matches without rows."""
    none, pairs, flags = np.zeros(0, np.int64), np.zeros((0, 2), np.int64), np.zeros(0, bool)
    return Matches(pairs, pairs, none, pairs, flags, flags)
