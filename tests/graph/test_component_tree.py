"""The graph of labelling: few tasks a block, quickly planned; numbers beyond 32 bits."""

from __future__ import annotations

from math import prod
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask._task_spec import Alias, convert_legacy_graph

from volproc.core.errors import DtypeError
from volproc.graph.component_ids import Ids, Joined, hand_down, keep, number_layers
from volproc.graph.component_tree import components_of
from volproc.graph.components import objects_of
from volproc.graph.label import label
from volproc.graph.scratch import Scratch, use_scratch
from volproc.io.scratch_tables import ScratchTables
from volproc.reduce.faces import upper_directions
from volproc.reduce.objects import measure_block
from volproc.reduce.superblocks import Outside, SuperBlock


def num_tasks(lazy: Any) -> int:
    """Tasks of the graph as Dask runs it; a second name for a fused task is none."""
    (optimised,) = dask.optimize(lazy)
    graph = convert_legacy_graph(dict(optimised.__dask_graph__()))
    return sum(not isinstance(task, Alias) for task in graph.values())


@pytest.mark.parametrize("numblocks", [(9, 8, 7), (1, 25, 21), (300, 1, 1), (20, 25)])
@pytest.mark.parametrize("connectivity", [1, 2])
def test_two_tasks_a_block_besides_the_tree(numblocks, connectivity) -> None:
    mask = da.zeros([2 * n for n in numblocks], chunks=2, dtype=bool)
    labels, _ = label(mask, connectivity=connectivity)
    num_blocks = prod(numblocks)
    # what makes a chunk of the mask is fused with what labels it
    assert num_blocks * 2 < num_tasks(labels) < num_blocks * 2.3


def test_on_the_way_down_each_task_has_one_task_above_it() -> None:
    """Dask orders a graph slowly where many tasks hang on all blocks and on some more."""
    labels, _ = label(da.zeros((18, 16, 14), chunks=2, dtype=bool))
    graph = dict(labels.__dask_graph__())
    names = ("-down", "-luts", labels.name)
    down = [task for key, task in graph.items() if key[0].endswith(names)]
    assert len(down) > 9 * 8 * 7
    assert all(len(task.dependencies) == 1 for task in down)


def test_each_block_gets_its_own_table_only() -> None:
    mask = np.random.default_rng(0).random((8, 16, 16)) < 0.2
    array = da.from_array(mask, chunks=(2, 2, 2))
    plan = components_of(array, 1)
    graph = dict(array.__dask_graph__()) | plan.tasks
    luts, reports = dask.get(
        graph, [plan.luts, [[plan.report(i) for i in group] for group in plan.groups]]
    )
    for lut, group in zip(luts, reports, strict=True):
        assert [len(t) - 1 for t in lut.tables] == [len(r.first) for r in group]


def test_measurements_of_the_labelling_task_come_with_the_final_labels() -> None:
    classes = np.random.default_rng(0).integers(0, 3, (6, 7, 9)).astype(np.uint8)
    array = da.from_array(classes, chunks=(2, 3, 4))
    plan = components_of(array, 1, measure=measure_block)
    tables = []
    graph = dict(array.__dask_graph__()) | plan.tasks
    for number, group in enumerate(plan.groups):
        reports = [plan.report(i) for i in group]
        graph[f"objects-{number}"] = (objects_of, plan.luts[number], reports)
    tables = dask.get(graph, [f"objects-{n}" for n in range(len(plan.groups))])
    labels, count = dask.compute(*label(array))
    assert sum(int(t.count.sum()) for t in tables) == (classes > 0).sum()
    for table in tables:
        for number, value in zip(table.label, table.classes, strict=True):
            assert set(classes[labels == number]) == {value}
    assert max(t.label.max() for t in tables) == count


def test_more_objects_than_32_bits_hold_are_numbered(tmp_path) -> None:
    tables = ScratchTables(str(tmp_path / "tables"))
    scratch = use_scratch(Scratch(tmp_path))
    none = np.zeros(0, np.int64)
    empty = Outside(none, none, np.zeros(0, np.uint8), np.zeros((0, 2), np.int64))
    top = keep(SuperBlock((np.array([70, 90]),), none, empty), "0-0", tables, scratch)
    tables.write_one("layer-0", np.array([1, 2]))
    tables.write_one("layer-1", np.array([70, 80, 90]))
    counts, starts = [2**32 - 2, 3], np.array([0, 50])
    with pytest.raises(DtypeError, match=r"4294967297 objects do not fit into uint32.*uint64"):
        number_layers(counts, top, starts=starts, dtype=np.dtype(np.uint32))
    numbering = number_layers(counts, top, starts=starts, dtype=np.dtype(np.uint64))
    assert numbering.num_objects == 2**32 + 1
    (ids,) = hand_down(numbering, 0, "0-0", tables=tables).parts
    assert ids.tolist() == [2**32 - 1, 2**32 + 1]


def test_ids_reach_the_parts_of_parts(tmp_path) -> None:
    tables = ScratchTables(str(tmp_path / "tables"))
    scratch = use_scratch(Scratch(tmp_path))
    none = np.zeros(0, np.int64)
    outside = Outside(
        np.array([5, 9]), np.array([5, 5]), np.ones(2, np.uint8), np.zeros((0, 2), np.int64)
    )
    below = keep(SuperBlock((np.array([5, 3]), none), none, outside), "0-1", tables, scratch)
    assert isinstance(below, Joined)
    tables.write_one("layer-0", np.array([2, 3]))
    numbering = number_layers([2], below, starts=np.array([0]), dtype=np.dtype(np.int64))
    above = Ids(numbering, (none, np.array([7])))
    own, other = hand_down(above, 1, "0-1", tables=tables).parts
    assert (own.tolist(), other.tolist()) == ([7, 2], [])


@pytest.mark.parametrize("connectivity", [1, 2, 3])
def test_a_group_waits_for_its_blocks_and_those_that_they_are_joined_with(connectivity) -> None:
    array = da.zeros((5, 6, 9), chunks=1, dtype=np.uint8)
    plan = components_of(array, connectivity)
    steps = upper_directions(3, connectivity)
    ups = [key for key in plan.tasks if key[:2] == (f"{plan.name}-up", 0)]
    assert len(ups) == len(plan.groups) > 1
    for up, group in zip(sorted(ups), plan.groups, strict=True):
        moved = {tuple(np.add(index, step).tolist()) for index in group for step in steps}
        inside = {i for i in moved if all(0 <= a < n for a, n in zip(i, (5, 6, 9), strict=True))}
        needed = {plan.report(index) for index in inside | set(group)}
        assert plan.tasks[up].dependencies == needed
