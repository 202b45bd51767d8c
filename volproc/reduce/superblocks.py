"""A tree of super-blocks: components are joined on the way up, and get their ids on the way down.

    block, block, …  ──► SuperBlock ──┐                      ┌──► ids of its blocks' components
                            outside   ├─► SuperBlock ─► … ─► │
    block, block, …  ──► SuperBlock ──┘    outside           └──► ids of its blocks' components

A *set* is what is known to be connected so far, named by its first voxel, its *head*. A super-block
joins the sets of its parts and tells its surroundings only of components on its own outer sides;
what it joined it keeps for the way down. A set that does not reach the outside is *closed*: it is
one object, and its head the object's first voxel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ShapeError
from volproc.reduce.component_kernels import unite_edges
from volproc.reduce.faces import BlockFaces, Links

Ints = npt.NDArray[np.int64]

EVERY_SIDE = 0b111111
"""The sum of all six bits of `volproc.reduce.faces.side_bit`."""


@dataclass(frozen=True, slots=True, eq=False)
class Outside:
    """What a block or super-block tells its surroundings.

    A component is named by its first voxel's raster index in the volume.
    """

    names: Ints
    """Components on the outer sides, (n,). Those of a block are all its components."""

    heads: Ints
    """Set that each belongs to, (n,)."""

    sides: npt.NDArray[np.uint8]
    """Outer sides that show each, (n,), as the sum of `side_bit`."""

    links: Links
    """Contacts with components outside, (k, 2): the own set, then the name of the other one."""

    @property
    def sets(self) -> Ints:
        """Sets that may still be joined with others, ascending."""
        return np.unique(self.heads)


@dataclass(frozen=True, slots=True, eq=False)
class SuperBlock:
    """Parts that are joined among themselves."""

    heads: tuple[Ints, ...]
    """For each part, the set that each of its sets now belongs to; the part's `Outside.sets` are
    in the same order."""

    absorbed: Ints
    """Sets of the parts that turned out to be no object's beginning."""

    outside: Outside
    """What goes up the tree; the rest waits here for the way down."""

    @property
    def beginnings(self) -> Ints:
        """Heads of all sets, ascending: the first voxels of objects, as far as is known here."""
        return np.unique(_joined(self.heads))


def outside_of_block(first: Ints, faces: BlockFaces, links: Links) -> Outside:
    """Begin the tree with one block.

    Parameters
    ----------
    first : ndarray of int64, (n,)
        First voxels of the block's components, ascending; see `label_block`.
    faces : BlockFaces
        Of the block.
    links : ndarray of int64, (k, 2)
        What `join_faces` found for the block and its neighbours.
    """
    sides = np.zeros(len(first), np.uint8)
    sides[np.searchsorted(first, faces.first[1:])] = faces.sides[1:]
    is_own = _are_in(first, links[:, 0])
    return Outside(first, first, sides, np.where(is_own[:, None], links, links[:, ::-1]))


def join_parts(parts: Sequence[Outside], outer_sides: Sequence[int]) -> SuperBlock:
    """Join neighbouring blocks or super-blocks to one super-block.

    Parameters
    ----------
    parts : sequence of Outside
        In any order. Contacts with parts that are not among them stay open.
    outer_sides : sequence of int
        For each part, which of its sides are sides of the super-block, as the sum of `side_bit`.

    Raises
    ------
    ShapeError
        If there are not as many sides as parts.

    Notes
    -----
    Time and memory follow the components on the parts' outer sides, for blocks all components.
    """
    if len(parts) != len(outer_sides):
        msg = f"{len(outer_sides)} sides for {len(parts)} parts. Give the sides of each part."
        raise ShapeError(msg)
    names, order = np.unique(_joined(p.names for p in parts), return_index=True)
    heads = _joined(p.heads for p in parts)[order]
    shown = [p.sides & np.uint8(s) for p, s in zip(parts, outer_sides, strict=True)]
    sides = np.concatenate([np.zeros(0, np.uint8), *shown])[order]
    links = np.concatenate([np.zeros((0, 2), np.int64), *(p.links for p in parts)])
    is_inside = _are_in(names, links[:, 1])
    sets = np.unique(heads)
    own = np.searchsorted(sets, links[:, 0])
    other = np.searchsorted(sets, heads[np.searchsorted(names, links[is_inside, 1])])
    root = np.arange(len(sets))
    unite_edges(root, own[is_inside], other)
    united = sets[root]
    is_outer = sides > 0
    outside = Outside(
        names[is_outer],
        united[np.searchsorted(sets, heads[is_outer])],
        sides[is_outer],
        np.stack([united[own[~is_inside]], links[~is_inside, 1]], axis=1),
    )
    joined = tuple(united[np.searchsorted(sets, p.sets)] for p in parts)
    return SuperBlock(joined, sets[united != sets], outside)


def rank_beginnings(found: Iterable[Ints], absorbed: Iterable[Ints]) -> Ints:
    """Sort the first voxels of the objects that begin in one layer of the volume.

    Parameters
    ----------
    found : iterable of ndarray of int64
        `SuperBlock.beginnings` of the smallest super-blocks of the layer.
    absorbed : iterable of ndarray of int64
        `SuperBlock.absorbed` of all larger ones that reach into the layer; those of other layers
        do no harm.

    Returns
    -------
    beginnings : ndarray of int64
        Ascending. Layers along the first axis hold stretches of the raster order that do not
        mix, so an object's id is its rank here plus the objects of all layers before.
    """
    every = np.sort(_joined(found))
    gone = np.unique(_joined(absorbed))
    return every[~np.isin(every, gone, assume_unique=True)]


def closed_sets(heads: Ints, still_open: Ints) -> Ints:
    """Heads, ascending, of the sets of a super-block that no other one can reach.

    Parameters
    ----------
    heads : ndarray of int64
        Of all parts.
    still_open : ndarray of int64
        ``outside.sets`` of the super-block.
    """
    return np.setdiff1d(heads, still_open)


def deliver_ids(heads: Ints, still_open: Ints, closed_ids: Ints, open_ids: Ints) -> Ints:
    """Hand the ids of objects down to the parts of a super-block.

    Parameters
    ----------
    heads : ndarray of int64, (n,)
        Sets whose ids are wanted: those of its parts.
    still_open : ndarray of int64
        ``outside.sets`` of the super-block.
    closed_ids : ndarray of int64
        Ids of its `closed_sets`.
    open_ids : ndarray of int64
        Ids of ``still_open``, from the super-block above; none at the top.

    Returns
    -------
    ids : ndarray of int64, (n,)

    Raises
    ------
    ShapeError
        If the ids do not belong to this super-block.
    """
    known = np.concatenate([closed_sets(heads, still_open), still_open])
    ids = np.concatenate([closed_ids, open_ids])
    if len(known) != len(ids):
        msg = f"{len(ids)} ids for {len(known)} objects. Give the ids of this very super-block."
        raise ShapeError(msg)
    order = np.argsort(known)
    return ids[order][np.searchsorted(known, heads, sorter=order)]


def _joined(arrays: Iterable[Ints]) -> Ints:
    return np.concatenate([np.zeros(0, np.int64), *arrays])


def _are_in(names: Ints, wanted: Ints) -> npt.NDArray[np.bool_]:
    """Which of the wanted are among ascending names."""
    if not len(names):
        return np.zeros(len(wanted), bool)
    return names[np.minimum(np.searchsorted(names, wanted), len(names) - 1)] == wanted
