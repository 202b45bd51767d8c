"""What stitching needs to know of chunks and halos before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence

import dask.array as da

from volproc.core.errors import DtypeError, ShapeError
from volproc.core.types import Shape, axis_names
from volproc.core.volume import Volume
from volproc.graph.chunks import Cuts
from volproc.graph.layers import array_of
from volproc.reduce.stitching_grid import OverlapGrid

Chunks = Sequence[int | Sequence[int]]
"""One size an axis, or the sizes of all chunks along it."""


def instances_of(blocks: Volume | da.Array) -> da.Array:
    """Return the lazy array of blocks of instances.

    Raises
    ------
    DtypeError
        If they are not integers.
    ShapeError
        If there are none.
    """
    array = array_of(blocks)
    if array.dtype.kind not in "iub":
        msg = f"instances are integers, got {array.dtype}. Convert them to integer labels."
        raise DtypeError(msg)
    check_axes(array)
    return array


def voxels_of(volume: Volume | da.Array) -> da.Array:
    """Return the lazy array of a volume that can be segmented block by block.

    Raises
    ------
    ShapeError
        If it is empty or has channels.
    """
    array = array_of(volume)
    if isinstance(volume, Volume) and volume.channels:
        msg = (
            f"blocks are cut from one channel, got {len(volume.channels)}: "
            f"{', '.join(volume.channels)}. Select one first."
        )
        raise ShapeError(msg)
    check_axes(array)
    return array


def check_axes(array: da.Array) -> None:
    """Refuse an array without voxels, or with other axes than (z, y, x) or (y, x).

    Raises
    ------
    ShapeError
    """
    if array.ndim not in (2, 3) or 0 in array.shape:
        msg = (
            f"blocks have axes (z, y, x) or (y, x) and at least one voxel, got shape "
            f"{array.shape}. Select one channel and one time point first."
        )
        raise ShapeError(msg)


def one_an_axis(halo: int | Shape, ndim: int) -> Shape:
    """Halo of each axis.

    >>> one_an_axis(4, 3)
    (4, 4, 4)
    """
    if isinstance(halo, int):
        return (halo,) * ndim
    if len(halo) != ndim:
        msg = (
            f"a halo has one number an axis ({', '.join(axis_names(ndim))}), got {tuple(halo)}. "
            f"Give {ndim} numbers, or one for all axes."
        )
        raise ShapeError(msg)
    return tuple(int(h) for h in halo)


def cuts_of_volume(array: da.Array, chunks: Chunks | None) -> Cuts:
    """Sizes of the chunks that a volume is cut into; its own if none are asked for.

    >>> cuts_of_volume(da.zeros((5, 4), chunks=4), (2, (1, 3)))
    ((2, 2, 1), (1, 3))
    """
    if chunks is None:
        return array.chunks
    _check_length(chunks, array.ndim)
    return tuple(
        _regular(c, size) if isinstance(c, int) else tuple(map(int, c))
        for c, size in zip(chunks, array.shape, strict=True)
    )


def cuts_of_blocks(block_sizes: Cuts, halo: Shape, chunks: Chunks | None) -> Cuts:
    """Sizes of the chunks inside blocks.

    Without ``chunks`` every chunk but the first and last is taken to be as long as its halos, so
    that nothing of them is cut off.

    >>> cuts_of_blocks(((8, 10, 5),), (2,), None)
    ((6, 6, 3),)
    >>> cuts_of_blocks(((8, 9, 3),), (2,), (6,))  # the last chunk is shorter than the halo
    ((6, 6, 1),)
    """
    if chunks is not None:
        _check_length(chunks, len(block_sizes))
    cuts = []
    for axis, (sizes, depth) in enumerate(zip(block_sizes, halo, strict=True)):
        chunk = None if chunks is None else chunks[axis]
        last = len(sizes) - 1
        if chunk is None:
            inner = (n - depth * ((i > 0) + (i < last)) for i, n in enumerate(sizes))
            cuts.append(tuple(inner))
        elif isinstance(chunk, int):
            cuts.append((chunk,) * last + (sizes[last] - min(depth, last * chunk),))
        else:
            cuts.append(tuple(map(int, chunk)))
    return tuple(cuts)


def check_blocks(block_sizes: Cuts, grid: OverlapGrid) -> None:
    """Refuse blocks that are not the chunks with their halos.

    Raises
    ------
    ShapeError
        Naming the axis and both sizes.
    """
    axes = zip(axis_names(len(grid.halo)), block_sizes, grid.block_sizes, strict=True)
    for (axis, got, expected), cut, halo in zip(axes, grid.cuts, grid.halo, strict=True):
        if tuple(got) != expected:
            msg = (
                f"chunks of {cut} voxels along {axis} and a halo of {halo} make blocks of "
                f"{expected}, got {tuple(got)}. Make them with dask.array.overlap.overlap(x, "
                'depth=halo, boundary="none", allow_rechunk=False), and give its chunks and halo.'
            )
            raise ShapeError(msg)


def _check_length(chunks: Chunks, ndim: int) -> None:
    if len(chunks) != ndim:
        msg = (
            f"chunks have one entry an axis ({', '.join(axis_names(ndim))}), got {chunks}. Give "
            f"{ndim}."
        )
        raise ShapeError(msg)


def _regular(chunk: int, size: int) -> tuple[int, ...]:
    if chunk < 1:
        return (size,)
    return tuple(min(chunk, size - start) for start in range(0, size, chunk))


def check_cover(grid: OverlapGrid, array: da.Array) -> None:
    """Refuse chunks that do not add up to the volume.

    Raises
    ------
    ShapeError
        Naming both shapes.
    """
    if grid.shape != array.shape:
        msg = (
            f"chunks {grid.cuts} make up a volume of {grid.shape} voxels, got {array.shape}. Give "
            "one size an axis, or sizes that add up."
        )
        raise ShapeError(msg)
