"""Lazy smoothing of objects."""

from __future__ import annotations

import os
from functools import partial
from math import isfinite
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from volproc.core.errors import ConfigError
from volproc.core.types import Index, Shape
from volproc.core.volume import Volume
from volproc.graph.chunks import Chunk
from volproc.graph.label_stage import Lazy, Stage, check_labels, like
from volproc.graph.lookup import LookupFiles
from volproc.io.chunk_files import ChunkFiles
from volproc.reduce.numbering import (
    LabelTable,
    as_unsigned,
    merge_label_tables,
    number_block,
)
from volproc.reduce.smoothing import SmoothingRule, smooth_block


def smooth(
    labels: Lazy,
    *,
    fraction: float = 0.05,
    truncate: float = 4.0,
    max_sigma: float = 16.0,
    scratch: str | os.PathLike[str] | None = None,
) -> Lazy:
    """Smooth the surface of each object, lazily.

    The mask of an object is blurred with a Gaussian whose standard deviation is a fraction of the
    object's diameter, and cut at one half.

    Parameters
    ----------
    labels : Volume or dask array of int or bool, (z, y, x) or (y, x)
        Instances, 0 = background. What has one label is one object.
    fraction : float
        Standard deviation over the diameter of the ball (of the disk in a micrograph) that has
        as many voxels as the object in the whole volume. Of a Volume both are measured in Å, so
        that the blur is round where voxels are not cubes.
    truncate : float
        Where the Gaussian ends, in standard deviations.
    max_sigma : float
        Greatest standard deviation, voxels: it bounds what a block has to read. With a fraction
        of 0.05 objects of up to 320 voxels in diameter are not held back by 16.
    scratch : path
        Folder for the blocks, as in `volproc.relabel`.

    Returns
    -------
    labels : Volume or dask array
        Of the same type. Where several objects exceed one half, the greatest value wins, then the
        smaller label. An object that is thin for its volume may vanish.

    Raises
    ------
    ConfigError
        If a number is not positive.
    DtypeError
        If labels are not integers, or negative.

    Notes
    -----
    The same bits for every chunking, as `scipy.ndimage.gaussian_filter` on the whole volume and
    one object at a time: beyond the edge the volume goes on mirrored, so that an object that is
    cut off there is not rounded. Two tasks a block and a tree; each chunk is computed once and
    waits on disk, from where a block reads itself and a halo: the radius of the largest object,
    at most ``truncate * max_sigma`` voxels. The table of all objects is whole in one task, 40
    bytes an object, three times that while it is sorted; a block reads its own rows, from disk.

    Examples
    --------
    >>> square = np.zeros((8, 9), int)
    >>> square[1:7, 1:7], square[3, 7] = 5, 5  # with a spur
    >>> smooth(da.from_array(square, chunks=3), fraction=0.2).compute()[3]
    array([0, 5, 5, 5, 5, 5, 5, 0, 0])
    """
    for name, value in (("fraction", fraction), ("truncate", truncate), ("max_sigma", max_sigma)):
        if not (isfinite(value) and value > 0):
            msg = f"{name} is a positive number, got {value}. Leave smooth out for no smoothing."
            raise ConfigError(msg)
    array = check_labels(labels)
    voxel_size = labels.voxel_size if isinstance(labels, Volume) else (1.0,) * array.ndim
    rule = SmoothingRule(fraction, truncate, max_sigma, voxel_size)
    return like(labels, _smoothed(array, rule, scratch))


def _smoothed(
    array: da.Array, rule: SmoothingRule, scratch: str | os.PathLike[str] | None
) -> da.Array:
    stage = Stage(array, "smooth", scratch)
    plain = np.uint64 if array.dtype.itemsize > 4 else np.uint32
    files, lookup = stage.files("labels", plain), stage.lookup()
    leaves = stage.add_blocks(partial(_keep, files=files, shape=array.shape))
    halo = stage.add_root(leaves, merge_label_tables, partial(_plan, lookup=lookup, rule=rule))
    smooth_one = partial(_smooth, files=files, lookup=lookup, rule=rule, dtype=array.dtype)
    return stage.finish(smooth_one, halo, array.dtype)


def _keep(labels: npt.NDArray[Any], *, chunk: Chunk, files: ChunkFiles, shape: Index) -> LabelTable:
    plain = as_unsigned(labels)
    files.write_chunk(chunk.index, plain)
    return number_block(plain, offset=chunk.offset, shape=shape).table


def _plan(table: LabelTable, *, lookup: LookupFiles, rule: SmoothingRule) -> Shape:
    """Write the sizes of all objects; return the halo that the largest one needs."""
    lookup.write(table.label, table.count)
    return rule.radius(int(table.count.max()) if len(table) else 0)


def _smooth(
    report: LabelTable,
    halo: Shape,
    *,
    index: Index,
    files: ChunkFiles,
    lookup: LookupFiles,
    rule: SmoothingRule,
    dtype: np.dtype[Any],
) -> npt.NDArray[Any]:
    del report  # what the halo shows is looked up
    core = tuple(
        slice(sum(cut[:i]), sum(cut[: i + 1])) for cut, i in zip(files.cuts, index, strict=True)
    )
    region = tuple(
        slice(max(0, s.start - h), min(n, s.stop + h))
        for s, h, n in zip(core, halo, files.shape, strict=True)
    )
    smooth_labels = smooth_block(
        files.read(region),
        start=tuple(s.start for s in region),
        core=core,
        shape=files.shape,
        counts=lookup.find,
        rule=rule,
    )
    return smooth_labels.astype(dtype, copy=False)
