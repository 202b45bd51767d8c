"""Lazy seeded watershed, exact for every chunking."""

from __future__ import annotations

import os
from functools import partial
from math import prod
from typing import Any, Literal, TypeVar

import dask.array as da
import numpy.typing as npt

from volproc.core.errors import ConfigError, PlanError, ShapeError, nearest
from volproc.core.volume import Volume
from volproc.graph.chunks import Chunk, iterate_chunks
from volproc.graph.forest import ForestJob, begin, join_trees, paint, solve, trace
from volproc.graph.layers import Graph, array_of, new_array, tree, unique_name
from volproc.graph.object_pieces import Cut
from volproc.graph.scratch import Scratch
from volproc.graph.whole_objects import MAX_OBJECT_VOXELS, paint_objects
from volproc.reduce.watershed import check_flood, flood, flood_objects

Lazy = TypeVar("Lazy", Volume, da.Array)
Method = Literal["objects", "forest"]
Ties = Literal["scikit-image", "object"]


def watershed(
    heights: Lazy,
    markers: Volume | da.Array,
    *,
    mask: Volume | da.Array | None = None,
    connectivity: int = 1,
    method: Method = "objects",
    ties: Ties | None = None,
    max_object_voxels: int = MAX_OBJECT_VOXELS,
    num_threads: int | None = None,
    scratch: str | os.PathLike[str] | None = None,
) -> Lazy:
    """Flood a volume from markers, lazily, with the labels of the whole volume.

    Parameters
    ----------
    heights : Volume or dask array of int or float, (z, y, x) or (y, x)
        What is flooded, lowest voxels first: a boundary probability, or a distance times -1.
    markers : Volume or dask array of int, same shape
        Labels of the voxels to begin at; 0 elsewhere. Those outside the mask do not count.
    mask : Volume or dask array, same shape
        Voxels to flood are those that are not zero; all by default. Its connected components
        are the objects.
    connectivity : int
        1 (faces), 2 (edges) or 3 (corners), as in `scipy.ndimage.generate_binary_structure`.
    method : {"objects", "forest"}
        ``objects``: each object is flooded whole, by one task, in the order of scikit-image. For
        particles, nuclei, cells in a mask. ``forest``: an image-foresting transform, for objects
        of any size, and for volumes without a mask. The two agree but for ties: see Notes.
    ties : {"scikit-image", "object"}, optional
        Of ``objects``: which of several marker voxels of one object goes first where their
        heights are equal. ``scikit-image``: as in one call for the volume, in which objects
        elsewhere have a part; one task floods the volume, which may have ``max_object_voxels``.
        ``object``: as in a call for the object alone, whatever else there is. By default the
        first for volumes that one task may hold, the second for larger ones.
    max_object_voxels : int
        Of ``objects``: most voxels that one task holds: of the box of an object that crosses
        blocks, or of the volume. It needs 40 bytes a voxel for them.
    num_threads : int, optional
        Of ``forest``: blocks that settle at the same time; as many as there are processors if
        not given.
    scratch : path
        Folder for what waits between stages, seen by all workers; a temporary one by default.
        It is removed with the array.

    Returns
    -------
    labels : Volume or dask array
        Label of the marker that each voxel is flooded from, in the type of the markers and the
        chunks of the heights; 0 outside the mask and where no marker leads to. The same bits for
        every chunking.

    Raises
    ------
    ConfigError
        If there is no such method or connectivity.
    DtypeError
        If the markers are not integers, or the heights are not real numbers.
    PlanError
        If a volume without a mask is larger than an object may be. When computed: if an object
        is.
    ShapeError
        If the arrays differ in shape.

    Notes
    -----
    When computed, NaN heights inside the mask raise a `NonFiniteError`.

    **objects.** The labels are bit for bit those of ``skimage.segmentation.watershed`` for the
    whole volume; with ``ties="object"`` but for marker voxels of one object with equal heights:
    between them scikit-image lets the layout of its queue decide, which other objects, however
    far, have a part in. With each object as the mask its labels are the same. Three tasks a
    block and trees. A task holds its block, or the box of one object. An object inside a block is
    flooded there, one that crosses blocks by the block of its first voxel. The root of a
    tree has a row for each piece of an object that crosses blocks.

    **forest.** A way costs its highest level, then the steps since it was reached; a voxel gets
    the label at which its cheapest way begins. Costs have one solution, which blocks reach by
    lowering each other's until nothing changes; trees of first cheapest neighbours, nearer
    ones first, then in raster order, carry the labels. On plateaus between markers this differs
    from scikit-image's order of entry. Three tasks a block, and two for all: one settles the
    costs, ``num_threads`` blocks at a time, the other joins the trees and holds 24 bytes for each
    voxel where a tree crosses into a block, at most the surface of all blocks. A block needs about
    60 bytes a voxel, scratch 17 beside heights and markers.

    References
    ----------
    .. [1] P. Soille and M. Ansoult, "Automated basin delineation from digital elevation models
       using mathematical morphology", Signal Processing 20, 171-182 (1990).
    .. [2] A. Falcão, J. Stolfi, R. Lotufo, "The image foresting transform: theory, algorithms,
       and applications", IEEE Transactions on Pattern Analysis and Machine Intelligence 26,
       19-29 (2004).

    Examples
    --------
    >>> import numpy as np
    >>> heights = da.from_array(np.array([[0, 2, 5, 1, 0]]), chunks=2)
    >>> markers = da.from_array(np.array([[1, 0, 0, 0, 7]]), chunks=2)
    >>> watershed(heights, markers).compute()
    array([[1, 1, 7, 7, 7]])
    """
    levels = array_of(heights)
    seeds, area = array_of(markers), None if mask is None else array_of(mask)
    check_flood(levels.shape, levels.dtype, seeds.shape, seeds.dtype, connectivity)
    if area is not None and area.shape != levels.shape:
        msg = (
            f"heights and mask differ in shape, got {levels.shape} and {area.shape}. Give two of "
            "the same region and voxel size."
        )
        raise ShapeError(msg)
    if prod(levels.shape) == 0:
        msg = f"there is nothing to flood in an empty volume, got shape {levels.shape}."
        raise ShapeError(msg)
    if method == "objects":
        if _is_flooded_whole(ties, levels, max_object_voxels):
            labels = _whole(levels, seeds, area, connectivity)
        else:
            labels = _by_objects(levels, seeds, area, connectivity, max_object_voxels, scratch)
    elif method == "forest":
        labels = _by_forest(levels, seeds, area, connectivity, num_threads, scratch)
    else:
        msg = f'there is no method "{method}" of watershed: '
        raise ConfigError(msg + nearest(str(method), ["objects", "forest"]))
    if isinstance(heights, Volume):
        return heights.with_data(labels, name=f"{heights.name} labels")
    return labels


def _is_flooded_whole(ties: Ties | None, heights: da.Array, max_voxels: int) -> bool:
    """Whether one task floods the volume; see ``ties``."""
    fits = prod(heights.shape) <= max_voxels
    if ties is None:
        return fits
    if ties not in ("scikit-image", "object"):
        msg = f'there are no ties "{ties}" of watershed: '
        raise ConfigError(msg + nearest(str(ties), ["scikit-image", "object"]))
    if ties == "scikit-image" and not fits:
        msg = (
            f'ties="scikit-image" takes one task for all {prod(heights.shape)} voxels, more than '
            f'the {max_voxels} that it may hold. Use ties="object", or raise max_object_voxels if '
            "there is memory for it."
        )
        raise PlanError(msg)
    return ties == "scikit-image"


def _whole(
    heights: da.Array, markers: da.Array, mask: da.Array | None, connectivity: int
) -> da.Array:
    inputs = [a.rechunk(a.shape) for a in (heights, markers, *([] if mask is None else [mask]))]
    labels = da.map_blocks(
        flood, *inputs, connectivity=connectivity, dtype=markers.dtype, meta=markers._meta
    )
    return labels.rechunk(heights.chunks)


def _by_objects(
    heights: da.Array,
    markers: da.Array,
    mask: da.Array | None,
    connectivity: int,
    max_object_voxels: int,
    scratch: str | os.PathLike[str] | None,
) -> da.Array:
    if mask is None:
        # without a mask the whole volume is one object
        if heights.npartitions > 1 and prod(heights.shape) > max_object_voxels:
            msg = (
                f"without a mask the volume is one object of {prod(heights.shape)} voxels, more "
                f"than the {max_object_voxels} that one task may hold. Give a mask, use "
                'method="forest", or raise max_object_voxels if there is memory for it.'
            )
            raise PlanError(msg)
        mask = da.ones(heights.shape, chunks=heights.chunks, dtype=bool)
    elif mask.dtype != bool:
        mask = mask != 0  # one mask, whatever classes it has
    return paint_objects(
        mask.rechunk(heights.chunks),
        partial(_flood, connectivity=connectivity),
        markers.dtype,
        arrays=[heights, markers],
        connectivity=connectivity,
        max_object_voxels=max_object_voxels,
        scratch=scratch,
    )


def _flood(cut: Cut, connectivity: int) -> npt.NDArray[Any]:
    heights, markers = cut.arrays
    return flood_objects(heights, markers, cut.labels, cut.num_objects, connectivity=connectivity)


def _by_forest(
    heights: da.Array,
    markers: da.Array,
    mask: da.Array | None,
    connectivity: int,
    num_threads: int | None,
    scratch: str | os.PathLike[str] | None,
) -> da.Array:
    threads = os.cpu_count() or 1 if num_threads is None else num_threads
    if threads < 1:
        msg = f"a watershed settles in at least one thread, got num_threads={num_threads}."
        raise ConfigError(msg)
    store, cuts = Scratch(scratch), heights.chunks
    arrays = [heights, markers.rechunk(cuts), *([] if mask is None else [mask.rechunk(cuts)])]
    job = ForestJob.lay_out(store.path("forest"), cuts, connectivity, heights.dtype, markers.dtype)
    name = unique_name("watershed")
    tasks: Graph = {f"{name}-scratch": store}  # lives as long as the graph does
    chunks: list[Chunk] = list(iterate_chunks(cuts))

    def barrier(stage: str) -> Any:
        leaves = [(f"{name}-{stage}", *chunk.index) for chunk in chunks]
        merged, root = tree(f"{name}-{stage}-done", leaves, _nothing)
        tasks.update(merged)
        return root

    for chunk in chunks:
        inputs = [(a.name, *chunk.index) for a in arrays]
        tasks[(f"{name}-begin", *chunk.index)] = (partial(begin, job, chunk.index), *inputs)
    tasks[f"{name}-solve"] = (partial(solve, job, threads), barrier("begin"))
    for chunk in chunks:
        tasks[(f"{name}-trace", *chunk.index)] = (
            partial(trace, job, chunk.index),
            f"{name}-solve",
        )
    tasks[f"{name}-join"] = (partial(join_trees, job), barrier("trace"))
    for chunk in chunks:
        tasks[(name, *chunk.index)] = (
            partial(paint, job, chunk.index),
            f"{name}-join",
            f"{name}-scratch",
        )
    return new_array(name, tasks, cuts=cuts, dtype=markers.dtype, depends_on=arrays)


def _nothing(parts: Any) -> None:
    del parts
