"""Which labels stay, and what they are called: decisions on the merged table of all objects."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.errors import ConfigError, DtypeError
from volproc.reduce.numbering import LabelTable, Names

Unknown = Literal["error", "keep", "remove"]

LabelMapping = Mapping[Any, Any] | pd.Series | npt.NDArray[Any]
"""New label by old one: a mapping, a series by its index, or an array of pairs, (n, 2)."""


@dataclass(frozen=True, slots=True)
class FilterRule:
    """What an object has to be like to stay; None asks for nothing."""

    min_voxels: int | None = None
    """Least number of voxels, in the whole volume."""

    max_voxels: int | None = None
    """Greatest number of voxels."""

    min_volume: float | None = None
    """Least volume, nm³."""

    max_volume: float | None = None
    """Greatest volume, nm³."""

    voxel_volume: float = 0.0
    """Volume of a voxel, nm³, where volumes are asked for."""

    touching_edge: bool | None = None
    """True keeps only objects that touch one of the chosen sides, False only the others."""

    edge_bits: int = 0
    """Chosen sides, as in `LabelTable.edges`."""

    min_inside: float | None = None
    """Least part of an object's voxels that lie under the mask."""

    keep: tuple[int, ...] | None = None
    """The only labels that may stay."""

    remove: tuple[int, ...] | None = None
    """Labels that may not stay."""

    def chosen(self, table: LabelTable) -> npt.NDArray[np.bool_]:
        """Rows of the merged table that stay, (n,).

        >>> from volproc.reduce.numbering import number_block
        >>> table = number_block(np.array([[4, 4, 2]]), offset=(0, 0), shape=(1, 3)).table
        >>> FilterRule(min_voxels=2).chosen(table)
        array([ True, False])
        """
        stays = np.ones(len(table), bool)
        if self.min_voxels is not None:
            stays &= table.count >= self.min_voxels
        if self.max_voxels is not None:
            stays &= table.count <= self.max_voxels
        if self.min_volume is not None:
            stays &= table.count * self.voxel_volume >= self.min_volume
        if self.max_volume is not None:
            stays &= table.count * self.voxel_volume <= self.max_volume
        if self.touching_edge is not None:
            stays &= ((table.edges & self.edge_bits) != 0) == self.touching_edge
        if self.min_inside is not None:
            stays &= table.inside / table.count >= self.min_inside
        if self.keep is not None:
            stays &= np.isin(table.label, np.array(self.keep, np.uint64))
        if self.remove is not None:
            stays &= ~np.isin(table.label, np.array(self.remove, np.uint64))
        return stays


def as_pairs(mapping: LabelMapping) -> tuple[Names, Names]:
    """Bring a mapping of labels into one form, and check it.

    Returns
    -------
    old, new : ndarray of uint64, (n,)
        Ascending by the old label; each occurs once.

    Raises
    ------
    ConfigError
        If a label has two new ones, if background is to become an object, or if an array does
        not consist of pairs.
    DtypeError
        If a label is not an integer, or negative.

    Examples
    --------
    >>> as_pairs({7: 1, 3: 0})
    (array([3, 7], dtype=uint64), array([0, 1], dtype=uint64))
    """
    old, new = _columns(mapping)
    old_labels, new_labels = _as_labels(old, "old"), _as_labels(new, "new")
    order = np.argsort(old_labels, kind="stable")
    old_labels, new_labels = old_labels[order], new_labels[order]
    if len(old_labels) and old_labels[0] == 0 and new_labels[0] != 0:
        msg = (
            f"background (0) stays background, got the pair 0 → {new_labels[0]}. Label the "
            "background first if it shall be an object."
        )
        raise ConfigError(msg)
    repeated = np.flatnonzero(old_labels[1:] == old_labels[:-1])
    clash = repeated[new_labels[repeated] != new_labels[repeated + 1]]
    if len(clash):
        at = clash[0]
        msg = (
            f"label {old_labels[at]} has two new labels, got {new_labels[at]} and "
            f"{new_labels[at + 1]}. Give each label once."
        )
        raise ConfigError(msg)
    once = np.ones(len(old_labels), bool)
    once[repeated + 1] = False
    return old_labels[once], new_labels[once]


def _columns(mapping: LabelMapping) -> tuple[Any, Any]:
    if isinstance(mapping, pd.Series):
        return mapping.index.to_numpy(), mapping.to_numpy()
    if isinstance(mapping, Mapping):
        return list(mapping), list(mapping.values())
    pairs = np.asarray(mapping)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        msg = (
            f"an array that maps labels has a row [old, new] each, got shape {pairs.shape}. Give "
            "an array of shape (n, 2), a dict or a pandas series."
        )
        raise ConfigError(msg)
    return pairs[:, 0], pairs[:, 1]


def _as_labels(values: Any, which: str) -> Names:
    """Check labels one by one: numpy turns a list with numbers around 2**63 into floats."""
    try:
        numbers = [operator.index(value) for value in values]
    except TypeError as error:
        msg = f"{which} labels of a mapping are integers, got {values!r}. Convert them first."
        raise DtypeError(msg) from error
    wrong = [n for n in numbers if not 0 <= n < 2**64]
    if wrong:
        msg = (
            f"{which} labels of a mapping lie between 0 and 2**64 - 1, got {wrong[0]}. Leave it "
            "out, or map to 0 to remove an object."
        )
        raise DtypeError(msg)
    return np.array(numbers, np.uint64)


def mapped_labels(table: LabelTable, old: Names, new: Names, unknown: Unknown) -> Names:
    """Look up the new label of each row of a table.

    Parameters
    ----------
    table : LabelTable
        All labels of the volume.
    old, new : ndarray of uint64
        As `as_pairs` gives them.
    unknown : {"error", "keep", "remove"}
        What becomes of labels without a new one.

    Raises
    ------
    ConfigError
        If there are such labels, and they are an error.
    """
    if not len(old):
        known, values = np.zeros(len(table), bool), np.zeros(len(table), np.uint64)
    else:
        at = np.minimum(np.searchsorted(old, table.label), len(old) - 1)
        known, values = old[at] == table.label, new[at]
    if unknown == "error" and not known.all():
        missing = table.label[~known]
        msg = (
            f"{len(missing)} labels of the volume have no new label, the first are "
            f"{missing[:5].tolist()}. Add them to the mapping, or say unknown='keep' or 'remove'."
        )
        raise ConfigError(msg)
    return np.where(known, values, table.label if unknown == "keep" else np.uint64(0))
