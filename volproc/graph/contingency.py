"""Lazy comparison of two label volumes, object by object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy.typing as npt
from dask.delayed import Delayed

from volproc.core.volume import Volume
from volproc.graph.chunks import Chunk, iterate_chunks
from volproc.graph.layers import (
    Graph,
    array_of,
    new_task,
    new_value,
    ref,
    tree,
    unique_name,
    without_collector,
)
from volproc.reduce.contingency import (
    Contingency,
    check_pair,
    contingency_rows,
    count_contingency,
    merge_contingencies,
)


@without_collector()
def contingency(truth: Volume | da.Array, predicted: Volume | da.Array) -> Delayed:
    """Count the voxels that true and predicted objects share, lazily.

    Parameters
    ----------
    truth, predicted : Volume or dask array of int or bool, (z, y, x) or (y, x)
        Instances, 0 = background, numbered any way. Chunks may differ: the second is cut as the
        first.

    Returns
    -------
    table : Delayed of DataFrame
        A row for each pair of labels that occurs, the background included, with columns
        ``truth``, ``predicted`` and ``num_voxels``, ascending by the first two. It is what
        `volproc.metrics.score_instances` takes.

    Raises
    ------
    DtypeError
        If labels are no integers. Negative ones are found when the table is computed.
    ShapeError
        If the two differ in shape.

    Notes
    -----
    One task a block, then a tree; the same for every chunking and order. 24 bytes a pair.

    Examples
    --------
    >>> import numpy as np
    >>> truth = da.from_array(np.array([[1, 1, 0, 2]]), chunks=2)
    >>> contingency(truth, truth != 0).compute()
       truth  predicted  num_voxels
    0      0          0           1
    1      1          1           2
    2      2          1           1
    """
    one, other = array_of(truth), array_of(predicted)
    check_pair(one, other)
    if other.chunks != one.chunks:
        other = other.rechunk(one.chunks)
    name = unique_name("contingency")
    tasks: Graph = {}
    blocks = []
    for chunk in iterate_chunks(one.chunks):
        key = (f"{name}-block", *chunk.index)
        blocks.append(key)
        voxels = [ref((array.name, *chunk.index)) for array in (one, other)]
        tasks[key] = new_task(key, CountChunk(), chunk, *voxels)
    merged, root = tree(f"{name}-merge", blocks, merge_contingencies)
    tasks |= merged
    tasks[name] = new_task(name, contingency_rows, ref(root))
    return new_value(name, tasks, depends_on=[one, other])


@dataclass(frozen=True, slots=True)
class CountChunk:
    """The task that counts one chunk."""

    def __call__(
        self, chunk: Chunk, truth: npt.NDArray[Any], predicted: npt.NDArray[Any]
    ) -> Contingency:
        """Count one chunk."""
        return count_contingency(truth, predicted, place=f"the block at {chunk.offset}")
