"""Lazy connected components, measured by the very tasks that find them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed

from volproc.core.types import Index, Shape
from volproc.core.volume import Volume
from volproc.graph.component_ids import Luts
from volproc.graph.component_tree import ComponentTasks, components_of
from volproc.graph.components import BlockReport
from volproc.graph.label import check_mask, label_type, labels_of
from volproc.graph.layers import Graph, new_task, refs, unique_name, without_collector
from volproc.graph.measure import (
    check_inputs,
    finish_groups,
    group_blocks,
    plan_frame,
    with_neighbours,
)
from volproc.graph.measure_parts import plan_target
from volproc.io.open import VoxelSize
from volproc.reduce.measuring import Wanted
from volproc.reduce.objects import measure_block
from volproc.reduce.surfaces import BlockSurface
from volproc.reduce.tables import ObjectTable, merge_tables

Lazy = TypeVar("Lazy", Volume, da.Array)


def label_and_measure(
    mask: Lazy,
    intensity: Volume | da.Array | None = None,
    properties: str | Iterable[str] | None = None,
    *,
    connectivity: int = 1,
    dtype: npt.DTypeLike | None = None,
    voxel_size: VoxelSize | None = None,
    path: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    scratch: str | os.PathLike[str] | None = None,
) -> tuple[Lazy, Delayed]:
    """Find connected components and measure them in one go, lazily.

    The same as `volproc.label` and then `volproc.measure`, but each block is measured while it is
    labelled: the labels are not computed twice, nor read again.

    Parameters
    ----------
    mask : Volume or dask array, (z, y, x) or (y, x)
        Boolean, or integer classes; as in `volproc.label`.
    intensity, properties, voxel_size, path, overwrite
        As in `volproc.measure`. With integer classes there is one more property, ``class_value``,
        by default too.
    connectivity, dtype, scratch
        As in `volproc.label`.

    Returns
    -------
    labels : Volume or dask array
        Objects 1..N by their first voxels in raster order.
    table : Delayed of DataFrame
        Row ``i`` is object ``i + 1``. With ``path``, Delayed of that path.

    Raises
    ------
    ConfigError, DtypeError, ExistsError, ShapeError, VoxelSizeError
        As the two do.

    Notes
    -----
    Two tasks a block, as labelling has by itself, and some three for sixteen blocks. Compute both
    together, ``dask.compute(labels, table)``: each chunk of the mask is then computed once.

    Examples
    --------
    >>> mask = da.from_array(np.array([[1, 0, 2], [1, 0, 2], [1, 0, 0]]), chunks=2)
    >>> labels, table = label_and_measure(mask, properties=["class_value", "area"])
    >>> table.compute()
       label  class_value  area
    0      1            1     3
    1      2            2     2
    """
    array = check_mask(mask, connectivity)
    array, values = check_inputs(array, intensity)
    given = [] if array.dtype == bool else ["classes"]
    frame = plan_frame(mask, properties, values is not None, voxel_size, given)
    target = plan_target(path, overwrite=overwrite, scratch=scratch)
    out = label_type(array, dtype)
    sources = [a for a in (array, values) if a is not None]
    plan = components_of(
        array,
        connectivity,
        dtype=out,
        scratch=scratch,
        keeps_labels=True,
        measure=MeasureComponents(frame.wanted),
        beside=sources[1:],
    )
    labels, _ = labels_of(mask, plan, out)
    name = unique_name("label-and-measure")
    tasks, groups = _group_tasks(name, plan, array.numblocks, frame.wanted)
    return labels, finish_groups(name, tasks, groups, frame, target, depends_on=sources)


@dataclass(frozen=True, slots=True)
class MeasureComponents:
    """What the labelling task does with its local labels."""

    wanted: Wanted

    def __call__(
        self, labels: npt.NDArray[np.uint32], *others: Any, offset: Shape, shape: Shape
    ) -> ObjectTable:
        """Measure one block."""
        intensity = others[0] if others else None
        return measure_block(
            labels, offset=offset, shape=shape, intensity=intensity, wanted=self.wanted
        )


@without_collector()
def _group_tasks(
    name: str, plan: ComponentTasks, numblocks: Index, wanted: Wanted
) -> tuple[Graph, list[Any]]:
    """Tasks that merge the tables of a few blocks by final label, and their keys."""
    tasks = dict(plan.tasks)
    places = {
        index: (luts, place)
        for luts, group in zip(plan.luts, plan.groups, strict=True)
        for place, index in enumerate(group)
    }
    keys = []
    for number, (own, others) in enumerate(group_blocks(numblocks, wanted)):
        blocks = (*own, *others)
        luts = list(dict.fromkeys(places[i][0] for i in blocks))
        at = [(luts.index(places[i][0]), places[i][1]) for i in blocks]
        keys.append((f"{name}-group", number))
        tasks[keys[-1]] = new_task(
            keys[-1], merge_components, len(own), at, refs(map(plan.report, blocks)), refs(luts)
        )
    return tasks, keys


def merge_components(
    num_own: int,
    places: Sequence[tuple[int, int]],
    reports: Sequence[BlockReport],
    luts: Sequence[Luts],
) -> ObjectTable:
    """Merge the tables of some blocks by final label.

    Parameters
    ----------
    num_own : int
        The first so many blocks are merged, the others decide on their surfaces.
    places : sequence of (int, int)
        For each block, which of ``luts`` has its table, and where.
    reports : sequence of BlockReport
        Of all these blocks.
    luts : sequence of Luts
        Final labels.
    """
    tables: dict[Index, ObjectTable] = {}
    outlines: dict[Index, BlockSurface] = {}
    for number, (report, (which, place)) in enumerate(zip(reports, places, strict=True)):
        lut = luts[which].tables[place].astype(np.int64)
        table = report.table
        if table.outline is not None:
            outlines[report.index] = table.outline.with_names(lut[table.outline.names])
        if number < num_own:
            tables[report.index] = table.with_labels(lut[table.label])
    return merge_tables([with_neighbours(i, table, outlines) for i, table in tables.items()])
