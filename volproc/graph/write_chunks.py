"""Tasks that write a lazy array: all that a worker needs for them, and no more.

Points and their tables are not imported here: pandas and its guests would cost each worker 70 MB.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import partial
from itertools import product
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.delayed import Delayed

from volproc.core.arrays import PyramidPart, PyramidSink, Sink
from volproc.core.types import Region
from volproc.graph.layers import (
    Graph,
    iterate_chunks,
    new_array,
    new_task,
    new_value,
    ref,
    refs,
    tree,
    unique_name,
)


def writing(array: da.Array, sink: Sink, *, is_alone: bool) -> Delayed:
    """Lazy value that writes all chunks of an aligned array, and finishes the output."""
    name = unique_name("write")
    tasks: Graph = {}
    regions: dict[Any, Region] = {}
    last = None
    for chunk in iterate_chunks(array.chunks):
        region = chunk.region[array.ndim - len(sink.shape) :]
        # A format that one process must write alone gets its chunks one after the other.
        before = None if sink.is_parallel or last is None else ref(last)
        last = (f"{name}-chunk", *chunk.index)
        block = ref((array.name, *chunk.index))
        tasks[last] = new_task(last, partial(_write, sink, region), block, before)
        regions[last] = region
    ones = tuple((1,) * n for n in array.numblocks)
    chunks = new_array(
        f"{name}-chunk", tasks, cuts=ones, dtype=np.dtype(object), depends_on=[array]
    )
    if is_alone:  # what makes a chunk and what writes it become one task: the chunk stays put
        (chunks,) = dask.optimize(chunks)
    levels = _build_levels(name, sink, regions) if isinstance(sink, PyramidSink) else {}
    merged, root = tree(f"{name}-tree", [*tasks, *levels], _nothing)
    finish = _seal if isinstance(sink, PyramidSink) else _finish
    merged[name] = new_task(name, partial(finish, sink), ref(root))
    return new_value(name, levels | merged, depends_on=[chunks])


def _build_levels(name: str, sink: PyramidSink, regions: dict[Any, Region]) -> Graph:
    """Tasks that make the coarser levels: each part as soon as what it is made from is written."""
    tasks: Graph = {}
    below = _Cut(regions)
    for level, parts in enumerate(sink.pyramid(), start=1):
        made = {(f"{name}-level-{level}", i): part for i, part in enumerate(parts)}
        for key, part in made.items():
            build = partial(_build, sink, level, part)
            tasks[key] = new_task(key, build, refs(below.touched(part.source)))
        below = _Cut({key: part.region for key, part in made.items()})
    return tasks


class _Cut:
    """Regions of a grid, whose cuts may be uneven, each with a key."""

    def __init__(self, regions: dict[Any, Region]) -> None:
        axes = zip(*regions.values(), strict=True)
        self._starts = [sorted({cut.start for cut in cuts}) for cuts in axes]
        self._keys = {tuple(cut.start for cut in r): key for key, r in regions.items()}

    def touched(self, region: Region) -> list[Any]:
        """Keys of the regions that share voxels with one."""
        spans = [
            starts[bisect_right(starts, cut.start) - 1 : bisect_left(starts, cut.stop)]
            for starts, cut in zip(self._starts, region, strict=True)
        ]
        return [self._keys[start] for start in product(*spans)]


def _write(sink: Sink, region: Region, block: Any, before: Any) -> None:
    del before
    sink.write(region, block)


def _build(sink: PyramidSink, level: int, part: PyramidPart, written: Any) -> None:
    del written
    sink.build(level, part)


def _seal(sink: PyramidSink, written: Any) -> None:
    del written
    sink.seal()


def _finish(sink: Sink, written: Any) -> None:
    del written
    sink.finish()


def _nothing(parts: Any) -> None:
    del parts
