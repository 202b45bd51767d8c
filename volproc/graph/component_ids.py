"""Ids of components across blocks: the tasks of the tree of super-blocks.

What a super-block joins waits in scratch storage for the way down: only what shows on its outer
sides is handed from task to task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import DtypeError
from volproc.graph.scratch import ScratchUse
from volproc.io.scratch_tables import ScratchTables
from volproc.reduce.superblocks import (
    Outside,
    SuperBlock,
    closed_sets,
    deliver_ids,
    join_parts,
    rank_beginnings,
)

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """What goes up the tree."""

    outside: Outside

    scratch: ScratchUse
    """Keeps the rest in scratch storage, as in all results here: see `ScratchUse`."""


@dataclass(frozen=True, slots=True, eq=False)
class Numbering:
    """How many objects begin in each layer of super-blocks."""

    starts: Ints
    """First raster index of each layer."""

    offsets: Ints
    """Objects before each layer."""

    num_objects: int
    """All of them."""

    scratch: ScratchUse


@dataclass(frozen=True, slots=True, eq=False)
class Ids:
    """What a super-block hands to its parts."""

    numbering: Numbering

    parts: tuple[Ints, ...]
    """For each part, the ids of the sets that it left open."""


@dataclass(frozen=True, slots=True, eq=False)
class Luts:
    """Labels of the components of a few blocks: each block needs its own table only."""

    tables: tuple[npt.NDArray[Any], ...]
    """For each block, label in the volume by local label; 0 for 0."""

    scratch: ScratchUse


def keep(
    block: SuperBlock,
    name: str,
    tables: ScratchTables,
    scratch: ScratchUse,
    *,
    is_smallest: bool = False,
) -> Joined:
    """Put a super-block into scratch storage, and give what goes up."""
    tables.write(
        name,
        heads=np.concatenate([np.zeros(0, np.int64), *block.heads]),
        lengths=np.array([len(part) for part in block.heads], np.int64),
        open=block.outside.sets,
        news=block.beginnings if is_smallest else block.absorbed,
    )
    return Joined(block.outside, scratch)


def join_superblocks(
    parts: Sequence[Joined], outer_sides: Sequence[int], name: str, *, tables: ScratchTables
) -> Joined:
    """Join the parts of a larger super-block."""
    block = join_parts([p.outside for p in parts], outer_sides)
    return keep(block, name, tables, parts[0].scratch)


def rank_layer(
    top: Joined, layer: int, smallest: Sequence[str], larger: Sequence[str], tables: ScratchTables
) -> int:
    """Rank the first voxels of the objects that begin in one layer, and count them.

    ``top`` is what the tree ends with: by then every super-block is in scratch storage.
    """
    del top
    beginnings = rank_beginnings(
        (tables.read(name, "news")[0] for name in smallest),
        (tables.read(name, "news")[0] for name in larger),
    )
    tables.write_one(f"layer-{layer}", beginnings)
    return len(beginnings)


def number_layers(
    counts: Sequence[int], top: Joined, *, starts: Ints, dtype: np.dtype[Any]
) -> Numbering:
    """Objects before each layer, and their number.

    Raises
    ------
    DtypeError
        If the type cannot hold so many labels.
    """
    offsets = [0, *accumulate(counts)]
    if offsets[-1] > np.iinfo(dtype).max:
        msg = f"{offsets[-1]} objects do not fit into {dtype}. Use dtype=numpy.uint64."
        raise DtypeError(msg)
    return Numbering(starts, np.array(offsets[:-1], np.int64), offsets[-1], top.scratch)


def count_of(numbering: Numbering) -> int:
    """Number of objects."""
    return numbering.num_objects


def hand_down(above: Numbering | Ids, place: int, name: str, *, tables: ScratchTables) -> Ids:
    """Ids that a super-block hands to its parts; it is part ``place`` of the one above."""
    numbering = above if isinstance(above, Numbering) else above.numbering
    heads, lengths, still_open = tables.read(name, "heads", "lengths", "open")
    reached = above.parts[place] if isinstance(above, Ids) else np.zeros(0, np.int64)
    closed = _rank(closed_sets(heads, still_open), numbering, tables)
    ids = deliver_ids(heads, still_open, closed, reached)
    return Ids(numbering, tuple(np.split(ids, np.cumsum(lengths)[:-1])))


def luts_of_blocks(
    above: Numbering | Ids, place: int, name: str, *, tables: ScratchTables, dtype: np.dtype[Any]
) -> Luts:
    """Labels of the blocks of a smallest super-block."""
    ids = hand_down(above, place, name, tables=tables)
    none = np.zeros(1, np.int64)
    luts = tuple(np.concatenate([none, part]).astype(dtype) for part in ids.parts)
    return Luts(luts, ids.numbering.scratch)


def _rank(heads: Ints, numbering: Numbering, tables: ScratchTables) -> Ints:
    """Ids of objects by their first voxels, ascending."""
    layers = np.searchsorted(numbering.starts, heads, side="right") - 1
    ids = np.zeros(len(heads), np.int64)
    for layer in np.unique(layers):
        mine = layers == layer
        beginnings = tables.map_one(f"layer-{layer}")
        ids[mine] = np.searchsorted(beginnings, heads[mine]) + numbering.offsets[layer] + 1
    return ids
