"""Tasks that write a lazy array: all that a worker needs for them, and no more.

Points and their tables are not imported here: pandas and its guests would cost each worker 70 MB.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.delayed import Delayed

from volproc.core.arrays import Sink
from volproc.core.types import Region
from volproc.graph.layers import (
    Graph,
    iterate_chunks,
    new_array,
    new_task,
    new_value,
    ref,
    tree,
    unique_name,
)


class Held:
    """A value that Dask must not look into."""

    def __init__(self, value: Any) -> None:
        self.value = value


def writing(array: da.Array, sink: Sink, *, is_alone: bool) -> Delayed:
    """Lazy value that writes all chunks of an aligned array, and finishes the output."""
    name = unique_name("write")
    tasks: Graph = {}
    last = None
    for chunk in iterate_chunks(array.chunks):
        region = chunk.region[array.ndim - len(sink.shape) :]
        # A format that one process must write alone gets its chunks one after the other.
        before = None if sink.is_parallel or last is None else ref(last)
        last = (f"{name}-chunk", *chunk.index)
        block = ref((array.name, *chunk.index))
        tasks[last] = new_task(last, partial(_write, sink, region), block, before)
    ones = tuple((1,) * n for n in array.numblocks)
    chunks = new_array(
        f"{name}-chunk", tasks, cuts=ones, dtype=np.dtype(object), depends_on=[array]
    )
    if is_alone:  # what makes a chunk and what writes it become one task: the chunk stays put
        (chunks,) = dask.optimize(chunks)
    merged, root = tree(f"{name}-tree", list(tasks), _nothing)
    merged[name] = (_finish, Held(sink), root)
    return new_value(name, merged, depends_on=[chunks])


def _write(sink: Sink, region: Region, block: Any, before: Any) -> None:
    del before
    sink.write(region, block)


def _finish(sink: Held, written: Any) -> None:
    del written
    sink.value.finish()


def _nothing(parts: Any) -> None:
    del parts
