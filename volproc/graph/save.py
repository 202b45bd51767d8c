"""Writing of lazy volumes and points, chunk by chunk."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import dask.array as da
from dask.delayed import Delayed

from volproc.core.arrays import Sink
from volproc.core.errors import ConfigError
from volproc.core.points import Points
from volproc.core.types import Shape
from volproc.core.volume import Volume
from volproc.graph.layers import array_of, new_value, unique_name
from volproc.graph.write_chunks import writing
from volproc.io.create import create
from volproc.io.formats import Kind
from volproc.io.omezarr_write import create_channels
from volproc.io.points import refuse_points, write_points


class Held:
    """A value that Dask must not look into."""

    def __init__(self, value: Any) -> None:
        self.value = value


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
    written = writing(aligned(array, sink.chunks, len(item.channels)), sink, is_alone=compute)
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
        return new_value(name, {name: (write, Held(item))})
    write(item)
    return None


def _write_points(points: Any, *, address: str, overwrite: bool, options: dict[str, Any]) -> None:
    held = points.value if isinstance(points, Held) else points
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
