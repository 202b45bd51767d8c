"""Connected components by block: label, join, unite, relabel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import DtypeError, PlanError, ShapeError
from volproc.core.types import Shape
from volproc.plan.blocks import ChunkGrid
from volproc.reduce.component_kernels import apply_table, unite_edges
from volproc.reduce.faces import (
    BlockFaces,
    Links,
    check_connectivity,
    collect_faces,
    join_faces,
    upper_directions,
)
from volproc.reduce.objects import measure_block
from volproc.reduce.placement import check_place, global_index, lift
from volproc.reduce.runs import LabelledRuns, Runs, label_runs
from volproc.reduce.tables import ObjectTable

Ints = npt.NDArray[np.int64]
Labels = npt.NDArray[Any]

MAX_BLOCK_VOXELS = 2**31


@dataclass(frozen=True, eq=False)
class BlockComponents:
    """Connected components of one block."""

    found: LabelledRuns
    """Local ids 1..n of this block as runs."""

    first: Ints
    """First voxel in the volume of each component, (n,), ascending."""

    classes: Ints
    """Class value of each component, (n,)."""

    faces: BlockFaces
    """What neighbours need to know."""

    offset: Shape
    """First voxel of the block in the volume."""

    shape: Shape
    """Size of the volume, voxels."""

    @property
    def runs(self) -> Runs:
        """The labels as they wait in scratch storage for `relabel_runs`."""
        return self.found.runs

    @cached_property
    def labels(self) -> npt.NDArray[np.uint32]:
        """Local ids 1..n of this block, 0 outside, in the axes of the mask: painted when asked."""
        return self.found.paint().reshape(self.found.shape[3 - len(self.shape) :])

    @property
    def table(self) -> ObjectTable:
        """Measurements by local id, in voxels of the volume, with class values: one more pass."""
        table = measure_block(self.labels, offset=self.offset, shape=self.shape)
        return replace(table, classes=self.classes)


def label_block(
    mask: npt.NDArray[Any], *, offset: Shape, shape: Shape, connectivity: int
) -> BlockComponents:
    """Find the connected components of one block.

    Parameters
    ----------
    mask : ndarray of bool or int, (z, y, x) or (y, x)
        Voxels of the chunk, without a halo. Neighbouring voxels belong together if they are
        equal and not zero: a class map is labelled class by class in one go.
    offset : tuple of int
        First voxel of the chunk in the volume.
    shape : tuple of int
        Size of the whole volume, voxels.
    connectivity : int
        Steps along axes that two neighbours may be apart, as in
        `scipy.ndimage.generate_binary_structure`: 1 faces, 2 edges, 3 corners (three axes only).

    Returns
    -------
    components : BlockComponents

    Raises
    ------
    ConfigError
        If there is no such connectivity.
    DtypeError
        If the mask is neither boolean nor integer.
    PlanError
        If the block has 2**31 voxels or more.
    ShapeError
        If the block does not lie in the volume.

    Notes
    -----
    See `label_runs`, which does the work; labels are painted only for those who ask for them.
    """
    check_place(mask.shape, offset, shape)
    check_connectivity(connectivity, mask.ndim)
    check_mask_type(mask.dtype)
    if mask.size >= MAX_BLOCK_VOXELS:
        msg = (
            f"a block of {mask.size} voxels is too large to label, the limit is "
            f"{MAX_BLOCK_VOXELS}. Use smaller chunks."
        )
        raise PlanError(msg)
    volume = lift(mask.astype(mask.dtype.newbyteorder("="), copy=False))
    found = label_runs(volume, connectivity)
    classes = volume.reshape(-1)[found.first].astype(np.int64)
    first = global_index(found.first, mask.shape, offset, shape)
    lead = (0,) * (3 - mask.ndim)
    faces = collect_faces(
        found,
        first,
        classes,
        offset=lead + tuple(offset),
        shape=(1,) * len(lead) + tuple(shape),
    )
    return BlockComponents(found, first, classes, faces, tuple(offset), tuple(shape))


def check_mask_type(dtype: np.dtype[Any]) -> None:
    """Refuse voxels that are neither a mask nor classes.

    Raises
    ------
    DtypeError
        Naming the type.
    """
    if dtype.kind not in "iub":
        msg = (
            f"components are found in a boolean mask or an integer class map, got {dtype}. "
            "Compare with a threshold first."
        )
        raise DtypeError(msg)


@dataclass(frozen=True, slots=True, eq=False)
class Union:
    """All objects of a volume, each named by its first voxel."""

    first: Ints
    """First voxels of the objects, ascending: object ``i + 1`` begins at ``first[i]``."""

    links: Links
    """Components of blocks that are no object's beginning, ascending, with the beginning of the
    object that they belong to; see `merge_links`."""

    @property
    def num_objects(self) -> int:
        """Number of objects, which is also the greatest label."""
        return len(self.first)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the labels: uint32, and uint64 above 2**32 - 1 objects."""
        return np.dtype(np.uint32 if self.num_objects < 2**32 else np.uint64)

    def lut(self, first: Ints) -> Labels:
        """Return the labels in the volume of one block's own components.

        Parameters
        ----------
        first : ndarray of int64, (n,)
            First voxels by local id: ``components.first``.

        Returns
        -------
        lut : ndarray of `dtype`, (n + 1,)
            Label by local id; ``lut[0]`` is 0. Made for `relabel`.

        Raises
        ------
        ShapeError
            If a component was not among those that were united.
        """
        begin = first
        if len(self.links):
            at = np.minimum(np.searchsorted(self.links[:, 0], first), len(self.links) - 1)
            begin = np.where(self.links[at, 0] == first, self.links[at, 1], first)
        lut = np.zeros(len(first) + 1, self.dtype)
        lut[1:] = np.searchsorted(self.first, begin) + 1
        if len(first) and (
            lut.max() > self.num_objects or (self.first[lut[1:] - 1] != begin).any()
        ):
            msg = (
                f"a block has components that were not united, got {len(first)} components for a "
                f"union of {self.num_objects} objects. Give unite the tables of all blocks."
            )
            raise ShapeError(msg)
        return lut


def merge_links(parts: Iterable[Links]) -> Links:
    """Merge links into the one smallest set that says the same.

    Parameters
    ----------
    parts : iterable of ndarray of int64, (n, 2)
        Links of blocks, or of earlier merges.

    Returns
    -------
    links : ndarray of int64, (m, 2)
        Each component that is not the first of its connected set, ascending, with the first.

    Notes
    -----
    Associative, commutative and idempotent: links may be merged in any order and any tree.

    Examples
    --------
    >>> merge_links([np.array([[9, 5]]), np.array([[3, 9], [7, 8]])]).tolist()
    [[5, 3], [8, 7], [9, 3]]
    """
    pairs = np.concatenate([np.zeros((0, 2), np.int64), *parts])
    names, nodes = np.unique(pairs, return_inverse=True)
    nodes = nodes.reshape(-1, 2)
    parent = np.arange(len(names))
    unite_edges(parent, np.ascontiguousarray(nodes[:, 0]), np.ascontiguousarray(nodes[:, 1]))
    joined = np.flatnonzero(parent != np.arange(len(names)))
    # each column in one piece: Union.lut searches the first, and numpy copies one with gaps
    return np.stack([names[joined], names[parent[joined]]]).T


def unite(firsts: Iterable[Ints], links: Iterable[Links]) -> Union:
    """Unite the components of all blocks to the objects of the volume.

    Parameters
    ----------
    firsts : iterable of ndarray of int64
        First voxels of each block's components (``components.first``), in any order.
    links : iterable of ndarray of int64, (n, 2)
        Results of `join_faces`, or of `merge_links` on parts of them, in any order.

    Returns
    -------
    union : Union
        Objects numbered 1..N by their first voxels: with a binary mask the numbers are those of
        `scipy.ndimage.label` on the whole volume.

    Notes
    -----
    Sixteen bytes a component and a sort: ten thousand blocks of a thousand components take a few
    seconds.
    """
    merged = merge_links(links)
    every = np.sort(np.concatenate([np.zeros(0, np.int64), *firsts]))
    begins = np.ones(len(every), bool)
    begins[np.searchsorted(every, merged[:, 0])] = False
    return Union(every[begins], merged)


def relabel(labels: Labels, lut: Labels, *, dtype: npt.DTypeLike | None = None) -> Labels:
    """Give each voxel the label that a table holds for it.

    Parameters
    ----------
    labels : ndarray of unsigned int
        Local ids of a block.
    lut : ndarray of unsigned int, (n + 1,)
        Label by local id, as `Union.lut` gives it.
    dtype : dtype, optional
        Type of the result; that of the table if not given. `np.min_scalar_type` of the number of
        objects is the narrowest.

    Raises
    ------
    DtypeError
        If a label of the table does not fit in the type.
    ShapeError
        If a voxel is outside the table.

    Examples
    --------
    >>> relabel(np.array([[0, 2, 1]], np.uint32), np.array([0, 70, 300], np.uint32))
    array([[  0, 300,  70]], dtype=uint32)
    """
    table = lut if dtype is None else lut.astype(dtype)
    if dtype is not None and (table != lut).any():
        msg = (
            f"labels up to {lut.max()} do not fit in {np.dtype(dtype)}. Use "
            f"{np.min_scalar_type(lut.max())}."
        )
        raise DtypeError(msg)
    out = np.empty(labels.shape, table.dtype)
    flat = np.ascontiguousarray(labels).reshape(-1)
    if not apply_table(flat, np.ascontiguousarray(table), out.reshape(-1)):
        msg = (
            f"a label exceeds its table of {len(lut)}, got {labels.max()}. Use the table of this "
            "very block."
        )
        raise ShapeError(msg)
    return out


def label_array(
    mask: npt.NDArray[Any], *, connectivity: int = 1, chunks: Sequence[int] | None = None
) -> tuple[Labels, int]:
    """Label a whole array in memory, block by block: how the pieces fit, and a reference.

    Parameters
    ----------
    mask : ndarray of bool or int, (z, y, x) or (y, x)
        As in `label_block`.
    connectivity : int
        As in `label_block`.
    chunks : sequence of int, optional
        Size of the blocks; one block if not given. It changes nothing in the result.

    Returns
    -------
    labels : ndarray of uint32 or uint64
        Objects 1..n by their first voxels.
    num_objects : int

    Examples
    --------
    >>> label_array(np.array([[1, 0, 1], [0, 1, 0]]), connectivity=2, chunks=(1, 2))
    (array([[1, 0, 1],
           [0, 1, 0]], dtype=uint32), 1)
    """
    grid = ChunkGrid(mask.shape, tuple(chunks or mask.shape))
    parts = {
        block.index: label_block(
            mask[block.write],
            offset=tuple(s.start for s in block.write),
            shape=mask.shape,
            connectivity=connectivity,
        )
        for block in grid
    }
    links = []
    for index, part in parts.items():
        beside = {
            step: tuple(i + d for i, d in zip(index, step, strict=True))
            for step in upper_directions(mask.ndim, connectivity)
        }
        faces = {step: parts[at].faces for step, at in beside.items() if at in parts}
        links.append(join_faces(part.faces, faces, connectivity=connectivity))
    union = unite((part.first for part in parts.values()), links)
    labels = np.empty(mask.shape, union.dtype)
    for block in grid:
        part = parts.pop(block.index)  # frees its labels
        labels[block.write] = relabel(part.labels, union.lut(part.first))
    return labels, union.num_objects
