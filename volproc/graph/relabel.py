"""Lazy renaming of labels."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed

from volproc.core.errors import ConfigError, DtypeError
from volproc.graph.label_stage import Lazy, check_labels, like, numbered
from volproc.graph.lookup import LookupFiles
from volproc.reduce.filtering import LabelMapping, Unknown, as_pairs, mapped_labels
from volproc.reduce.numbering import LabelTable, Names, ranks_of_first


def relabel(
    labels: Lazy,
    mapping: LabelMapping | None = None,
    *,
    unknown: Unknown = "error",
    dtype: npt.DTypeLike | None = None,
    scratch: str | os.PathLike[str] | None = None,
) -> tuple[Lazy, Delayed]:
    """Give labels new numbers, lazily: 1..N in raster order, or by a mapping.

    Parameters
    ----------
    labels : Volume or dask array of int, (z, y, x) or (y, x)
        Instances, 0 = background, of any size below 2**64.
    mapping : mapping, pandas Series or ndarray of int, (n, 2), optional
        New label by old label; several may become one, and 0 removes an object. Labels that do
        not occur are passed over. Without a mapping objects are numbered from 1 without gaps, by
        their first voxels in raster order.
    unknown : {"error", "keep", "remove"}
        What becomes of a label that the mapping does not know.
    dtype : dtype, optional
        Type of the result. By default uint32; uint64 if the mapping holds a label above
        2**32 - 1, or labels of 64 bits are kept.
    scratch : path
        Folder for the numbered blocks, seen by all workers; a temporary one by default. It is
        removed with the array.

    Returns
    -------
    labels : Volume or dask array
        The same for every chunking.
    num_objects : Delayed of int
        Different labels in the result, without background.

    Raises
    ------
    ConfigError
        If a label has two new ones, if 0 is to become an object, or, when computed, if a label
        is unknown and that is an error.
    DtypeError
        If labels are not integers or negative, or a new label does not fit in the type.

    Notes
    -----
    Two tasks a block and a tree; each chunk of the labels is computed once, and its numbered form
    waits on disk. The table of all objects is whole in one task: 40 bytes an object, three times
    that while it is sorted; a block reads its own rows of the result, 16 bytes each, from scratch.

    Examples
    --------
    >>> import dask, dask.array as da
    >>> labels = da.from_array(np.array([[0, 90, 90], [7, 0, 90]]), chunks=2)
    >>> new, number = dask.compute(*relabel(labels))
    >>> new.tolist(), number
    ([[0, 1, 1], [2, 0, 1]], 2)
    >>> relabel(labels, {7: 3}, unknown="keep")[0].compute().tolist()
    [[0, 90, 90], [3, 0, 90]]
    """
    if unknown not in ("error", "keep", "remove"):
        msg = f"unknown is 'error', 'keep' or 'remove', got {unknown!r}."
        raise ConfigError(msg)
    array = check_labels(labels)
    pairs = None if mapping is None else as_pairs(mapping)
    target = _target(array.dtype, pairs, unknown) if dtype is None else np.dtype(dtype)
    if target.kind not in "iu":
        msg = f"labels are integers, got dtype={target}. Use numpy.uint32 or numpy.uint64."
        raise DtypeError(msg)
    decide = partial(_rename, pairs=pairs, unknown=unknown, dtype=target)
    result, decision = numbered(array, "relabel", decide, target, scratch=scratch)
    number = Delayed(decision, result.__dask_graph__(), layer=result.name)
    return like(labels, result), number


def _target(
    dtype: np.dtype[Any], pairs: tuple[Names, Names] | None, unknown: Unknown
) -> np.dtype[Any]:
    """Narrowest of uint32 and uint64 that surely holds the result."""
    if pairs is None:
        return np.dtype(np.uint32)
    is_wide = bool((pairs[1] >= 2**32).any()) or (unknown == "keep" and dtype.itemsize > 4)
    return np.dtype(np.uint64 if is_wide else np.uint32)


def _rename(
    table: LabelTable,
    *,
    lookup: LookupFiles,
    pairs: tuple[Names, Names] | None,
    unknown: Unknown,
    dtype: np.dtype[Any],
) -> int:
    """Write the new labels; return how many there are."""
    new = ranks_of_first(table) if pairs is None else mapped_labels(table, *pairs, unknown)
    if len(new) and int(new.max()) > np.iinfo(dtype).max:
        msg = f"labels up to {new.max()} do not fit into {dtype}. Use dtype=numpy.uint64."
        raise DtypeError(msg)
    lookup.write(table.label, new)
    return len(np.unique(new[new > 0]))
