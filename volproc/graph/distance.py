"""Lazy exact distances to the background, up to a bound."""

from __future__ import annotations

import os
from functools import partial
from typing import Any, TypeVar

import dask.array as da
import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.types import Region
from volproc.core.volume import Volume
from volproc.graph.chunks import Chunk, iterate_chunks
from volproc.graph.layers import Graph, array_of, new_array, unique_name
from volproc.graph.scratch import Scratch
from volproc.graph.stored_input import store_input
from volproc.io.chunk_files import ChunkFiles
from volproc.reduce.distance import check_distance, distance_block, halo_of

Lazy = TypeVar("Lazy", Volume, da.Array)


def distance(
    mask: Lazy,
    max_distance: float,
    *,
    voxel_size: float | tuple[float, ...] | None = None,
    per_label: bool = False,
    scratch: str | os.PathLike[str] | None = None,
) -> Lazy:
    """Measure the exact Euclidean distance to the background up to a bound, lazily.

    Parameters
    ----------
    mask : Volume or dask array of bool or int, (z, y, x) or (y, x)
        Background is 0. Nothing is background beyond the edge of the volume.
    max_distance : float
        Greatest distance; what lies farther gets this. In voxels, or in the unit of
        ``voxel_size``.
    voxel_size : float or tuple of float, optional
        Length of a voxel along each axis: ``volume.voxel_size`` for distances in Å. Without it
        distances are in voxels, also those of a `Volume`.
    per_label : bool
        Measure to the nearest voxel with another label, background or not, instead of treating
        all that is not 0 alike.
    scratch : path
        Folder in which a computed mask waits, seen by all workers; a temporary one by default.
        It is removed with the array.

    Returns
    -------
    distances : Volume or dask array of float32
        ``min(scipy.ndimage.distance_transform_edt(mask, sampling=voxel_size), max_distance)``,
        with the same bits for every chunking; ``max_distance`` everywhere in a volume without
        background.

    Raises
    ------
    ConfigError
        If the bound is not positive and finite.
    DtypeError
        If the mask is neither boolean nor integer.
    VoxelSizeError
        If a voxel size is not positive, or not one an axis.

    Notes
    -----
    One task a block, and one more that stores a computed mask, whose chunks are computed once. A
    task reads its block with a halo of ``max_distance``, however small the chunks are, and takes
    about 20 bytes a voxel of it; time grows with the distances that there are, up to the bound.

    Examples
    --------
    >>> mask = da.from_array(np.array([[0, 1, 1, 1, 1]]), chunks=2)
    >>> distance(mask, 2.5).compute()
    array([[0. , 1. , 2. , 2.5, 2.5]], dtype=float32)
    """
    array = array_of(mask)
    sizes = (voxel_size,) * array.ndim if isinstance(voxel_size, float | int) else voxel_size
    check_distance(array.shape, array.dtype, max_distance, sizes)
    name, store = unique_name("distance"), Scratch(scratch)
    stored = store_input(mask, store, f"{name}-input")
    tasks: Graph = dict(stored.tasks)
    tasks[f"{name}-scratch"] = store  # lives as long as the graph does
    halo = halo_of(max_distance, sizes, array.ndim)
    measure = partial(
        distance_block, max_distance=max_distance, voxel_size=sizes, per_label=per_label
    )
    chunk: Chunk
    for chunk in iterate_chunks(array.chunks):
        read = tuple(
            slice(max(0, s.start - h), min(n, s.stop + h))
            for s, h, n in zip(chunk.region, halo, array.shape, strict=True)
        )
        tasks[(name, *chunk.index)] = (
            partial(_measure, measure, stored.source, read, chunk.region),
            stored.before(read),
            f"{name}-scratch",
        )
    distances = new_array(
        name, tasks, cuts=array.chunks, dtype=np.dtype(np.float32), depends_on=stored.depends_on
    )
    if isinstance(mask, Volume):
        return mask.with_data(distances, name=f"{mask.name} distance")
    return distances


def _measure(
    measure: Any, source: Source | ChunkFiles, read: Region, write: Region, *after: Any
) -> npt.NDArray[np.float32]:
    """Read a block with its halo, and measure in its core."""
    del after
    core = tuple(
        slice(w.start - r.start, w.stop - r.start) for r, w in zip(read, write, strict=True)
    )
    return measure(source.read(read), core)
