"""A source as a lazy Dask array: one task a chunk, which opens the file where it runs."""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.errors import ShapeError
from volproc.core.types import Region, Shape, region_shape
from volproc.core.volume import Unmade

if TYPE_CHECKING:
    import dask.array as da

CHUNK_BYTES = 64 * 2**20
"""Size that a chunk of a lazy array approaches from below, in bytes."""

MOST_CHUNKS = 2**20
"""More chunks along one axis are taken for a damaged head."""


def as_dask(source: Source, *, chunks: Shape | None = None) -> da.Array:
    """Lazy array over a source.

    Parameters
    ----------
    source : Source
        What reads; it is pickled into the graph, once.
    chunks : tuple of int or None
        Size of a chunk in voxels; None takes whole multiples of the storage chunks, up to
        64 MiB.

    Returns
    -------
    data : dask array
        One task a chunk. Nothing is read before it is computed.

    Raises
    ------
    ShapeError
        If there would be more than a million chunks along one axis.
    """
    import dask.array as da

    shape = source.shape
    sizes = chunks or lazy_chunks(shape, source.chunks, source.dtype.itemsize)
    _refuse_countless(source, sizes)
    cut = da.core.normalize_chunks(sizes, shape, dtype=source.dtype)
    token = sha256(f"{source.identity()}|{shape}|{source.dtype}|{cut}".encode()).hexdigest()[:24]
    return da.map_blocks(
        _read_block,
        chunks=cut,
        dtype=source.dtype,
        meta=np.empty((0,) * len(shape), source.dtype),
        name=f"open-{token}",
        source=source,
        edges=tuple((0, *accumulate(widths)) for widths in cut),
    )


def as_unmade(source: Source, *, chunks: Shape | None = None) -> Any:
    """Array of `as_dask` that is made when a volume's ``data`` is first asked for.

    Raises
    ------
    ShapeError
        If there would be more than a million chunks along one axis.
    """
    _refuse_countless(
        source, chunks or lazy_chunks(source.shape, source.chunks, source.dtype.itemsize)
    )
    return Unmade(source.shape, source.dtype, partial(as_dask, source, chunks=chunks))


def lazy_chunks(shape: Shape, storage: Shape, itemsize: int) -> Shape:
    """Multiples of the storage chunks, doubled along the shortest axis while they fit.

    >>> lazy_chunks((512, 1024, 1024), (1, 1024, 1024), 4)
    (16, 1024, 1024)
    >>> lazy_chunks((512, 1024, 1024), (64, 64, 64), 4)
    (256, 256, 256)
    """
    sizes = [min(c, n) for c, n in zip(storage, shape, strict=True)]
    while True:
        growable = [
            a
            for a, n in enumerate(shape)
            if sizes[a] < n and prod(sizes) * 2 * itemsize <= CHUNK_BYTES
        ]
        if not growable:
            return tuple(sizes)
        axis = min(growable, key=lambda a: (sizes[a], a))
        sizes[axis] = min(2 * sizes[axis], shape[axis])


def _refuse_countless(source: Source, sizes: Shape) -> None:
    """Refuse a grid that would take memory for its edges alone: no real volume has it."""
    counts = [n // max(size, 1) for n, size in zip(source.shape, sizes, strict=True)]
    if max(counts) > MOST_CHUNKS:
        msg = (
            f"{source.identity()} has shape {source.shape}, which would be cut into {max(counts)} "
            f"chunks along one axis. The head of the file is damaged, or chunks= {tuple(sizes)} "
            "is too small."
        )
        raise ShapeError(msg)


# Dask makes the more telling ``block_info`` for every block beforehand; a volume may have billions.
def _read_block(
    *, source: Source, edges: tuple[tuple[int, ...], ...], block_id: tuple[int, ...]
) -> npt.NDArray[Any]:
    region: Region = tuple(slice(e[i], e[i + 1]) for e, i in zip(edges, block_id, strict=True))
    # Dask copies what a computation of one chunk returns; a view of a memory map saves the second
    # copy, which would be as long as reading itself.
    block = getattr(source, "view", source.read)(region)
    if block.shape != region_shape(region):
        # A wrong shape would surface far from here, as a broadcasting error.
        msg = f"{source.identity()} gave shape {block.shape} for region {region}"
        raise AssertionError(msg)
    return block
