"""Lazy local maxima of a volume."""

from __future__ import annotations

import os
from functools import partial
from math import prod
from typing import Any

import dask.array as da
import numpy.typing as npt
from dask.delayed import Delayed

from volproc.core.arrays import Source
from volproc.core.errors import ShapeError
from volproc.core.points import Points
from volproc.core.types import Region, Shape
from volproc.core.volume import Volume
from volproc.graph.chunks import iterate_chunks, widen
from volproc.graph.layers import Graph, array_of, new_value, tree, unique_name
from volproc.graph.scratch import Scratch
from volproc.graph.stored_input import store_input
from volproc.reduce.peaks import (
    PeakRule,
    PeakTable,
    check_scores,
    find_peaks,
    finish_peaks,
    merge_peaks,
)


def peaks(
    scores: Volume | da.Array,
    *,
    min_distance: float,
    threshold: float | None = None,
    exclude_border: int = 0,
    refine: bool = False,
    class_name: str = "peak",
    scratch: str | os.PathLike[str] | None = None,
) -> Delayed:
    """Find local maxima, lazily, with the answer of the whole volume.

    A voxel is a peak if no other voxel of the ball around it has a greater score, or an equal one
    and a smaller raster index: on a plateau the first voxel alone. NaN is never a peak, and
    exceeds nothing.

    Parameters
    ----------
    scores : Volume or dask array of real numbers, (z, y, x) or (y, x)
        What is searched, such as a probability or a correlation.
    min_distance : float
        Radius of the ball, voxels, at least 1; voxels at exactly this distance belong to it. Two
        peaks are farther apart than this.
    threshold : float, optional
        Least score of a peak, inclusive; without it the volume's background has peaks too.
    exclude_border : int
        Leave out peaks nearer than this many voxels to a face of the volume. They suppress
        others all the same.
    refine : bool
        Move each peak to the top of the parabola through it and its neighbours along each axis,
        by half a voxel at most.
    class_name : str
        Class of the points, where ``scores`` is a volume.
    scratch : path
        Folder in which a computed array waits, seen by all workers; a temporary one by default.
        It is removed with the result.

    Returns
    -------
    peaks : Delayed of Points, or of DataFrame
        `Points` for a three-dimensional `Volume`; otherwise a table with columns ``z``, ``y``,
        ``x`` (``y``, ``x`` for two axes), float64 voxels, and ``score``. The greatest score
        first, equal ones by z, y, x; the same for every chunking.

    Raises
    ------
    ConfigError
        If the distance is less than a voxel, or the threshold is NaN.
    DtypeError
        If the voxels are no real numbers.
    ShapeError
        If the array is empty, or has neither two nor three axes.

    Notes
    -----
    Two tasks a block and a tree; one for an opened volume. Each chunk is computed once; a
    computed one is written to scratch, and blocks read their halo of ``min_distance`` from there.
    Memory: a block with its halo, and the table of all peaks at the end.

    `skimage.feature.peak_local_max` differs where scores are equal: it takes every voxel of a
    plateau as a candidate and thins them out afterwards, its window is a cube, its threshold
    exclusive, and it leaves out a border of ``min_distance`` by default.

    Examples
    --------
    >>> scores = da.from_array([[0, 1, 5, 5, 0, 0, 0, 3]], chunks=3)
    >>> peaks(scores, min_distance=2, threshold=1).compute()
         y    x  score
    0  0.0  2.0    5.0
    1  0.0  7.0    3.0
    """
    array = array_of(scores)
    if array.ndim not in (2, 3) or prod(array.shape) == 0:
        msg = (
            f"peaks are found along (z, y, x) or (y, x), got shape {array.shape}. Select one "
            "channel, and give at least one voxel."
        )
        raise ShapeError(msg)
    check_scores(array.dtype)
    rule = PeakRule(min_distance, threshold, exclude_border, refine)
    store, name = Scratch(scratch), unique_name("peaks")
    stored = store_input(scores, store, f"{name}-input")
    keep = f"{name}-scratch"
    tasks: Graph = {**stored.tasks, keep: store}  # the folder lives as long as the graph does
    leaves = []
    for chunk in iterate_chunks(array.chunks):
        read = widen(chunk.region, rule.halo, array.shape)
        key = (f"{name}-block", *chunk.index)
        work = partial(_find, stored.source, read, chunk.region, array.shape, rule)
        tasks[key] = (work, stored.before(read), keep)
        leaves.append(key)
    merged, root = tree(f"{name}-tree", leaves, merge_peaks)
    tasks |= merged
    frame = scores if isinstance(scores, Volume) and scores.ndim == 3 else None
    place = None if frame is None else (frame.voxel_size, frame.shape, frame.name)
    tasks[name] = (partial(_finish, place=place, class_name=class_name), root, keep)
    return new_value(name, tasks, depends_on=list(stored.depends_on))


def _find(
    source: Source, read: Region, write: Region, shape: Shape, rule: PeakRule, *after: Any
) -> PeakTable:
    """Read one block with its halo, and find its peaks."""
    del after  # arguments only so that the input and its folder are there
    voxels: npt.NDArray[Any] = source.read(read)
    return find_peaks(voxels, read=read, write=write, shape=shape, rule=rule)


def _finish(
    table: PeakTable,
    *after: Any,
    place: tuple[tuple[float, ...], Shape, str] | None,
    class_name: str,
) -> Any:
    """Sort the peaks of all blocks, and make a table for people."""
    del after
    frame = finish_peaks(table)
    if place is None:
        return frame
    voxel_size, shape, name = place
    return Points.from_zyx(
        frame[["z", "y", "x"]].to_numpy(),
        class_name=class_name,
        voxel_size=voxel_size,
        shape=shape,
        score=frame["score"].to_numpy(),
        name=name,
    )
