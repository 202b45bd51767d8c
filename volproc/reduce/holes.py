"""Holes of objects: regions of background that one object alone keeps from the outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt

from volproc.core.errors import DtypeError, ShapeError
from volproc.core.types import Shape
from volproc.reduce.components import merge_links
from volproc.reduce.hole_kernels import nearest_separators
from volproc.reduce.label_kernels import find_contacts, first_voxels
from volproc.reduce.numbering import Ints, Labels, Names, number_block
from volproc.reduce.placement import global_index, lift

Regions = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True, eq=False)
class BlockRegions:
    """Objects and regions of background in one block; a region has a number from 1.

    A *name* tells regions apart in the whole volume: the label of an object, and ``-1 - first``
    with the raster index of its first voxel for a block's part of the background.
    """

    names: Ints
    """Name of each region, (n,)."""

    owners: Names
    """Label of the object that fills the region, (n,), where the block alone shows it; else 0."""

    contacts: Ints
    """Names of regions that share a face in the block, (m, 2)."""

    outside: Ints
    """Names of regions at the edge of the volume."""


def find_regions(labels: Labels, *, offset: Shape, shape: Shape) -> tuple[Regions, BlockRegions]:
    """Number objects and connected background of one block.

    Parameters
    ----------
    labels : ndarray of int or bool, (z, y, x) or (y, x)
        Instances, 0 = background, below 2**63.
    offset, shape : tuple of int
        First voxel of the block in the volume, and size of the volume.

    Returns
    -------
    numbers : ndarray of uint32
        1..n everywhere: objects first, then background that is connected by faces.
    regions : BlockRegions

    Raises
    ------
    DtypeError
        If labels are not integers, negative or too large.

    Notes
    -----
    Background that does not reach a face of the block and touches one object is a hole of it: it
    is settled here, and does not travel.
    """
    block = number_block(labels, offset=offset, shape=shape)
    label = block.table.label
    if (label >= 2**63).any():
        msg = f"labels reach up to {2**63 - 1}, got {label.max()}. Use volproc.relabel first."
        raise DtypeError(msg)
    numbers = lift(block.numbers)
    empty = numbers == 0
    gaps, num_gaps = cc3d.connected_components(
        empty, connectivity=6, return_N=True, out_dtype=np.uint32
    )
    first = global_index(first_voxels(gaps.reshape(-1), num_gaps), labels.shape, offset, shape)
    np.add(gaps, np.uint32(len(label)), out=numbers, where=empty)
    names = np.concatenate([label.astype(np.int64), -1 - first])
    numbers = numbers.reshape(labels.shape)
    pairs = find_contacts(lift(numbers)).astype(np.int64) - 1
    owners = _closed_gaps(numbers, pairs, label)
    is_open = (owners[pairs] == 0).all(1)
    outside = _on_planes(
        numbers,
        [
            (axis, side)
            for axis in range(labels.ndim)
            for side in (0, 1)
            if (side == 0 and offset[axis] == 0)
            or (side == 1 and offset[axis] + labels.shape[axis] == shape[axis])
        ],
    )
    return numbers, BlockRegions(names, owners, names[pairs[is_open]], names[outside])


def _closed_gaps(numbers: Regions, pairs: Ints, label: Names) -> Names:
    """Owner of each region that is background, within the block and beside one object."""
    num_regions = int(numbers.max())
    owners = np.zeros(num_regions, np.uint64)
    planes = [(axis, side) for axis in range(numbers.ndim) for side in (0, 1)]
    is_closed = np.bincount(pairs.reshape(-1), minlength=num_regions) == 1
    is_closed[_on_planes(numbers, planes)] = False
    is_closed[: len(label)] = False
    for gap, other in ((0, 1), (1, 0)):
        rows = pairs[is_closed[pairs[:, gap]]]
        owners[rows[:, gap]] = label[rows[:, other]]
    return owners


def _on_planes(numbers: Regions, planes: Sequence[tuple[int, int]]) -> npt.NDArray[np.intp]:
    """Regions, counted from 0, that show on some outer planes (axis, side)."""
    shown = np.zeros(int(numbers.max()), bool)
    for axis, side in planes:
        shown[numbers.take(-side, axis).reshape(-1) - np.uint32(1)] = True
    return np.flatnonzero(shown)


def touching_names(lower: Regions, lower_names: Ints, upper: Regions, upper_names: Ints) -> Ints:
    """Names of regions that face each other across two planes.

    Parameters
    ----------
    lower, upper : ndarray of uint32, (y, x) or (x,)
        Region numbers of the last plane of one block, and of the first one of the next.
    lower_names, upper_names : ndarray of int64
        `BlockRegions.names` of the two.

    Returns
    -------
    contacts : ndarray of int64, (n, 2)
        Each pair once; two names of background are one region, two of objects differ.

    Raises
    ------
    ShapeError
        If the planes differ in shape.
    """
    if lower.shape != upper.shape:
        msg = f"facing planes differ in shape, got {lower.shape} and {upper.shape}."
        raise ShapeError(msg)
    both = (lower.reshape(-1).astype(np.uint64) << np.uint64(32)) | upper.reshape(-1)
    pairs = np.unique(both)
    low = lower_names[(pairs >> np.uint64(32)).astype(np.int64) - 1]
    high = upper_names[(pairs & np.uint64(0xFFFFFFFF)).astype(np.int64) - 1]
    return np.stack([low, high], axis=1)[low != high]


def merge_contacts(parts: Sequence[Ints]) -> Ints:
    """Merge contacts, in any order and any tree: each pair once, ascending."""
    pairs = np.sort(np.concatenate([np.zeros((0, 2), np.int64), *parts]), axis=1)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    is_new = np.ones(len(pairs), bool)
    is_new[1:] = (pairs[1:] != pairs[:-1]).any(1)
    return pairs[is_new]


def find_holes(contacts: Ints, outside: Ints) -> tuple[Ints, Names]:
    """Find the background that an object keeps from the outside.

    Parameters
    ----------
    contacts : ndarray of int64, (n, 2)
        Of the whole volume, merged.
    outside : ndarray of int64
        Names of regions at the edge of the volume.

    Returns
    -------
    names : ndarray of int64, (m,)
        Parts of the background that are holes, ascending.
    owners : ndarray of uint64, (m,)
        Label of the object that each belongs to: of several that enclose it, the innermost.

    Notes
    -----
    Linear in the contacts; about 150 bytes a contact. Regions are nodes, contacts are edges, and
    the outside is one more node. A region is a hole of an object if each way from the outside
    passes the object's node.

    References
    ----------
    J. Hopcroft and R. Tarjan, "Algorithm 447: efficient algorithms for graph manipulation",
    Communications of the ACM 16 (1973) 372-378.

    Examples
    --------
    >>> find_holes(np.array([[-1, 5], [-8, 5]]), np.array([-1]))  # object 5 around a gap
    (array([-8]), array([5], dtype=uint64))
    """
    is_same = (contacts < 0).all(1)
    links = merge_links([contacts[is_same]])
    every = np.unique(np.concatenate([contacts.reshape(-1), outside]))
    begin = every.copy()
    begin[np.searchsorted(every, links[:, 0])] = links[:, 1]
    node_names = np.unique(begin)
    node = np.searchsorted(node_names, begin) + 1
    edges = node[np.searchsorted(every, contacts[~is_same])].reshape(-1, 2)
    at_edge = node[np.searchsorted(every, outside)]
    edges = np.concatenate([edges, np.stack([np.zeros_like(at_edge), at_edge], axis=1)])
    edges = np.concatenate([edges, edges[:, ::-1]])
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    starts = np.searchsorted(edges[:, 0], np.arange(len(node_names) + 2))
    is_object = np.concatenate([[False], node_names > 0])
    nearest = nearest_separators(starts, np.ascontiguousarray(edges[:, 1]), is_object)
    owner = nearest[node]
    is_hole = (every < 0) & (owner > 0)
    return every[is_hole], node_names[owner[is_hole] - 1].astype(np.uint64)
