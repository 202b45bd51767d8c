"""Dask arrays from tables of tasks: the only place that knows how Dask writes a graph."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import dask.array as da
import numpy as np
from dask._task_spec import DataNode, GraphNode, List, Task, TaskRef
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer

from volproc.core.errors import ShapeError
from volproc.core.volume import Volume
from volproc.graph.chunks import Cuts

Graph = dict[Any, Any]
"""Keys and tasks. A task is what `new_task` makes, or a tuple of a callable and its arguments,
which may be keys; Dask converts tuples, which takes longer than making them."""


def unique_name(stage: str) -> str:
    """Return a key prefix that no other graph has."""
    return f"{stage}-{uuid4().hex[:16]}"


def ref(key: Any) -> TaskRef:
    """Stand for the result of a task among the arguments of `new_task`."""
    return TaskRef(key)


def refs(keys: Iterable[Any]) -> GraphNode | list[Any]:
    """Stand for a list of results."""
    return listed(map(TaskRef, keys))


def listed(found: Iterable[TaskRef]) -> GraphNode | list[Any]:
    """Stand for a list of results that there are a `ref` of already: many tasks may share it."""
    items = tuple(found)
    return List(*items) if items else []


def new_task(key: Any, function: Callable[..., Any], *args: Any) -> Task:
    """Call a function; Dask takes the arguments as they are, but for `ref` and `refs`."""
    return Task(key, function, *args)


def new_data(key: Any, value: Any) -> DataNode:
    """Keep a value in the graph, as the result of a task that does nothing."""
    return DataNode(key, value)


def new_array(
    name: str,
    tasks: Graph,
    *,
    cuts: Cuts,
    dtype: np.dtype[Any],
    depends_on: Sequence[da.Array | Delayed] = (),
) -> da.Array:
    """Lazy array whose chunks are the tasks ``(name, *index)`` of a graph."""
    graph = _layer(name, tasks, depends_on)
    return da.Array(graph, name, cuts, meta=np.empty((0,) * len(cuts), dtype))


def new_value(name: str, tasks: Graph, *, depends_on: Sequence[da.Array | Delayed] = ()) -> Delayed:
    """Lazy value of the task ``name`` of a graph."""
    return Delayed(name, _layer(name, tasks, depends_on))


def _layer(name: str, tasks: Graph, depends_on: Sequence[da.Array | Delayed]) -> HighLevelGraph:
    return HighLevelGraph.from_collections(name, TaskLayer(tasks), dependencies=list(depends_on))


class TaskLayer(MaterializedLayer):
    """Tasks as Dask's optimisation walks through them: a tenth less time for 10,000 blocks."""

    def keys(self) -> Any:
        """All keys."""
        return self.mapping.keys()

    def values(self) -> Any:
        """All tasks."""
        return self.mapping.values()

    def items(self) -> Any:
        """Keys and tasks."""
        return self.mapping.items()

    def cull(
        self, keys: set[Any], all_hlg_keys: Collection[Any]
    ) -> tuple[Layer, Mapping[Any, Any]]:
        """Keep what some keys need; also say what each task that is kept depends on."""
        if self.has_legacy_tasks:
            return super().cull(keys, all_hlg_keys)
        kept: Graph = {}
        needs: dict[Any, frozenset[Any]] = {}
        left = list(keys)
        while left:
            key = left.pop()
            task = self.mapping.get(key)
            if task is not None and key not in kept:
                kept[key], needs[key] = task, task.dependencies
                left.extend(task.dependencies)
        return TaskLayer(kept, annotations=self.annotations), needs


@contextmanager
def without_collector() -> Iterator[None]:
    """Make a graph while the collector of cycles rests; also a decorator.

    It would look again and again at all the tasks made so far, half of the time of making them, to
    find that there are no cycles.
    """
    was_at_work = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_at_work:
            gc.enable()


def array_of(volume: Volume | da.Array) -> da.Array:
    """Return the lazy array of a volume, or the array itself, with known chunk sizes.

    Raises
    ------
    ShapeError
        If a chunk's size is unknown, as after boolean indexing.
    """
    array = volume.data if isinstance(volume, Volume) else volume
    if any(np.isnan(c) for cut in array.chunks for c in cut):
        msg = (
            "the sizes of the chunks are not known, got "
            f"{array.chunks}. Call compute_chunk_sizes() on the array first."
        )
        raise ShapeError(msg)
    return array


def tree(
    prefix: str, leaves: Sequence[Any], combine: Any, *, fan_in: int = 16
) -> tuple[Graph, Any]:
    """Tasks that combine leaves as a tree.

    Parameters
    ----------
    prefix : str
        Begins the keys.
    leaves : sequence of keys
        In raster order.
    combine : callable
        Takes a list of results; associative.

    Returns
    -------
    tasks : dict
        Keys ``(prefix, level, number)``.
    root : key
        Result of all.
    """
    tasks: Graph = {}
    level, keys = 0, list(leaves)
    while len(keys) > 1 or level == 0:
        groups = [keys[i : i + fan_in] for i in range(0, len(keys), fan_in)]
        keys = [(prefix, level, i) for i in range(len(groups))]
        for key, group in zip(keys, groups, strict=True):
            tasks[key] = new_task(key, combine, refs(group))
        level += 1
    return tasks, keys[0]
