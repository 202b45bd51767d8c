"""Tasks that write a lazy array: all that a worker needs for them, and no more.

Points and their tables are not imported here: pandas and its guests would cost each worker 70 MB.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from functools import partial
from itertools import chain, product
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask._task_spec import Alias
from dask.delayed import Delayed

from volproc.core.arrays import PyramidPart, PyramidSink, Sink
from volproc.core.types import Region
from volproc.graph.chunks import iterate_chunks
from volproc.graph.layers import Graph, new_array, new_task, new_value, ref, refs, tree, unique_name


def writing(array: da.Array, sink: Sink, *, is_alone: bool) -> Delayed:
    """Lazy value that writes all chunks of an aligned array, and finishes the output."""
    name = unique_name("write")
    write: Any = partial(_write, sink)
    depth = 0
    if isinstance(sink, PyramidSink):
        depth = sink.depth(array.chunks[array.ndim - len(sink.shape) :])
        write = partial(_write_through, sink, depth)
    tasks: Graph = {}
    regions: dict[Any, Region] = {}
    last = None
    for chunk in iterate_chunks(array.chunks):
        region = chunk.region[array.ndim - len(sink.shape) :]
        # A format that one process must write alone gets its chunks one after the other.
        before = None if sink.is_parallel or last is None else ref(last)
        last = (f"{name}-chunk", *chunk.index)
        block = ref((array.name, *chunk.index))
        tasks[last] = new_task(last, write, region, block, before)
        regions[last] = region
    graph = _fused(array, name, tasks) if is_alone else tasks
    levels: Graph = {}
    finish: Any = partial(_finish, sink)
    if isinstance(sink, PyramidSink):
        levels = _build_levels(name, sink, regions, depth)
        finish = partial(_seal, sink)
    merged, root = tree(f"{name}-tree", [*regions, *levels], _nothing)
    merged[name] = new_task(name, finish, ref(root))
    depends_on = () if is_alone else (array,)
    return new_value(name, graph | levels | merged, depends_on=depends_on)


def _fused(array: da.Array, name: str, tasks: Graph) -> Graph:
    """Make one task of what makes a chunk and what writes it, so that the chunk stays put."""
    ones = tuple((1,) * n for n in array.numblocks)
    chunks = new_array(
        f"{name}-chunk", tasks, cuts=ones, dtype=np.dtype(object), depends_on=[array]
    )
    (chunks,) = dask.optimize(chunks)
    graph = dict(chunks.__dask_graph__())
    # Dask gives what it fused a new key, and leaves a task under the old one that only names it:
    # one more to send, run and gather for each block.
    names = {key: task.target for key, task in graph.items() if isinstance(task, Alias)}
    uses = Counter(chain.from_iterable(task.dependencies for task in graph.values()))
    for key, target in names.items():
        if uses[target] == 1 and target in graph and target not in names:
            graph[key] = graph.pop(target).substitute({}, key=key)
    return graph


def _build_levels(name: str, sink: PyramidSink, regions: dict[Any, Region], depth: int) -> Graph:
    """Tasks that make the levels which the blocks do not fill: each part as soon as it can be."""
    tasks: Graph = {}
    below = _Cut({key: sink.coarsened(region, depth) for key, region in regions.items()})
    for level, parts in list(enumerate(sink.pyramid(), start=1))[depth:]:
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


def _write_through(sink: PyramidSink, depth: int, region: Region, block: Any, before: Any) -> None:
    del before
    sink.write_through(region, block, depth)


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
