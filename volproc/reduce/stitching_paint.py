"""Painting of stitched objects, chunk by chunk, their final ids, and the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.types import Index, axis_names, region_shape
from volproc.reduce.objects import measure_block
from volproc.reduce.stitching import Ints
from volproc.reduce.stitching_grid import OverlapGrid, common, within
from volproc.reduce.stitching_kernels import paint_lowest
from volproc.reduce.stitching_rule import MOST, Verdict
from volproc.reduce.tables import ObjectTable


@dataclass(frozen=True, slots=True, eq=False)
class Palette:
    """What is painted in one chunk: its own part of a verdict."""

    ranks: Ints
    """Ranks of the objects that may show here, ascending: entry ``i`` is painted as ``i + 1``."""

    givers: tuple[tuple[Index, Ints, Ints], ...]
    """Blocks whose masks reach in: index, numbers of the objects there, what they are painted
    as."""


@dataclass(frozen=True, slots=True, eq=False)
class StitchReport:
    """What stitching found.

    Boxes are half-open, ``z_min`` … ``x_max``, in voxels; a micrograph has no ``z``.
    """

    num_objects: int
    """Objects in the volume, which is also the greatest label."""

    num_claims: int
    """Objects that blocks found, all blocks together."""

    num_matches: int
    """Pairs of claims in two blocks that were taken for the same object."""

    num_covered: int
    """Objects left out because objects of higher priority cover most of them."""

    united: pd.DataFrame
    """Objects longer than the halo, put together from fragments that their blocks cut off:
    ``label``, ``num_fragments``, ``num_voxels``, box."""

    unclaimed: pd.DataFrame
    """Objects that no block owns: ``label``, ``is_fragment`` (a single one that its block cuts
    off and no other confirms, painted in that block's chunk; or else a whole mask whose centroid
    lies in a chunk where it was not found), ``num_voxels``, box."""


@dataclass(frozen=True, slots=True, eq=False)
class Numbering:
    """Final labels of a verdict's objects."""

    label: Ints
    """Label by rank, 0 for objects that are not seen in the volume; [0] is 0."""

    report: StitchReport


def pick_palette(verdict: Verdict, *, grid: OverlapGrid, index: Index) -> Palette:
    """Select what one chunk needs of a verdict: objects whose boxes reach into it."""
    chunk = grid.chunk(index)
    claims = verdict.claims
    found: list[tuple[Index, Ints, Ints]] = []
    for giver in grid.givers(index):
        rows = _rows_of(claims.block, grid.ordinal(giver))
        reaches = verdict.rank[rows] > 0
        if giver != index:
            reaches &= ~verdict.is_fragment[rows]
        for axis, span in enumerate(chunk):
            reaches &= claims.lower[rows, axis] < span.stop
            reaches &= claims.upper[rows, axis] > span.start
        if reaches.any():
            found.append((giver, claims.number[rows][reaches], verdict.rank[rows][reaches]))
    ranks = np.unique(np.concatenate([np.zeros(0, np.int64), *(r for _, _, r in found)]))
    places = tuple((i, numbers, np.searchsorted(ranks, r) + 1) for i, numbers, r in found)
    return Palette(ranks, places)


def _rows_of(block: Ints, ordinal: int) -> slice:
    return slice(*np.searchsorted(block, (ordinal, ordinal + 1)))


def paint_chunk(
    palette: Palette,
    read: Callable[[Index], npt.NDArray[np.uint32]],
    *,
    grid: OverlapGrid,
    index: Index,
) -> tuple[npt.NDArray[np.uint32], ObjectTable]:
    """Paint the objects of one chunk.

    Parameters
    ----------
    palette : Palette
        What shows here.
    read : callable
        Gives the numbered objects of a whole block by its index.
    grid : OverlapGrid
        How the volume is cut.
    index : tuple of int
        Which chunk.

    Returns
    -------
    painted : ndarray of uint32
        Objects of the chunk, numbered from 1 as ``palette.ranks`` lists them.
    table : ObjectTable
        Their measurements, by rank.

    Notes
    -----
    One block is held at a time beside the chunk.
    """
    chunk = grid.chunk(index)
    painted = np.zeros(region_shape(chunk), np.uint32)
    for giver, numbers, places in palette.givers:
        block = grid.block(giver)
        shared = common(chunk, block)
        labels = np.ascontiguousarray(read(giver)[within(shared, block)])
        ranks = np.zeros(max(numbers.max(), labels.max()) + 1, np.uint32)
        ranks[numbers] = places
        view = painted[within(shared, chunk)]
        part = np.ascontiguousarray(view)
        paint_lowest(labels.reshape(-1), ranks, part.reshape(-1))
        view[...] = part
    offset = tuple(s.start for s in chunk)
    table = measure_block(painted, offset=offset, shape=grid.shape)
    return painted, table.with_labels(palette.ranks[table.label - 1])


def number_objects(verdict: Verdict, painted: ObjectTable) -> Numbering:
    """Give the objects that are seen their labels, by their first voxels in raster order.

    Parameters
    ----------
    verdict : Verdict
        Of all blocks.
    painted : ObjectTable
        Of all chunks, by rank. United fragments more than half of which lie under masks are left
        out.
    """
    own = verdict.num_own[painted.label]
    is_covered = own - painted.count > MOST * own
    is_covered &= verdict.num_fragments[painted.label] > 0
    seen = painted.select(~is_covered)
    order = np.argsort(seen.first)
    label = np.zeros(len(verdict.num_own), np.int64)
    label[seen.label[order]] = np.arange(1, len(seen) + 1)
    objects = seen.select(order)
    rank = objects.label
    fragments = verdict.num_fragments[rank]
    is_unclaimed = ~verdict.is_owned[rank] & (fragments < 2)
    report = StitchReport(
        num_objects=len(objects),
        num_claims=len(verdict.claims),
        num_matches=verdict.num_matches,
        num_covered=verdict.num_covered + int(is_covered.sum()),
        united=_frame(objects, fragments > 1, "num_fragments", fragments),
        unclaimed=_frame(objects, is_unclaimed, "is_fragment", fragments == 1),
    )
    return Numbering(label, report)


def _frame(
    objects: ObjectTable, keep: npt.NDArray[Any], name: str, values: npt.NDArray[Any]
) -> pd.DataFrame:
    rows = objects.select(keep)
    columns: dict[str, npt.NDArray[Any]] = {
        "label": np.flatnonzero(keep) + 1,
        name: values[keep],
        "num_voxels": rows.count,
    }
    for i, axis in enumerate(axis_names(objects.ndim)):
        columns[f"{axis}_min"] = rows.lower[:, i]
        columns[f"{axis}_max"] = rows.upper[:, i]
    return pd.DataFrame(columns)
