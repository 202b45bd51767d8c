"""Graphs by hand: chunks, trees, lazy arrays."""

from __future__ import annotations

import gc
from functools import partial

import dask
import dask.array as da
import numpy as np
import pytest
from dask.highlevelgraph import MaterializedLayer
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import ShapeError
from volproc.graph.chunks import iterate_chunks
from volproc.graph.layers import (
    TaskLayer,
    array_of,
    new_array,
    new_data,
    new_task,
    new_value,
    ref,
    refs,
    tree,
    unique_name,
    without_collector,
)

CUTS = ((2, 3), (7,), (5, 1, 5))


@given(st.integers(1, 70), st.integers(2, 5))
def test_a_tree_combines_all_leaves_in_order(count: int, fan_in: int) -> None:
    leaves = [f"leaf-{i}" for i in range(count)]
    tasks, root = tree("tree", leaves, partial(sum, start=()), fan_in=fan_in)
    graph = {leaf: (lambda i=i: (i,),) for i, leaf in enumerate(leaves)} | tasks
    assert dask.get(graph, root) == tuple(range(count))
    assert all(len(task.dependencies) <= fan_in for task in tasks.values())


def test_an_array_of_tasks_is_what_the_tasks_give() -> None:
    name = unique_name("test")
    whole = np.arange(5 * 7 * 11).reshape(5, 7, 11)
    tasks = {(name, *c.index): (whole.__getitem__, c.region) for c in iterate_chunks(CUTS)}
    array = new_array(name, tasks, cuts=CUTS, dtype=whole.dtype)
    np.testing.assert_array_equal(array.compute(), whole)
    np.testing.assert_array_equal((array + 1)[3:, :, 4].compute(), whole[3:, :, 4] + 1)


def test_a_value_may_depend_on_arrays() -> None:
    array = da.ones((4, 6), chunks=(2, 6))
    name = unique_name("total")
    keys = [(array.name, i, 0) for i in range(2)]
    value = new_value(name, {name: (lambda parts: sum(p.sum() for p in parts), keys)},
                      depends_on=[array])  # fmt: skip
    assert value.compute() == 24


def test_names_are_unique() -> None:
    assert len({unique_name("stage") for _ in range(100)}) == 100


def test_unknown_chunk_sizes_are_refused() -> None:
    flat = da.from_array(np.arange(12), chunks=4)
    with pytest.raises(ShapeError, match="compute_chunk_sizes"):
        array_of(flat[flat > 3])


@pytest.mark.parametrize("wanted", [{"b"}, {"c"}, {"a", "d"}, {"none of these"}])
def test_a_layer_is_culled_to_what_is_needed(wanted: set[str]) -> None:
    tasks = {
        "a": new_task("a", int),
        "b": new_task("b", abs, ref("a")),
        "c": new_task("c", sum, refs(["a", "b", "elsewhere"])),
        "d": new_task("d", abs, ref("elsewhere")),
    }
    culled, needs = TaskLayer(tasks, annotations={"retries": 2}).cull(set(wanted), set())
    as_dask, as_dask_needs = MaterializedLayer(tasks).cull(set(wanted), set())
    assert dict(culled) == dict(as_dask)
    assert {key: set(of) for key, of in needs.items()} == as_dask_needs
    assert culled.annotations == {"retries": 2}


def test_a_layer_of_tuples_is_culled_too() -> None:
    layer = TaskLayer({"a": (int,), "b": (abs, "a"), "c": (abs, "elsewhere")})
    culled, needs = layer.cull({"b"}, {"a", "b", "c", "elsewhere"})
    assert (set(culled), needs) == ({"a", "b"}, {"b": {"a"}, "a": set()})


@without_collector()
def fail_without_collector() -> None:
    assert not gc.isenabled()
    raise ZeroDivisionError


def test_the_collector_rests_inside_only_and_stays_off_for_who_turned_it_off() -> None:
    was_at_work = gc.isenabled()
    try:
        for before in (True, False):
            gc.enable() if before else gc.disable()
            with pytest.raises(ZeroDivisionError):
                fail_without_collector()
            assert gc.isenabled() is before
    finally:
        gc.enable() if was_at_work else gc.disable()


def test_a_value_in_the_graph_is_its_own_result() -> None:
    assert new_value("five", {"five": new_data("five", 5)}).compute() == 5
