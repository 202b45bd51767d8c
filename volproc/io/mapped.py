"""Voxels that lie in a file as they lie in memory: sources and sinks over memory maps."""

from __future__ import annotations

import errno
import mmap
import os
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import FormatError
from volproc.core.types import Region, Shape, region_shape
from volproc.io.create import move_into_place, partial_path, remove
from volproc.io.fit_dtype import fit_dtype
from volproc.io.unpack import Packing, map_unpacked

RELEASE_BYTES = 2**26
"""Bytes that are read of a map before its pages are given back to the system."""

LARGE_PAGE_BYTES = 2**21
"""Where the system keeps a file in large pages, it maps the whole page of what is touched."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the axes of an array in a file become those of a volume.

    Examples
    --------
    Channel 1 of an array (z, c, y, x) of which the file has the axes in that order:

    >>> Layout((9, 2, 30, 40), (None, 1, None, None), (0, 1, 2)).volume_shape
    (9, 30, 40)
    """

    shape: Shape
    """Size of the array in the file, slowest axis first."""

    picks: tuple[int | None, ...]
    """The index taken along each axis of the file; None keeps the axis."""

    order: tuple[int, ...]
    """For each axis of the volume, which of the kept axes it is."""

    @property
    def volume_shape(self) -> Shape:
        """Size of the volume, voxels."""
        kept = [n for n, pick in zip(self.shape, self.picks, strict=True) if pick is None]
        return tuple(kept[axis] for axis in self.order)

    @property
    def chunks(self) -> Shape:
        """One plane of the file, in the axes of the volume: what is contiguous on disk."""
        kept = [n for n, pick in zip(self.shape, self.picks, strict=True) if pick is None]
        # Axes of which one index is taken do not count: most are of length 1.
        kept = [n if axis >= len(kept) - 2 else 1 for axis, n in enumerate(kept)]
        return tuple(kept[axis] for axis in self.order)

    def view(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn the array of the file into the volume, without a copy."""
        index = tuple(slice(None) if pick is None else pick for pick in self.picks)
        return array[index].transpose(self.order)


@dataclass(frozen=True, slots=True)
class MappedSource:
    """Voxels that lie in a file as they lie in memory: raw, in C order, from some byte on.

    Parameters
    ----------
    path : str
        The file.
    shape : tuple of int
        Size of the volume, voxels.
    stored : dtype
        Type of the voxels in the file, in the file's byte order.
    offset : int
        First byte of the voxels.
    stamp : (int, int)
        Size and time of change of the file when it was opened.
    layout : Layout or None
        How the file's axes become the volume's; None where they are the same.
    packing : {"", "gzip", "bzip2"}
        How the whole file is compressed.

    Notes
    -----
    A compressed file is unpacked once a process, as a stream, into an unnamed file in the
    temporary folder (``TMPDIR``), which vanishes with the process; regions are read from there.
    A process keeps the last four.
    """

    path: str
    shape: Shape
    stored: np.dtype[Any]
    offset: int = 0
    stamp: tuple[int, int] = (0, 0)
    layout: Layout | None = None
    packing: Packing = ""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels as read, in the machine's byte order."""
        return self.stored.newbyteorder("=")

    @property
    def chunks(self) -> Shape:
        """One plane: what is contiguous on disk."""
        if self.layout is not None:
            return self.layout.chunks
        return (*(1,) * (len(self.shape) - 2), *self.shape[-2:])

    @property
    def decoded_chunks(self) -> Shape:
        """One voxel: a part of a plane is read without the rest."""
        return (1,) * len(self.shape)

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Voxels of a region, in the machine's byte order.

        Raises
        ------
        FormatError
            If the file is not the one that was opened any more. Where it became shorter, the
            system would end the process that reads a map of it.
        """
        self._refuse_changed()
        shape = self.layout.shape if self.layout else self.shape
        opened = open_map(self.path, shape, self.stored.str, self.offset, self.stamp, self.packing)
        mapped: npt.NDArray[Any] = opened.array
        volume = self.layout.view(mapped) if self.layout else mapped
        out = np.empty(region_shape(region), self.dtype)
        # A few planes at a time: the system maps whole rows around what is touched, and more
        # where it keeps the file in large pages. They would count as memory of this process.
        rows = prod(s.stop - s.start for s in region[1:-1])
        plane_bytes = rows * shape[-1] * self.stored.itemsize
        whole_bytes = max(plane_bytes, prod(shape[-2:]) * self.stored.itemsize)
        plane_bytes = min(plane_bytes + 2 * LARGE_PAGE_BYTES, whole_bytes)
        step = max(1, RELEASE_BYTES // 4 // max(1, plane_bytes))
        first, last = region[0].start, region[0].stop
        for start in range(first, last, step):
            stop = min(start + step, last)
            out[start - first : stop - first] = volume[(slice(start, stop), *region[1:])]
            opened.used((stop - start) * plane_bytes)
        return out

    def view(self, region: Region) -> npt.NDArray[Any]:
        """Voxels of a region that are read from the file when they are used, where that can be.

        They may be written to: that changes neither the file nor what others read, since each
        view is a private map of its own, which goes with it.
        """
        if self.packing or not self.stored.isnative:
            return self.read(region)
        shape = self.layout.shape if self.layout else self.shape
        own = np.memmap(self.path, self.stored, mode="c", offset=self.offset, shape=shape)
        return np.asarray((self.layout.view(own) if self.layout else own)[region])

    def identity(self) -> str:
        """Path, size, time of change, and what of the file is taken."""
        path = Path(self.path).absolute()
        return f"{path}:{self.offset}:{self.stamp}:{self.stored.str}:{self.layout}"

    def _refuse_changed(self) -> None:
        if self.stamp == (0, 0):
            return
        try:
            size, time_ns = file_stamp(Path(self.path))
        except FileNotFoundError:
            size, time_ns = 0, 0
        if (size, time_ns) != self.stamp:
            now = f"has {size}, written at {time_ns}" if time_ns else "is gone"
            msg = (
                f"{self.path} changed after it was opened: it had {self.stamp[0]} bytes, written "
                f"at {self.stamp[1]} ns, and now {now}. Open it again when nobody writes to it."
            )
            raise FormatError(msg)


@lru_cache(maxsize=32)
def open_map(
    path: str,
    shape: Shape,
    dtype: str,
    offset: int,
    stamp: tuple[int, int],
    packing: Packing = "",
) -> OpenMap:
    """Map a file once a process; the stamp makes a changed file another entry."""
    if packing:
        return OpenMap(map_unpacked(path, shape, dtype, offset, stamp, packing))
    return OpenMap(np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape, order="C"))


class OpenMap:
    """A mapped file of which a process keeps few pages.

    Pages that were read once count as memory of the process, although the system could take
    them back; whoever watches workers would see one that has read a whole volume as one that
    holds it. So they are given back from time to time. Reading them again finds them in the
    system's cache, and whoever is reading them meanwhile just gets them again.

    Parameters
    ----------
    array : memmap
        The file.
    """

    def __init__(self, array: np.memmap[Any, Any]) -> None:
        self.array = array
        self._num_bytes = 0

    def used(self, num_bytes: int) -> None:
        """Note that about so many bytes were mapped, and give pages back if they are many."""
        self._num_bytes += num_bytes
        if self._num_bytes > RELEASE_BYTES:
            self._num_bytes = 0
            pages: mmap.mmap | None = getattr(self.array, "_mmap", None)
            if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
                pages.madvise(mmap.MADV_DONTNEED)


def require_file(path: Path, kind: str) -> None:
    """Refuse a folder that has the name of a file.

    Raises
    ------
    FormatError
    """
    if path.is_dir():
        msg = f"{path} is a folder, not {kind}. Give a file in it, or a pattern."
        raise FormatError(msg)


def reserve(path: Path) -> None:
    """Have the disk give a new file all of its room; remove the file where there is none.

    Whoever writes into the map of a file without room on a full disk is ended by the system
    (SIGBUS): no error says why, and no block is known to have failed.

    Raises
    ------
    OSError
        If the disk is too small.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return  # this file system cannot
        remove(path)
        error.filename = error.filename or str(path)
        raise


def file_stamp(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in ns."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@dataclass(frozen=True, slots=True)
class MappedSink:
    """Writes regions into a memory-mapped file; several processes may, at the same time."""

    address: str
    shape: Shape
    dtype: np.dtype[Any]
    offset: int
    is_parallel = True

    @property
    def chunks(self) -> Shape:
        """Any region: bytes of different voxels do not touch."""
        return (1,) * len(self.shape)

    @property
    def partial(self) -> Path:
        """The file while it is being written."""
        return partial_path(Path(self.address))

    def write(self, region: Region, block: npt.NDArray[Any]) -> None:
        """Write one region.

        Raises
        ------
        FormatError
            If a value does not fit the type on disk.
        """
        fitting = fit_dtype(block, self.dtype, self.address)
        mapped = np.memmap(
            self.partial, dtype=self.dtype, mode="r+", offset=self.offset, shape=self.shape
        )
        mapped[region] = fitting
        mapped.flush()

    def finish(self) -> None:
        """Move to the final name."""
        move_into_place(self.partial, Path(self.address))

    def discard(self) -> None:
        """Remove the partial file."""
        remove(self.partial)
