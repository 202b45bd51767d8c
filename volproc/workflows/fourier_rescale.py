"""A volume on coarser voxels, by way of scratch storage: memory is bounded by a slab.

source ──► slabs of planes, cropped along x and y ──► scratch ──► columns, cropped along z ──► sink
"""

from __future__ import annotations

import shutil
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Sink, Source
from volproc.core.errors import NonFiniteError
from volproc.core.types import Region, Shape
from volproc.reduce.fourier_crop import crop_axis

SLAB_VOXELS = 2**24
"""Voxels that are read at once: a slab of planes, or a column along z."""


def rescale_volume(source: Source, sink: Sink, scratch: Path) -> None:
    """Write a volume with fewer voxels along each axis, its low frequencies unchanged.

    Parameters
    ----------
    source : Source
        Volume to read, (z, y, x).
    sink : Sink
        Takes float32 of the coarser shape, all sides even; it is not finished here.
    scratch : Path
        Folder for the volume that is cropped along x and y, 4 bytes a voxel; emptied before and
        removed afterwards.

    Raises
    ------
    NonFiniteError
        If there are NaN or infinite voxels: one would be in every voxel of the result.

    Notes
    -----
    Each voxel is read once, and written twice. Memory: some 30 bytes for each of `SLAB_VOXELS`, or
    of one plane where that is larger; cuts follow from the shapes alone.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        path = scratch / "planes.f4"
        between = (source.shape[0], *sink.shape[1:])
        _crop_planes(source, path, between)
        for column in _columns(sink, between[0]):
            planes = np.memmap(path, np.float32, "r", shape=between)
            block = np.array(planes[(slice(0, between[0]), *column[1:])])
            del planes  # what was read of it is no longer counted as memory of this process
            sink.write(column, crop_axis(block, 0, sink.shape[0], np.float32))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _crop_planes(source: Source, path: Path, between: Shape) -> None:
    """Crop slabs along x and y, and keep them one after the other."""
    depth, *plane = source.shape
    step = max(1, min(source.chunks[0], SLAB_VOXELS // prod(plane)))
    step = max(step, SLAB_VOXELS // prod(plane) // step * step)  # whole storage chunks
    broken = 0
    with path.open("wb") as file:
        for first in range(0, depth, step):
            region = (slice(first, min(first + step, depth)), *(slice(0, n) for n in plane))
            slab = source.read(region)
            broken += int(np.count_nonzero(~np.isfinite(slab)))
            if not broken:
                file.write(_cropped(slab, between).tobytes())
    if broken:
        msg = (
            f"{broken} of {prod(source.shape)} voxels are NaN or infinite, and one would be in "
            "every voxel of a rescaled volume. Replace them first."
        )
        raise NonFiniteError(msg)


def _cropped(slab: npt.NDArray[np.generic], between: Shape) -> npt.NDArray[np.float32]:
    rows = crop_axis(slab, 2, between[2])
    return np.ascontiguousarray(crop_axis(rows, 1, between[1], np.float32))


def _columns(sink: Sink, depth: int) -> list[Region]:
    """Boxes over all of z, of whole storage chunks along y and x, that cover a sink."""
    _, height, width = sink.shape
    _, tall, wide = sink.chunks
    room = SLAB_VOXELS // depth
    across = max(wide, min(width, room // tall) // wide * wide)
    along = max(tall, min(height, room // across) // tall * tall)
    return [
        (
            slice(0, sink.shape[0]),
            slice(y, min(y + along, height)),
            slice(x, min(x + across, width)),
        )
        for y in range(0, height, along)
        for x in range(0, width, across)
    ]
