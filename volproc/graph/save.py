"""Writing of lazy volumes and points, chunk by chunk."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.delayed import Delayed

from volproc.core.arrays import Sink
from volproc.core.errors import ConfigError
from volproc.core.points import Points
from volproc.core.types import Region, Shape
from volproc.core.volume import Volume
from volproc.graph.layers import (
    Graph,
    array_of,
    iterate_chunks,
    new_array,
    new_task,
    new_value,
    ref,
    tree,
    unique_name,
)
from volproc.io.create import create
from volproc.io.formats import Kind
from volproc.io.omezarr_write import create_channels
from volproc.io.points import refuse_points, write_points


def save(
    item: Volume | Points | Delayed,
    address: str | os.PathLike[str],
    *,
    kind: Kind | None = None,
    overwrite: bool = False,
    compute: bool = True,
    **options: Any,
) -> Delayed | None:
    """Write a volume or points.

    Parameters
    ----------
    item : Volume, Points, or Delayed of Points
        What to write. The chunks of a volume are computed and written one by one.
    address : str or path
        A volume: ``.mrc``, ``.zarr``, ``.tif``, ``.h5:/dataset``, ``.npy`` or a member of a
        copick project. Points: ``.csv``, ``.star`` or picks of a copick project.
    kind : {"intensity", "labels"}
        How a pyramid is made: means, or nearest neighbours. By default integer volumes that were
        computed are labels, all others intensities.
    overwrite : bool
        Replace what is there, once the new one is whole.
    compute : bool
        Write now. Otherwise only lay out the output, under its temporary name, and return a lazy
        value that fills and finishes it when it is computed.
    **options
        For points, what the format takes: see `volproc.io.points.write_points`.

    Returns
    -------
    written : Delayed or None
        With ``compute=False``.

    Raises
    ------
    ExistsError
        If the output is there and ``overwrite`` is false.
    FormatError
        If the format cannot hold the type or shape.

    Notes
    -----
    Everything is written under a temporary name; if computing fails, it is removed.
    """
    if not isinstance(item, Volume):
        return _save_points(item, address, overwrite=overwrite, compute=compute, options=options)
    if options:
        msg = f"unknown options for a volume: {', '.join(sorted(options))}."
        raise ConfigError(msg)
    array = array_of(item)
    meaning = kind or _guess_kind(item)
    sink = _create(item, address, meaning, overwrite=overwrite)
    # What is computed alone may be fused; together with others it shares their chunks.
    written = _writing(aligned(array, sink.chunks, len(item.channels)), sink, is_alone=compute)
    if not compute:
        return written
    try:
        written.compute()
    except BaseException:
        sink.discard()
        raise
    return None


def aligned(array: da.Array, multiple: Shape, num_channels: int = 0) -> da.Array:
    """Rechunk an array, if need be, so that no two chunks share a storage chunk.

    Parameters
    ----------
    array : dask array
        (z, y, x), or with channels first.
    multiple : tuple of int
        Storage chunks, along the last axes.
    num_channels : int
        Length of the first axis where it is one of channels; it is then not cut.
    """
    lead = array.ndim - len(multiple)
    wanted: list[Any] = [array.shape[0]] * lead if num_channels else [array.chunks[0]] * lead
    for cut, size, step in zip(array.chunks[lead:], array.shape[lead:], multiple, strict=True):
        is_fine = all(c % step == 0 for c in cut[:-1])
        wanted.append(cut if is_fine else min(size, max(step, max(cut) // step * step)))
    return array.rechunk(tuple(wanted))


def _save_points(
    item: Any,
    address: str | os.PathLike[str],
    *,
    overwrite: bool,
    compute: bool,
    options: dict[str, Any],
) -> Delayed | None:
    refuse_points(address, overwrite=overwrite, options=options)
    name = unique_name("save-points")
    write = partial(_write_points, address=os.fspath(address), overwrite=overwrite, options=options)
    if isinstance(item, Delayed):
        lazy = new_value(name, {name: (write, item.key)}, depends_on=[item])
        if not compute:
            return lazy
        write(item.compute())
        return None
    if not compute:
        return new_value(name, {name: (write, _Held(item))})
    write(item)
    return None


class _Held:
    """A value that Dask must not look into."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _write_points(points: Any, *, address: str, overwrite: bool, options: dict[str, Any]) -> None:
    held = points.value if isinstance(points, _Held) else points
    write_points(held, address, overwrite=overwrite, **options)


def _guess_kind(volume: Volume) -> Kind:
    is_computed = volume.source is None
    return "labels" if is_computed and volume.dtype.kind in "iub" else "intensity"


def _create(
    volume: Volume, address: str | os.PathLike[str], kind: Kind, *, overwrite: bool
) -> Sink:
    if volume.channels:
        return create_channels(
            address,
            names=volume.channels,
            shape=volume.shape,
            dtype=volume.dtype,
            voxel_size=volume.voxel_size,
            origin=volume.origin,
            overwrite=overwrite,
        )
    return create(
        address,
        shape=volume.shape,
        dtype=volume.dtype,
        voxel_size=volume.voxel_size,
        origin=volume.origin,
        kind=kind,
        overwrite=overwrite,
    )


def _writing(array: da.Array, sink: Sink, *, is_alone: bool) -> Delayed:
    """Lazy value that writes all chunks of an aligned array, and finishes the output."""
    name = unique_name("write")
    tasks: Graph = {}
    last = None
    for chunk in iterate_chunks(array.chunks):
        region = chunk.region[array.ndim - len(sink.shape) :]
        # A format that one process must write alone gets its chunks one after the other.
        before = None if sink.is_parallel or last is None else ref(last)
        last = (f"{name}-chunk", *chunk.index)
        block = ref((array.name, *chunk.index))
        tasks[last] = new_task(last, partial(_write, sink, region), block, before)
    ones = tuple((1,) * n for n in array.numblocks)
    chunks = new_array(
        f"{name}-chunk", tasks, cuts=ones, dtype=np.dtype(object), depends_on=[array]
    )
    if is_alone:  # what makes a chunk and what writes it become one task: the chunk stays put
        (chunks,) = dask.optimize(chunks)
    merged, root = tree(f"{name}-tree", list(tasks), _nothing)
    merged[name] = (_finish, _Held(sink), root)
    return new_value(name, merged, depends_on=[chunks])


def _write(sink: Sink, region: Region, block: Any, before: Any) -> None:
    del before
    sink.write(region, block)


def _finish(sink: _Held, written: Any) -> None:
    del written
    sink.value.finish()


def _nothing(parts: Any) -> None:
    del parts
