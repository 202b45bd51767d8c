"""One labelling from instances that were found in overlapping blocks, lazily."""

from __future__ import annotations

import os
from functools import partial
from typing import Any, TypeVar

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed

from volproc.core.arrays import Source
from volproc.core.errors import ShapeError
from volproc.core.types import Index, Shape
from volproc.core.volume import Volume
from volproc.graph.chunks import iterate_chunks
from volproc.graph.label import label_type
from volproc.graph.layers import Graph, array_of, new_array, tree, unique_name
from volproc.graph.scratch import Scratch
from volproc.graph.stitch_blocks import (
    Segment,
    StitchJob,
    claim_block,
    finish_chunk,
    match_block,
    paint_block,
    pick_labels,
    pick_palettes,
    segment_block,
)
from volproc.graph.stitch_checks import (
    Chunks,
    check_blocks,
    check_cover,
    cuts_of_blocks,
    cuts_of_volume,
    instances_of,
    one_an_axis,
    voxels_of,
)
from volproc.io.chunk_files import ChunkFiles
from volproc.reduce.stitching_grid import OverlapGrid
from volproc.reduce.stitching_paint import Numbering, StitchReport, number_objects
from volproc.reduce.stitching_rule import check_min_overlap, judge, merge_evidence
from volproc.reduce.tables import merge_tables

Lazy = TypeVar("Lazy", Volume, da.Array)

GROUP = 16
"""Chunks whose parts of a table one task cuts out."""


def stitch(
    blocks: Lazy,
    *,
    halo: int | Shape,
    chunks: Chunks | None = None,
    min_overlap: float = 0.5,
    scores: Volume | da.Array | None = None,
    scratch: str | os.PathLike[str] | None = None,
    dtype: npt.DTypeLike | None = None,
) -> tuple[Lazy, Delayed]:
    """Make one labelling of instances that were found in overlapping blocks, lazily.

    ::

        chunks       |     A     |     B     |         A and B both see the overlap. Object 1 is
        block of A   ============|===                  A's, whole mask: its centroid lies in A's
        block of B            ===|============         chunk. What B found of it is its partner
        objects          (11111111)   (222222)         by overlap, and adds nothing. 2 is B's.

    Parameters
    ----------
    blocks : Volume or dask array of int, (z, y, x) or (y, x)
        Each chunk of the array is one block with its halo, the halo cut off at the volume's edge:
        what ``dask.array.overlap.overlap(x, depth=halo, boundary="none")`` and then
        ``map_blocks(segment)`` give. Instances are numbered within their block, in any way; 0 is
        background.
    halo : int or tuple of int
        Voxels that a block sees beyond its chunk on each side, (z, y, x) or (y, x); better not
        less than the largest object. 0 along axes with one chunk.
    chunks : tuple of int, or of tuples of int
        The chunks without their halos, one size an axis or all sizes; by default what remains of
        the blocks.
    min_overlap : float
        Least part of the smaller of two objects that has to be in common, exclusive, in [0, 1).
    scores : Volume or dask array, shape and chunks of ``blocks``
        Confidence of each voxel; the mean under an object is its score. Where the masks of two
        objects overlap, the greater score wins the voxel.
    scratch : path
        Folder for what stands between the stages, seen by all workers; a temporary one by
        default. It is removed with the array.
    dtype : dtype
        Type of the labels; by default uint32, and uint64 where there may be more objects.

    Returns
    -------
    labels : Volume or dask array of the volume's shape, in ``chunks``
        Objects 1..N by their first voxels in raster order.
    report : Delayed of StitchReport
        Numbers of objects, claims and matches; tables of the objects longer than the halo and of
        those that no block owns: see `volproc.reduce.stitching_paint.StitchReport`.

    Raises
    ------
    ConfigError
        If ``min_overlap`` is no share.
    DtypeError
        If instances or ``dtype`` are not integers; if there are more objects than it has numbers.
    HaloError
        If there is no halo along an axis that is cut.
    ShapeError
        If the blocks are not those of the chunks and the halo.

    Notes
    -----
    An object that touches a block's border inside the volume is a fragment there. A block owns
    its whole objects with their centroid in its chunk. Pairs of claims are held against each
    other in all of the region that two blocks see, at faces, edges and corners; only mutual best
    partners count. An object's mask comes from one block: its owner, or where there is none the
    block that has the largest whole mask. Only objects that no block sees whole are put together
    from fragments, each painted in its own block's chunk. The result does not depend on the order
    of blocks, or on how a block numbers its objects.

    Four tasks a block (keep, match, paint, number), an eighth more for tables, and two trees. A
    task holds two blocks at most. The tables of all claims, about 300 bytes each, are held by
    two tasks and by those that cut them up for 16 chunks. Blocks are computed once per
    computation, so ask for labels and report together: ``dask.compute(*stitch(…))``.

    References
    ----------
    Owners: StarDist's ``predict_instances_big``. Mutual best partners: the face stitching of
    cluster_tools. Pieces and cut-off claims are our own.

    Examples
    --------
    >>> truth = np.array([[1, 1, 1, 0, 0, 2, 2, 0]])
    >>> left, right = truth[:, :5], truth[:, 3:]  # halo 1 around the cut after voxel 4
    >>> blocks = da.concatenate([da.from_array(left), da.from_array(right * 5)], axis=1)
    >>> labels, report = stitch(blocks, halo=(0, 1), chunks=(1, 4))
    >>> labels.compute()
    array([[1, 1, 1, 0, 0, 2, 2, 0]], dtype=uint32)
    """
    array = instances_of(blocks)
    check_min_overlap(min_overlap)
    depth = one_an_axis(halo, array.ndim)
    grid = OverlapGrid(cuts_of_blocks(array.chunks, depth, chunks), depth)
    check_blocks(array.chunks, grid)
    confidence = None if scores is None else array_of(scores)
    if confidence is not None and confidence.chunks != array.chunks:
        msg = (
            f"scores have chunks {confidence.chunks}, blocks {array.chunks}. Give a score for "
            "each voxel of each block."
        )
        raise ShapeError(msg)
    store, name = Scratch(scratch), unique_name("stitch")
    job = _make_job(grid, store, min_overlap)
    tasks: Graph = {}
    index: Index
    for index in grid.indices():
        score = None if confidence is None else (confidence.name, *index)
        claim = partial(claim_block, job=job, index=index)
        tasks[(f"{name}-claim", *index)] = (claim, (array.name, *index), score)
    sources = [a for a in (array, confidence) if a is not None]
    labels, report = _stitch_claims(tasks, name, job, store, label_type(array, dtype), sources)
    if isinstance(blocks, Volume):
        return blocks.with_data(labels, name=f"{blocks.name} labels"), report
    return labels, report


def segment_blocks(
    volume: Lazy,
    function: Segment,
    *,
    halo: int | Shape,
    chunks: Chunks | None = None,
    min_overlap: float = 0.5,
    scratch: str | os.PathLike[str] | None = None,
    dtype: npt.DTypeLike | None = None,
) -> tuple[Lazy, Delayed]:
    """Find instances block by block with any function, and stitch them, lazily.

    Parameters
    ----------
    volume : Volume or dask array, (z, y, x) or (y, x)
        Voxels. A volume from storage is read there, each block with its halo; a computed one is
        first written to scratch.
    function : callable
        Takes the voxels of a block, halo included, as an array; gives its instances, an integer
        array of the same shape with 0 as background. Or a pair of that and scores: a mapping of
        label to float, or an array of the same shape whose mean under an object is its score.
    halo, min_overlap, scratch, dtype
        As in `stitch`.
    chunks : tuple of int, or of tuples of int
        Chunks of the result; by default those of the volume. Eight halos wide or more, the halos
        cost at most twice the time.

    Returns
    -------
    labels, report
        As those of `stitch`.

    Raises
    ------
    ConfigError, DtypeError, HaloError, ShapeError
        As in `stitch`; errors of the function name the block.

    Notes
    -----
    The function is called once a block, even if labels and report are computed one after the
    other. Four tasks a block, one more if the volume is computed; see `stitch`.

    Examples
    --------
    >>> from scipy import ndimage
    >>> image = da.from_array(np.eye(6), chunks=3)
    >>> labels, _ = segment_blocks(image, lambda block: ndimage.label(block)[0], halo=1)
    >>> labels.compute().max()
    np.uint32(6)
    """
    array = voxels_of(volume)
    check_min_overlap(min_overlap)
    grid = OverlapGrid(cuts_of_volume(array, chunks), one_an_axis(halo, array.ndim))
    check_cover(grid, array)
    store, name = Scratch(scratch), unique_name("stitch")
    job = _make_job(grid, store, min_overlap)
    source, tasks, after = _readable(volume, array, store, name)
    index: Index
    for index in grid.indices():
        tasks[(f"{name}-claim", *index)] = (
            partial(segment_block, source=source, function=function, job=job, index=index),
            after,
        )
    sources = [] if after is None else [array]
    labels, report = _stitch_claims(tasks, name, job, store, label_type(array, dtype), sources)
    if isinstance(volume, Volume):
        return volume.with_data(labels, name=f"{volume.name} labels"), report
    return labels, report


def _make_job(grid: OverlapGrid, store: Scratch, min_overlap: float) -> StitchJob:
    kind = np.dtype(np.uint32)
    return StitchJob(
        grid,
        ChunkFiles(store.path("blocks"), grid.block_sizes, kind, is_compressed=True),
        ChunkFiles(store.path("painted"), grid.cuts, kind, is_compressed=True),
        min_overlap,
    )


def _stitch_claims(
    tasks: Graph,
    name: str,
    job: StitchJob,
    store: Scratch,
    dtype: np.dtype[Any],
    sources: list[da.Array],
) -> tuple[da.Array, Delayed]:
    """Labels and report from the tasks that keep what blocks have found."""
    grid = job.grid
    indices = list(grid.indices())
    for index in indices:
        seen = [(f"{name}-claim", *i) for i in (index, *grid.partners(index))]
        tasks[(f"{name}-match", *index)] = (partial(match_block, job=job), seen)
    matched = [(f"{name}-match", *i) for i in indices]
    merged, root = tree(f"{name}-evidence", matched, merge_evidence)
    verdict = f"{name}-verdict"
    tasks |= merged
    tasks[verdict] = (
        partial(judge, num_blocks=len(grid)),
        root,
    )
    labels_name, numbering = unique_name("stitched"), f"{name}-numbering"
    keep = f"{name}-scratch"
    tasks[keep] = store  # lives as long as the graph does
    for number, first in enumerate(range(0, len(indices), GROUP)):
        group = indices[first : first + GROUP]
        palettes, luts = (f"{name}-palettes", number), (f"{name}-luts", number)
        tasks[palettes] = (partial(pick_palettes, job=job, indices=group), verdict)
        tasks[luts] = (partial(pick_labels, dtype=dtype), numbering, palettes)
        for place, index in enumerate(group):
            paint = partial(paint_block, job=job, index=index, place=place)
            finish = partial(finish_chunk, job=job, index=index, place=place)
            tasks[(f"{name}-paint", *index)] = (paint, palettes)
            tasks[(labels_name, *index)] = (finish, luts, keep)
    painted = [(f"{name}-paint", *i) for i in indices]
    merged, root = tree(f"{name}-objects", painted, merge_tables)
    tasks |= merged
    tasks[numbering] = (number_objects, verdict, root)
    tasks[f"{name}-report"] = (_report, numbering, keep)
    labels = new_array(labels_name, tasks, cuts=grid.cuts, dtype=dtype, depends_on=sources)
    return labels, Delayed(f"{name}-report", labels.__dask_graph__(), layer=labels_name)


def _readable(
    volume: Volume | da.Array, array: da.Array, store: Scratch, name: str
) -> tuple[Source, Graph, Any]:
    """Source of a volume; for a computed one, tasks that write it first and the last of them."""
    if isinstance(volume, Volume) and volume.source is not None:
        return volume.source, {}, None
    files = ChunkFiles(store.path("input"), array.chunks, array.dtype)
    leaves, tasks = [], {}
    for chunk in iterate_chunks(array.chunks):
        key = (f"{name}-spool", *chunk.index)
        tasks[key] = (partial(_spool, files, chunk.index), (array.name, *chunk.index))
        leaves.append(key)
    merged, root = tree(f"{name}-spool-tree", leaves, _nothing)
    return files, tasks | merged, root


def _spool(files: ChunkFiles, index: Index, block: npt.NDArray[Any]) -> None:
    files.write_chunk(index, block)


def _nothing(parts: Any) -> None:
    del parts


def _report(numbering: Numbering, scratch: Any) -> StitchReport:
    del scratch  # an argument only so that the folder outlives this task
    return numbering.report
