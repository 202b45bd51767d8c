"""Lazy labels on a coarser or finer grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import accumulate
from operator import mul, truediv
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from volproc.core.errors import ConfigError
from volproc.core.types import Region, Shape
from volproc.core.volume import Volume
from volproc.graph.chunks import Chunk, iterate_chunks
from volproc.graph.label_stage import Lazy, check_labels, noted
from volproc.graph.layers import Graph, new_array, unique_name
from volproc.reduce.rescaling import Method, as_factors, cell_cuts, enlarge_labels, shrink_labels


def downscale(labels: Lazy, factor: int | tuple[int, ...], *, method: Method = "majority") -> Lazy:
    """Make labels coarser by integer factors, lazily.

    Parameters
    ----------
    labels : Volume or dask array of int or bool, (z, y, x) or (y, x)
        Instances or classes, 0 = background.
    factor : int or tuple of int
        Voxels that become one, along all axes or along each.
    method : {"majority", "nearest"}
        The most frequent label of each cell, background counting as any other; of equally
        frequent ones an object before background, then the smaller label. Or the cell's first
        voxel, as in the pyramids that `volproc.save` writes.

    Returns
    -------
    labels : Volume or dask array
        Of the same type. Sizes are rounded up, and a cell at the end counts the voxels that it
        has. Voxels of a Volume are larger by the factor; with ``"majority"`` its origin, the
        centre of the first voxel, moves by half a new voxel less half an old one, with
        ``"nearest"`` it stays.

    Raises
    ------
    ConfigError
        If a factor is not a positive integer, or the method is unknown.
    DtypeError
        If labels are not integers, or negative.

    Notes
    -----
    The same for every chunking. One task a block where chunks begin at cells. Otherwise borders
    between chunks are first moved up to the next cell by Dask's rechunking, which moves fewer
    voxels than a factor; each chunk is still computed once. Chunks shrink with the volume:
    rechunk before many small ones are saved.

    Examples
    --------
    >>> labels = da.from_array(np.array([[0, 4, 4], [4, 4, 0]]), chunks=1)
    >>> downscale(labels, 2).compute()
    array([[4, 4]])
    """
    array = check_labels(labels)
    factors = as_factors(factor, array.ndim)
    if method not in ("majority", "nearest"):
        msg = f"method is 'majority' or 'nearest', got {method!r}."
        raise ConfigError(msg)
    coarse = _coarser(array, factors, method)
    return _framed(labels, coarse, mul, factors, moves=method == "majority")


def upscale(labels: Lazy, factor: int | tuple[int, ...]) -> Lazy:
    """Make labels finer by integer factors, lazily: each voxel becomes a cell of its label.

    Parameters
    ----------
    labels : Volume or dask array of int or bool, (z, y, x) or (y, x)
        Instances or classes.
    factor : int or tuple of int
        Voxels that one becomes, along all axes or along each.

    Returns
    -------
    labels : Volume or dask array
        Of the same type. Voxels of a Volume are smaller by the factor; its origin, the centre of
        the first voxel, moves by half a new voxel less half an old one, so that
        ``downscale(upscale(labels, f), f)`` is ``labels``.

    Raises
    ------
    ConfigError
        If a factor is not a positive integer.
    DtypeError
        If labels are not integers.

    Notes
    -----
    One task a new chunk. A chunk is cut so that the new chunks are no larger than the old ones:
    memory does not grow with the factor, the number of chunks does.

    Examples
    --------
    >>> upscale(da.from_array(np.array([[3, 0]])), (1, 2)).compute()
    array([[3, 3, 0, 0]])
    """
    array = check_labels(labels)
    factors = as_factors(factor, array.ndim)
    fine = _finer(array, factors)
    return _framed(labels, fine, truediv, factors, moves=True)


def _coarser(array: da.Array, factors: Shape, method: Method) -> da.Array:
    """One task a chunk, once chunks begin at cells."""
    aligned = array.rechunk(
        tuple(cell_cuts(cut, f) for cut, f in zip(array.chunks, factors, strict=True))
    )
    cuts = tuple(
        tuple(-(-n // f) for n in cut) for cut, f in zip(aligned.chunks, factors, strict=True)
    )
    name = unique_name("downscale")
    shrink = partial(_shrink, factors=factors, method=method)
    tasks: Graph = {
        (name, *chunk.index): (partial(shrink, chunk=chunk), (aligned.name, *chunk.index))
        for chunk in iterate_chunks(aligned.chunks)
    }
    return new_array(name, tasks, cuts=cuts, dtype=array.dtype, depends_on=[aligned])


def _finer(array: da.Array, factors: Shape) -> da.Array:
    """Each chunk in as many pieces as it grows by."""
    cuts = tuple(
        tuple(n for n in cut for _ in range(f))
        for cut, f in zip(array.chunks, factors, strict=True)
    )
    starts = [[0, *accumulate(cut)] for cut in array.chunks]
    name = unique_name("upscale")
    tasks: Graph = {}
    for chunk in iterate_chunks(cuts):
        source = tuple(i // f for i, f in zip(chunk.index, factors, strict=True))
        corner = tuple(s[i] * f for s, i, f in zip(starts, source, factors, strict=True))
        inside = tuple(
            slice(r.start - c, r.stop - c) for r, c in zip(chunk.region, corner, strict=True)
        )
        tasks[(name, *chunk.index)] = (
            partial(_enlarge, region=inside, factors=factors),
            (array.name, *source),
        )
    return new_array(name, tasks, cuts=cuts, dtype=array.dtype, depends_on=[array])


def _framed(
    labels: Lazy,
    array: da.Array,
    resize: Callable[[float, int], float],
    factors: Shape,
    *,
    moves: bool,
) -> Lazy:
    """Return a result as the kind that the labels came in, in the frame of its new voxels."""
    if not isinstance(labels, Volume):
        return array
    sizes = tuple(resize(v, f) for v, f in zip(labels.voxel_size, factors, strict=True))
    axes = zip(labels.origin, labels.voxel_size, sizes, strict=True)
    origin = tuple(o + (new - old) / 2 for o, old, new in axes) if moves else labels.origin
    return replace(labels.with_data(array), voxel_size=sizes, origin=origin)


def _shrink(
    labels: npt.NDArray[Any], *, chunk: Chunk, factors: Shape, method: Method
) -> npt.NDArray[Any]:
    with noted(chunk):
        return shrink_labels(labels, factors, method)


def _enlarge(labels: npt.NDArray[Any], *, region: Region, factors: Shape) -> npt.NDArray[Any]:
    """Region of a chunk that was made finer, from the voxels that it needs."""
    needed = tuple(
        slice(r.start // f, -(-r.stop // f)) for r, f in zip(region, factors, strict=True)
    )
    inside = tuple(
        slice(r.start - n.start * f, r.stop - n.start * f)
        for r, n, f in zip(region, needed, factors, strict=True)
    )
    return np.ascontiguousarray(enlarge_labels(labels[needed], factors)[inside])
