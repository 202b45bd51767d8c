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
from volproc.reduce.faces import Links
from volproc.reduce.hole_kernels import find_owners
from volproc.reduce.label_kernels import find_contacts, first_voxels
from volproc.reduce.numbering import Ints, Labels, Names, number_block
from volproc.reduce.placement import global_index, lift

Regions = npt.NDArray[np.uint32]

NO_PAIRS = np.zeros((0, 2), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class BlockRegions:
    """Regions of one block: voxels of one label, or of background, that are connected by faces.

    A region is named by the raster index of its first voxel in the volume; a row each.
    """

    names: Ints
    """Names, (n,), by the block's numbers."""

    labels: Ints
    """Label of the object that each is a piece of; 0 = background."""

    voxels: Ints
    """Sizes; those of settled regions count with the region around them."""

    owners: Names
    """Label that fills a region of background, where the block alone shows it: such a region is
    *settled*. Else 0."""

    contacts: Ints
    """Names of regions, none of them settled, that share a face in the block, (m, 2)."""

    outside: Ints
    """Names of regions at the edge of the volume."""

    def graph(self, links: Links, contacts: Ints) -> RegionGraph:
        """Return what is left to decide, with contacts across faces."""
        is_open = self.owners == 0
        return RegionGraph(
            self.names[is_open],
            self.labels[is_open],
            self.voxels[is_open],
            merge_links([links]),
            unique_pairs([self.contacts, contacts]),
            self.outside,
        )


@dataclass(frozen=True, slots=True, eq=False)
class RegionGraph:
    """Regions of several blocks, and which of them touch; it merges in any order and tree."""

    names: Ints
    """Names of regions, (n,)."""

    labels: Ints
    """Label of each; 0 = background."""

    voxels: Ints
    """Size of each."""

    links: Links
    """Names that are one region, as `merge_links` gives them."""

    contacts: Ints
    """Names of regions that touch, (m, 2), ascending, each pair once."""

    outside: Ints
    """Names of regions at the edge of the volume."""


def find_regions(labels: Labels, *, offset: Shape, shape: Shape) -> tuple[Regions, BlockRegions]:
    """Number the regions of one block.

    Parameters
    ----------
    labels : ndarray of int or bool, (z, y, x) or (y, x)
        Instances, 0 = background, below 2**63.
    offset, shape : tuple of int
        First voxel of the block in the volume, and size of the volume.

    Returns
    -------
    numbers : ndarray of uint32
        1..n everywhere.
    regions : BlockRegions

    Raises
    ------
    DtypeError
        If labels are not integers, negative or too large.

    Notes
    -----
    Background that does not reach a face of the block and touches one region is a hole of that
    object: it is settled here, and does not travel.
    """
    block = number_block(labels, offset=offset, shape=shape)
    known = block.table.label
    if (known >= 2**63).any():
        msg = f"labels reach up to {2**63 - 1}, got {known.max()}. Use volproc.relabel first."
        raise DtypeError(msg)
    everywhere = lift(block.numbers)
    everywhere += np.uint32(1)
    numbers, num_regions = cc3d.connected_components(
        everywhere, connectivity=6, return_N=True, out_dtype=np.uint32
    )
    flat = numbers.reshape(-1)
    first = first_voxels(flat, num_regions)
    label = np.concatenate([np.zeros(1, np.int64), known.astype(np.int64)])
    label = label[everywhere.reshape(-1)[first] - np.uint32(1)]
    voxels = np.bincount(flat, minlength=num_regions + 1)[1:]
    pairs = find_contacts(numbers).astype(np.int64) - 1
    numbers = numbers.reshape(labels.shape)
    owners = _settle(numbers, pairs, label, voxels)
    names = global_index(first, labels.shape, offset, shape)
    is_open = (owners[pairs] == 0).all(1)
    outside = _on_planes(numbers, _outer_planes(labels.shape, offset, shape), num_regions)
    return numbers, BlockRegions(
        names, label, voxels, owners, names[pairs[is_open]], names[outside]
    )


def _outer_planes(block_shape: Shape, offset: Shape, shape: Shape) -> list[tuple[int, int]]:
    """Axis and side of the planes that lie at the edge of the volume."""
    axes = enumerate(zip(block_shape, offset, shape, strict=True))
    return [
        (axis, side)
        for axis, (extent, start, size) in axes
        for side in (0, 1)
        if (start + extent == size if side else start == 0)
    ]


def _settle(numbers: Regions, pairs: Ints, label: Ints, voxels: Ints) -> Names:
    """Owners of background within the block beside one region, whose size grows by it."""
    owners = np.zeros(len(label), np.uint64)
    planes = [(axis, side) for axis in range(numbers.ndim) for side in (0, 1)]
    is_closed = (np.bincount(pairs.reshape(-1), minlength=len(label)) == 1) & (label == 0)
    is_closed[_on_planes(numbers, planes, len(label))] = False
    for gap, other in ((0, 1), (1, 0)):
        rows = pairs[is_closed[pairs[:, gap]]]
        owners[rows[:, gap]] = label[rows[:, other]]
        np.add.at(voxels, rows[:, other], voxels[rows[:, gap]])
    return owners


def _on_planes(
    numbers: Regions, planes: Sequence[tuple[int, int]], num_regions: int
) -> npt.NDArray[np.intp]:
    """Regions, counted from 0, that show on some outer planes (axis, side)."""
    shown = np.zeros(num_regions, bool)
    for axis, side in planes:
        shown[numbers.take(-side, axis).reshape(-1) - np.uint32(1)] = True
    return np.flatnonzero(shown)


def face_regions(
    lower: Regions, lower_regions: BlockRegions, upper: Regions, upper_regions: BlockRegions
) -> tuple[Links, Ints]:
    """Find regions that face each other across two planes.

    Parameters
    ----------
    lower, upper : ndarray of uint32, (y, x) or (x,)
        Numbers on the last plane of one block, and on the first one of the next.
    lower_regions, upper_regions : BlockRegions
        Of the two blocks.

    Returns
    -------
    links, contacts : ndarray of int64, (n, 2)
        Names of regions of equal label, which are one, and of different labels.

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
    low = (pairs >> np.uint64(32)).astype(np.int64) - 1
    high = (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64) - 1
    is_same = lower_regions.labels[low] == upper_regions.labels[high]
    names = np.stack([lower_regions.names[low], upper_regions.names[high]], axis=1)
    return names[is_same], names[~is_same]


def unique_pairs(parts: Sequence[Ints]) -> Ints:
    """Merge pairs, in any order and any tree: each once, the smaller name first, ascending."""
    pairs = np.sort(np.concatenate([NO_PAIRS, *parts]), axis=1)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    is_new = np.ones(len(pairs), bool)
    is_new[1:] = (pairs[1:] != pairs[:-1]).any(1)
    return pairs[is_new]


def merge_graphs(parts: Sequence[RegionGraph]) -> RegionGraph:
    """Merge what blocks say, in any order and any tree."""
    return RegionGraph(
        np.concatenate([p.names for p in parts]),
        np.concatenate([p.labels for p in parts]),
        np.concatenate([p.voxels for p in parts]),
        merge_links(p.links for p in parts),
        unique_pairs([p.contacts for p in parts]),
        np.concatenate([p.outside for p in parts]),
    )


def find_holes(graph: RegionGraph) -> tuple[Ints, Names]:
    """Find the background that an object keeps from the outside.

    Parameters
    ----------
    graph : RegionGraph
        Of the whole volume.

    Returns
    -------
    names : ndarray of int64, (m,)
        Background that is a hole, ascending; every block's part of it.
    owners : ndarray of uint64, (m,)
        Label of the object that each belongs to: of several that enclose it, the one with the
        fewest voxels in the hole, which is the innermost; then the smaller label.

    Notes
    -----
    A region is a hole of an object if no way leads from it to the edge of the volume without all
    pieces of the object. That is decided for all objects together in time that grows as the
    contacts times the logarithm of the number of objects. About 200 bytes a region and contact.
    """
    order = np.argsort(graph.names)
    names, labels = graph.names[order], graph.labels[order]
    begin = names.copy()
    begin[np.searchsorted(names, graph.links[:, 0])] = graph.links[:, 1]
    nodes = np.flatnonzero(begin == names)
    node = np.searchsorted(names[nodes], begin) + 1  # node 0 is outside
    voxels = np.bincount(node, graph.voxels[order], len(nodes) + 1).astype(np.int64)
    known, colours = np.unique(np.append(labels[nodes], 0), return_inverse=True)
    colours = np.concatenate([[-1], colours[:-1] - 1])  # background, 0, comes first: no colour
    contacts = node[np.searchsorted(names, graph.contacts)]
    at_edge = np.unique(node[np.searchsorted(names, graph.outside)])
    outside = np.stack([np.zeros_like(at_edge), at_edge], axis=1)
    edges = unique_pairs([contacts, outside])
    owners = find_owners(edges, colours, len(known) - 1, voxels)[node]
    is_hole = owners >= 0
    return names[is_hole], known[owners[is_hole] + 1].astype(np.uint64)
