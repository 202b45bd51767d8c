"""The class of each object by vote: sparse counts that merge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.errors import DtypeError, ShapeError
from volproc.core.types import Shape
from volproc.reduce.label_kernels import COUNT, number_labels
from volproc.reduce.numbering import Ints, Labels, Names, as_unsigned, number_block
from volproc.reduce.placement import lift

NO_SIDES = np.zeros(6, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """Voxels of each class in each object; one row a pair that occurs, 24 bytes."""

    label: Names
    """Label of the object, (n,). The rows of one object follow each other."""

    class_value: Ints
    """Class; ascending within an object."""

    count: Ints
    """Voxels of the object that are of the class."""

    @property
    def objects(self) -> Names:
        """Labels of the objects, each once, in the order of the rows."""
        return self.label[_starts(self.label)]


def count_votes(
    labels: Labels, classes: npt.NDArray[Any], *, offset: Shape, shape: Shape
) -> tuple[npt.NDArray[np.uint32], Votes]:
    """Number the labels of one block, and count the classes under each.

    Parameters
    ----------
    labels : ndarray of int, (z, y, x) or (y, x)
        Instances, 0 = background.
    classes : ndarray of int or bool, same shape
        Class values; negative ones too.
    offset, shape : tuple of int
        First voxel of the block in the volume, and size of the volume.

    Returns
    -------
    numbers : ndarray of uint32
        1..n in the order of first voxels; number ``i + 1`` is ``votes.objects[i]``.
    votes : Votes

    Raises
    ------
    DtypeError
        If labels or classes are not integers.
    ShapeError
        If the two differ in shape.

    Notes
    -----
    Three passes over runs of equal voxels; up to 20 bytes a voxel beside the input.

    Examples
    --------
    >>> labels, classes = np.array([[6, 6, 0, 6]]), np.array([[2, 2, 2, 1]])
    >>> _, votes = count_votes(labels, classes, offset=(0, 0), shape=(1, 4))
    >>> votes.label.tolist(), votes.class_value.tolist(), votes.count.tolist()
    ([6, 6], [1, 2], [1, 2])
    """
    if labels.shape != classes.shape:
        msg = (
            f"labels and classes differ in shape, got {labels.shape} and {classes.shape}. Give "
            "two blocks of the same region."
        )
        raise ShapeError(msg)
    check_class_type(classes.dtype)
    block = number_block(labels, offset=offset, shape=shape)
    kinds, values = _number_classes(classes)
    num_kinds = len(values)
    is_wide = (len(block.table) + 1) * num_kinds >= 2**32
    pairs: Labels = block.numbers.astype(np.uint64 if is_wide else np.uint32)
    pairs *= pairs.dtype.type(num_kinds)
    pairs += kinds
    pairs[block.numbers == 0] = 0
    _, names, rows = number_labels(lift(pairs), None, NO_SIDES)
    number, kind = names.astype(np.int64) // num_kinds, names.astype(np.int64) % num_kinds
    order = np.lexsort((values[kind], number))
    return block.numbers, Votes(
        block.table.label[number[order] - 1], values[kind[order]], rows[order, COUNT]
    )


def check_class_type(dtype: np.dtype[Any]) -> None:
    """Refuse voxels that cannot be classes.

    Raises
    ------
    DtypeError
        Naming the type.
    """
    if dtype.kind not in "iub":
        msg = (
            f"classes are integers or boolean, got {dtype}. Give the argmax of probabilities, or "
            "compare them with a threshold."
        )
        raise DtypeError(msg)


def _number_classes(classes: npt.NDArray[Any]) -> tuple[npt.NDArray[np.uint32], Ints]:
    """Kinds 0..n of voxels, and the class value of each kind; kind 0 is class 0."""
    if classes.dtype.kind == "i":  # the bits of negative ones are large unsigned numbers
        plain = np.ascontiguousarray(classes, np.int64).view(np.uint64)
    else:
        plain = as_unsigned(classes)
    if plain.dtype == np.uint64 and classes.dtype.kind == "u" and (plain >> np.uint64(63)).any():
        msg = f"class values reach up to {2**63 - 1}, got {plain.max()}. Number the classes first."
        raise DtypeError(msg)
    kinds, names, _ = number_labels(lift(plain), None, NO_SIDES)
    return kinds.reshape(classes.shape), np.concatenate([np.zeros(1, np.int64), names.view("i8")])


def merge_votes(parts: Sequence[Votes]) -> Votes:
    """Merge votes of blocks, in any order and any tree; objects come out ascending.

    Raises
    ------
    ShapeError
        If there are none.
    """
    if not parts:
        msg = "no votes to merge, got an empty sequence. Give the votes of all blocks."
        raise ShapeError(msg)
    label = np.concatenate([p.label for p in parts])
    class_value = np.concatenate([p.class_value for p in parts])
    count = np.concatenate([p.count for p in parts])
    order = np.lexsort((class_value, label))
    label, class_value, count = label[order], class_value[order], count[order]
    starts = np.union1d(_starts(label), _starts(class_value))
    if not len(starts):
        return Votes(label, class_value, count)
    return Votes(label[starts], class_value[starts], np.add.reduceat(count, starts))


def elect(votes: Votes, *, background_votes: bool) -> pd.DataFrame:
    """Find the class of each object.

    Parameters
    ----------
    votes : Votes
        Merged.
    background_votes : bool
        Whether voxels of class 0 count; without them an object is of class 0 only if all its
        voxels are.

    Returns
    -------
    table : DataFrame
        One row an object, ascending by ``label``: ``class_value``, the most frequent one and of
        equally frequent ones the smallest; ``num_votes`` for it; ``num_voxels`` of the object;
        ``share``, the votes for it as a part of those that count, 0 where none counts.
    """
    if not len(votes.label):
        columns = ("label", "class_value", "num_votes", "num_voxels")
        frame = pd.DataFrame({name: np.zeros(0, np.int64) for name in columns})
        return frame.assign(label=frame["label"].astype(np.uint64), share=0.0)
    weight = votes.count.copy()
    if not background_votes:
        weight[votes.class_value == 0] = 0
    order = np.lexsort((votes.class_value, -weight, votes.label))
    starts = _starts(votes.label)
    best = order[starts]
    all_votes = np.add.reduceat(weight, starts)
    return pd.DataFrame(
        {
            "label": votes.label[best],
            "class_value": votes.class_value[best],
            "num_votes": weight[best],
            "num_voxels": np.add.reduceat(votes.count, starts),
            "share": weight[best] / np.maximum(all_votes, 1),
        }
    )


def _starts(values: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Indices at which a run of equal values begins."""
    if not len(values):
        return np.zeros(0, np.intp)
    return np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))
