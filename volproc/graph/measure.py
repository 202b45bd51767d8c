"""Lazy measurements of all objects of a labelled volume."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import dask.array as da
import numpy.typing as npt
from dask.delayed import Delayed

from volproc.core.errors import ShapeError, VoxelSizeError
from volproc.core.types import Index, Shape
from volproc.core.volume import Volume
from volproc.graph.chunks import Chunk, iterate_chunks
from volproc.graph.layers import (
    Graph,
    array_of,
    listed,
    new_task,
    new_value,
    ref,
    tree,
    unique_name,
    without_collector,
)
from volproc.graph.measure_parts import Target, plan_target
from volproc.io.open import VoxelSize, expand_voxel_size
from volproc.plan.superblocks import plan_superblocks
from volproc.reduce.measuring import Wanted, check_label_type
from volproc.reduce.objects import measure_block
from volproc.reduce.properties import choose_properties, finish, wanted_for
from volproc.reduce.surfaces import BlockSurface, Side, add_surface, decide_surface
from volproc.reduce.tables import ObjectTable, merge_tables


@without_collector()
def measure(
    labels: Volume | da.Array,
    intensity: Volume | da.Array | None = None,
    properties: str | Iterable[str] | None = None,
    *,
    voxel_size: VoxelSize | None = None,
    path: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    scratch: str | os.PathLike[str] | None = None,
) -> Delayed:
    """Measure all objects of a labelled volume, lazily.

    Parameters
    ----------
    labels : Volume or dask array of int, (z, y, x) or (y, x)
        Instances, 0 = background, unique in the volume; numbers may be missing.
    intensity : Volume or dask array, same shape
        Real voxels to be summed up under each object.
    properties : sequence of str, or "all"
        What to measure, see Notes; by default all that is cheap, ``"all"`` all that is possible
        with what is given. Properties of scikit-image may be asked for by any of its names.
    voxel_size : float or tuple of float
        Å per voxel, one number or (z, y, x); for bare arrays, since a volume has its own.
    path : path
        Write the table to this Parquet file instead of returning it, without ever holding all of
        it: for millions of objects.
    overwrite : bool
        Replace the file, once the new one is whole.
    scratch : path
        With ``path``, a folder for parts of the table, seen by all workers; a temporary one by
        default.

    Returns
    -------
    table : Delayed of DataFrame
        One row an object, ascending by ``label``. With ``path``, Delayed of that path.

    Raises
    ------
    ConfigError
        If a property is unknown, asked for twice, or needs an intensity that is not given.
    DtypeError
        If the labels are no integers. Negative ones, and intensities that are no real numbers, are
        found when the table is computed.
    ExistsError
        If the file is there and ``overwrite`` is false.
    ShapeError
        If the two differ in shape, are empty, or have neither two nor three axes.
    VoxelSizeError
        If a property needs a voxel size, or a volume's own is contradicted.

    Notes
    -----
    Properties and their columns; those marked * only when asked for:

    - ``num_voxels``; ``first``, raster index of the first voxel; ``touches_edge``, whether a
      voxel lies on the outer planes of the volume;
    - ``centroid``: ``z``, ``y``, ``x`` in voxels; ``bbox``: ``z_min``, ``z_max``, …, half-open;
    - ``equivalent_diameter_area``: diameter in voxels of the ball, or disc, of that many voxels;
    - ``mean_intensity``, ``min_intensity``, ``max_intensity``, ``std_intensity``: NaN for objects
      with NaN or infinite voxels, which ``num_nonfinite`` * counts;
    - ``volume_nm3``, of a micrograph ``area_nm2``;
    - ``axis_major_length`` *, ``axis_minor_length`` *: of the ellipsoid with the same second
      moments, in voxels; 0 along axes where the object is one voxel thick;
    - ``orientation`` *: of a micrograph, the angle of scikit-image; in space the unit vectors
      ``major_direction_z``, … and ``minor_direction_z``, …, first component not negative;
    - ``num_surface_voxels`` *: voxels with a neighbour of another label, or background, across a
      face; the volume's own edge makes no surface;
    - ``centroid_angstrom`` *, ``equivalent_diameter_angstrom`` *,
      ``axis_major_length_angstrom`` *, ``axis_minor_length_angstrom`` *,
      ``orientation_angstrom`` *: the same in Å, as scikit-image with ``spacing``. Where voxels
      are not cubes, lengths and directions in voxels are those of the array, not of space.

    Values are those of `skimage.measure.regionprops_table`, and the same bits for every chunking,
    worker order and executor: sums are integers, or digits without rounding, up to the last
    division.

    One task a block and one for some sixteen blocks, then a tree. Memory of a block follows its
    objects (see `volproc.reduce.objects.measure_block`); with ``num_surface_voxels`` a block hands
    over its outer planes, mostly one or two bytes a voxel of them. The whole table of all objects
    is held where the result is put together: 100 to 500 bytes an object. With ``path`` it is not:
    groups of blocks write their rows to scratch, and one task merges them by ranges of labels,
    some hundred thousand rows at a time.
    """
    array, values = check_inputs(labels, intensity)
    frame = plan_frame(labels, properties, values is not None, voxel_size)
    target = plan_target(path, overwrite=overwrite, scratch=scratch)
    name = unique_name("measure")
    tasks: Graph = {}
    work = MeasureChunk(array.shape, frame.wanted)
    sources = [a for a in (array, values) if a is not None]
    blocks = {}
    block = f"{name}-block"  # one string for all keys
    for chunk in iterate_chunks(array.chunks):
        key = (block, *chunk.index)
        blocks[chunk.index] = ref(key)
        voxels = [ref((source.name, *chunk.index)) for source in sources]
        tasks[key] = new_task(key, work, chunk, *voxels)
    groups = []
    for number, (own, others) in enumerate(group_blocks(array.numblocks, frame.wanted)):
        groups.append((f"{name}-group", number))
        tables = [listed(map(blocks.__getitem__, indices)) for indices in (own, others)]
        tasks[groups[-1]] = new_task(groups[-1], merge_blocks, own, others, *tables)
    return finish_groups(name, tasks, groups, frame, target, depends_on=sources)


@dataclass(frozen=True, slots=True)
class MeasureChunk:
    """The task that measures one chunk."""

    shape: Shape
    wanted: Wanted

    def __call__(
        self, chunk: Chunk, labels: npt.NDArray[Any], intensity: npt.NDArray[Any] | None = None
    ) -> ObjectTable:
        """Measure one chunk."""
        return measure_block(
            labels,
            offset=chunk.offset,
            shape=self.shape,
            intensity=intensity,
            wanted=self.wanted,
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """What a table of measurements shows."""

    names: tuple[str, ...]
    shape: Shape
    voxel_size: tuple[float, ...]

    @property
    def wanted(self) -> Wanted:
        """What blocks have to measure for it."""
        return wanted_for(self.names)

    def __call__(self, table: ObjectTable) -> Any:
        """Table for people."""
        return finish(table, self.names, shape=self.shape, voxel_size=self.voxel_size)


def check_inputs(
    labels: Volume | da.Array, intensity: Volume | da.Array | None
) -> tuple[da.Array, da.Array | None]:
    """Lazy arrays with the same chunks.

    Raises
    ------
    DtypeError
        If the labels are no integers.
    ShapeError
        If they differ in shape, are empty, or have other than two or three axes.
    """
    array = array_of(labels)
    check_label_type(array.dtype)
    if array.ndim not in (2, 3):
        msg = (
            f"labels have axes (z, y, x) or (y, x), got shape {array.shape}. Select one channel "
            "and one time point first."
        )
        raise ShapeError(msg)
    if prod(array.shape) == 0:
        msg = f"there is nothing to measure in an empty volume, got shape {array.shape}."
        raise ShapeError(msg)
    if intensity is None:
        return array, None
    values = array_of(intensity)
    if values.shape != array.shape:
        msg = (
            f"labels and intensity differ in shape, got {array.shape} and {values.shape}. Give "
            "two volumes of the same region and voxel size."
        )
        raise ShapeError(msg)
    return array, values.rechunk(array.chunks)


def plan_frame(
    labels: Volume | da.Array,
    properties: str | Iterable[str] | None,
    with_intensity: bool,
    voxel_size: VoxelSize | None,
    given: Iterable[str] = (),
) -> Frame:
    """Check what is to be measured.

    Raises
    ------
    ConfigError, VoxelSizeError
        As in `measure`.
    """
    size: tuple[float, ...] = labels.voxel_size if isinstance(labels, Volume) else ()
    if voxel_size is not None:
        asked = expand_voxel_size(voxel_size, labels.ndim)
        if size and size != asked:
            msg = (
                f"the volume has a voxel size of {size} Å, got voxel_size={voxel_size}. Leave it "
                "out, or correct the volume's."
            )
            raise VoxelSizeError(msg)
        size = asked
    has = [*given, *["intensity"] * with_intensity, *["voxel_size"] * bool(size)]
    return Frame(choose_properties(properties, labels.ndim, has), labels.shape, size)


def group_blocks(numblocks: Index, wanted: Wanted) -> Iterator[tuple[list[Index], list[Index]]]:
    """Blocks that one task merges, and those beside them that decide on their surfaces."""
    lowest = plan_superblocks(numblocks)[0]
    for box in lowest.indices():
        own = lowest.children(box)
        others = {i for index in own for i in _beside(index).values()} if wanted.surface else set()
        inside = {i for i in others if all(0 <= a < n for a, n in zip(i, numblocks, strict=True))}
        yield own, sorted(inside - set(own))


def merge_blocks(
    own: Sequence[Index],
    others: Sequence[Index],
    tables: Sequence[ObjectTable],
    beside: Sequence[ObjectTable],
) -> ObjectTable:
    """Merge the tables of some blocks, after their neighbours have decided on their surfaces."""
    known = dict(zip((*own, *others), (*tables, *beside), strict=True))
    outlines = {i: t.outline for i, t in known.items() if t.outline is not None}
    return merge_tables([with_neighbours(i, known[i], outlines) for i in own])


def with_neighbours(
    index: Index, table: ObjectTable, outlines: Mapping[Index, BlockSurface]
) -> ObjectTable:
    """Table of one block with the surface voxels that its neighbours decide on."""
    if index not in outlines:
        return table
    around = {side: outlines[i] for side, i in _beside(index).items() if i in outlines}
    return add_surface(table, *decide_surface(outlines[index], around))


def _beside(index: Index) -> dict[Side, Index]:
    """Blocks behind the outer planes of one, by axis of three and side."""
    lead = 3 - len(index)
    return {
        (lead + axis, side): (*index[:axis], index[axis] + 2 * side - 1, *index[axis + 1 :])
        for axis in range(len(index))
        for side in range(2)
    }


def finish_groups(
    name: str,
    tasks: Graph,
    groups: Sequence[Any],
    frame: Frame,
    target: Target | None,
    *,
    depends_on: Sequence[da.Array | Delayed],
) -> Delayed:
    """Lazy table of all objects, or the path that it is written to, from tables of groups."""
    if target is None:
        merged, root = tree(f"{name}-tree", groups, merge_tables)
        tasks = tasks | merged | {name: new_task(name, frame, ref(root))}
    else:
        tasks = tasks | target.tasks(name, groups, frame)
    return new_value(name, tasks, depends_on=depends_on)
