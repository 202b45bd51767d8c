"""Labels of one block, numbered and tabulated: columns that merge over blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import DtypeError, ShapeError
from volproc.core.types import Shape
from volproc.reduce.label_kernels import COUNT, EDGES, FIRST, INSIDE, number_labels
from volproc.reduce.measuring import check_label_type
from volproc.reduce.placement import check_place, global_index, lift

Ints = npt.NDArray[np.int64]
Labels = npt.NDArray[Any]
Names = npt.NDArray[np.uint64]

MERGERS: dict[str, np.ufunc] = {
    "count": np.add,
    "first": np.minimum,
    "edges": np.bitwise_or,
    "inside": np.add,
}
"""How a column merges; every column is an integer, so any tree gives the same bits."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelTable:
    """What is known of each label, 40 bytes an object."""

    label: Names
    """Labels, (n,): in the order of a block's numbers, or ascending once merged."""

    count: Ints
    """Voxels."""

    first: Ints
    """Raster index in the volume of the first voxel."""

    edges: Ints
    """Sides of the volume that the object touches: bit ``2 * axis`` below, the next one above,
    with axis 0, 1, 2 for z, y, x (a micrograph has no z)."""

    inside: Ints
    """Voxels under a mask; 0 where there was none."""

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True, slots=True, eq=False)
class NumberedBlock:
    """One block with its own numbers."""

    numbers: npt.NDArray[np.uint32]
    """1..n in the order of first voxels, 0 = background; axes as the labels'."""

    table: LabelTable
    """Row ``i`` describes number ``i + 1``."""


def number_block(
    labels: Labels, *, offset: Shape, shape: Shape, mask: npt.NDArray[Any] | None = None
) -> NumberedBlock:
    """Number the labels of one block from 1, and tabulate them.

    Parameters
    ----------
    labels : ndarray of int or bool, (z, y, x) or (y, x)
        Instances, 0 = background, of any size below 2**64.
    offset, shape : tuple of int
        First voxel of the block in the volume, and size of the volume.
    mask : ndarray, same shape, optional
        Voxels that are not zero are counted per object.

    Returns
    -------
    block : NumberedBlock

    Raises
    ------
    DtypeError
        If labels are not integers, or negative.
    ShapeError
        If the block does not lie in the volume, or the mask has another shape.

    Notes
    -----
    One pass over runs of equal labels. Four bytes a voxel for the numbers; four or eight more
    where the labels are not yet unsigned integers of 32 or 64 bits.

    Examples
    --------
    >>> block = number_block(np.array([[90, 0, 7]]), offset=(1, 0), shape=(2, 3))
    >>> block.numbers.tolist(), block.table.label.tolist(), block.table.first.tolist()
    ([[1, 0, 2]], [90, 7], [3, 5])
    """
    check_place(labels.shape, offset, shape)
    if mask is not None and mask.shape != labels.shape:
        msg = (
            f"labels and mask differ in shape, got {labels.shape} and {mask.shape}. Give two "
            "blocks of the same region."
        )
        raise ShapeError(msg)
    cover = None if mask is None else lift((mask != 0).view(np.uint8))
    numbers, names, rows = number_labels(
        lift(as_unsigned(labels)), cover, _outer_sides(labels.shape, offset, shape)
    )
    first = global_index(rows[:, FIRST].copy(), labels.shape, offset, shape)
    table = LabelTable(
        names, rows[:, COUNT].copy(), first, rows[:, EDGES].copy(), rows[:, INSIDE].copy()
    )
    return NumberedBlock(numbers.reshape(labels.shape), table)


def as_unsigned(labels: Labels) -> Labels:
    """Return labels as contiguous native uint32 or uint64: what the compiled loops take.

    Raises
    ------
    DtypeError
        If they are not integers, or negative.
    """
    check_label_type(labels.dtype)
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        msg = (
            f"labels are positive with 0 as background, got {labels.min()}. Replace negative "
            "labels, or give the array as the unsigned integers that it was saved from."
        )
        raise DtypeError(msg)
    wide = np.dtype(np.uint64 if labels.dtype.itemsize > 4 else np.uint32)
    native = np.ascontiguousarray(labels, labels.dtype.newbyteorder("="))
    return native.view(wide) if native.itemsize == wide.itemsize else native.astype(wide)


def _outer_sides(block_shape: Shape, offset: Shape, shape: Shape) -> Ints:
    """Bits of the sides that a block shares with its volume, z below first."""
    outer = np.zeros(6, np.int64)
    lead = 3 - len(shape)
    for i, (extent, start, size) in enumerate(zip(block_shape, offset, shape, strict=True)):
        axis = i + lead
        outer[2 * axis] = (start == 0) << (2 * axis)
        outer[2 * axis + 1] = (start + extent == size) << (2 * axis + 1)
    return outer


def merge_label_tables(tables: Sequence[LabelTable]) -> LabelTable:
    """Merge tables of blocks, in any order and any tree: one row a label, ascending.

    Raises
    ------
    ShapeError
        If there are none.
    """
    if not tables:
        msg = "no tables to merge, got an empty sequence. Give the tables of all blocks."
        raise ShapeError(msg)
    label = np.concatenate([t.label for t in tables])
    order = np.argsort(label, kind="stable")
    label = label[order]
    starts = np.flatnonzero(np.concatenate(([True], label[1:] != label[:-1]))[: len(label)])
    columns = {
        name: merger.reduceat(np.concatenate([getattr(t, name) for t in tables])[order], starts)
        if len(starts)
        else np.zeros(0, np.int64)
        for name, merger in MERGERS.items()
    }
    return LabelTable(label[starts], **columns)


def ranks_of_first(table: LabelTable) -> Names:
    """Return ids 1..n by the raster order of first voxels, a row each."""
    ids = np.empty(len(table), np.uint64)
    ids[np.argsort(table.first)] = np.arange(1, len(table) + 1, dtype=np.uint64)
    return ids
