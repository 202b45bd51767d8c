"""Any region of a zarr array, from chunks that are decoded once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from heapq import nsmallest
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import MissingFileError
from volproc.core.types import Index, Region, Shape, region_shape
from volproc.io.chunk_cache import CHUNK_CACHE
from volproc.io.copick_address import absolute_address
from volproc.io.zarr_array import ArrayMeta, Store, join_key, read_array_meta, read_bytes

_MAX_STAMPED_FOLDERS = 256
_MAX_STAMPED_CHUNKS = 16


@dataclass(frozen=True, slots=True)
class ZarrSource:
    """A volume inside a zarr v2 array of two to five axes.

    Reads decode whole chunks. Those of a region that cuts through chunks, as a block with its
    halo does, are kept in the cache of the process, so that the next block does not decode them
    again. A chunk that is not there holds the fill value.

    Notes
    -----
    Costs beside the region itself: one decoded chunk, and the cache (128 MiB a process).
    """

    store: Store
    """Folder of the store, or a picklable mapping."""

    path: str
    """Array in the store; empty if it is the store."""

    meta: ArrayMeta
    """Head of the array."""

    index: tuple[int | None, ...]
    """For each axis of the array: the position taken, or None if it stays."""

    order: tuple[int, ...]
    """For each axis of the volume: the axis of the array."""

    stamp: str = ""
    """Changes when files of the array do."""

    @property
    def shape(self) -> Shape:
        """Size in voxels, (z, y, x) or (y, x)."""
        return tuple(self.meta.shape[a] for a in self.order)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels, in the machine's byte order."""
        return self.meta.dtype.newbyteorder("=")

    @property
    def chunks(self) -> Shape:
        """Storage chunk, in voxels, no larger than the volume."""
        return tuple(min(self.meta.chunks[a], self.meta.shape[a]) for a in self.order)

    def identity(self) -> str:
        """Address, selection and times of change."""
        store = self.store
        where = absolute_address(store) if isinstance(store, str) else self.meta.name
        return f"{where}:{self.path}:{self.index}:{self.order}:{self.stamp}"

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Voxels of a region.

        Raises
        ------
        FormatError
            If a chunk is truncated or damaged; the message names it.
        """
        wanted = self._in_array(region)
        single = self._read_single(wanted)
        out = self._read_many(wanted) if single is None else single
        kept = out[tuple(slice(None) if i is None else 0 for i in self.index)]
        ranks = sorted(self.order)
        turned = kept.transpose([ranks.index(a) for a in self.order])
        return np.ascontiguousarray(turned)

    def _in_array(self, region: Region) -> Region:
        """Turn a region of the volume into one of the array."""
        cuts = dict(zip(self.order, region, strict=True))
        return tuple(cuts[a] if i is None else slice(i, i + 1) for a, i in enumerate(self.index))

    def _read_single(self, wanted: Region) -> npt.NDArray[Any] | None:
        """Return the region if it is one whole chunk, which is then decoded into place."""
        chunks = self.meta.chunks
        if region_shape(wanted) != chunks or any(
            s.start % c for s, c in zip(wanted, chunks, strict=True)
        ):
            return None
        index = tuple(s.start // c for s, c in zip(wanted, chunks, strict=True))
        chunk = self._chunk(index, keep=False)
        if chunk is None:
            return np.full(chunks, self.meta.fill_value(), self.dtype)
        return chunk if chunk.flags.writeable else chunk.copy()

    def _read_many(self, wanted: Region) -> npt.NDArray[Any]:
        """Gather a region of the array from the chunks that it touches."""
        chunks = self.meta.chunks
        out = np.empty(region_shape(wanted), self.dtype)
        # Who reads whole chunks comes back to none of them, and memory that is given back at once
        # is faster than memory that is kept.
        is_aligned = all(
            s.start % c == 0 and (s.stop % c == 0 or s.stop == n)
            for s, c, n in zip(wanted, chunks, self.meta.shape, strict=True)
        )
        spans = [range(s.start // c, -(-s.stop // c)) for s, c in zip(wanted, chunks, strict=True)]
        for index in product(*spans):
            starts = [i * c for i, c in zip(index, chunks, strict=True)]
            both = [
                (max(s.start, a), min(s.stop, a + c))
                for s, a, c in zip(wanted, starts, chunks, strict=True)
            ]
            there = tuple(
                slice(b - s.start, e - s.start) for (b, e), s in zip(both, wanted, strict=True)
            )
            chunk = self._chunk(index, keep=not is_aligned)
            if chunk is None:
                out[there] = self.meta.fill_value()
            else:
                here = tuple(slice(b - a, e - a) for (b, e), a in zip(both, starts, strict=True))
                out[there] = chunk[here]
        return out

    def _chunk(self, index: Index, *, keep: bool) -> npt.NDArray[Any] | None:
        """Return one decoded chunk, from the cache if it is there; None if it is not stored."""
        name = self.meta.key(index)
        key = join_key(self.path, name)
        stamp = self._chunk_stamp(key)
        if stamp is None:
            return None
        cached = CHUNK_CACHE.get(stamp)
        if cached is not None:
            return cached
        data = read_bytes(self.store, key)
        if data is None:
            return None
        chunk = self.meta.decode(data, name)
        if keep:
            CHUNK_CACHE.put(stamp, chunk)
        return chunk

    def _chunk_stamp(self, key: str) -> tuple[Any, ...] | None:
        """Tell this version of a chunk from any other; None if its file is not there."""
        if not isinstance(self.store, str):
            return (self.meta.name, self.stamp, key)
        try:
            stat = os.stat(f"{self.store}/{key}")  # noqa: PTH116 (a Path costs more than the call)
        except (FileNotFoundError, NotADirectoryError):
            _require_folder(self.store)
            return None
        return (self.store, key, stat.st_ino, stat.st_size, stat.st_mtime_ns)


def open_array(
    store: Store,
    path: str = "",
    *,
    index: Sequence[int | None] | None = None,
    order: Sequence[int] | None = None,
    name: str = "",
) -> ZarrSource:
    """Open one zarr v2 array as a source: only its head is read.

    Parameters
    ----------
    store : str or mapping
        A folder, or a picklable mapping of keys to bytes.
    path : str
        Where the array is in the store.
    index : sequence of int or None
        For each axis of the array the position taken, or None if the axis stays; by default all
        stay.
    order : sequence of int
        Axes of the array that stay, in the order z, y, x; by default their own order.
    name : str
        What messages call the array.

    Raises
    ------
    FormatError
        If there is no array, or one that cannot be read.
    """
    meta = read_array_meta(store, path, name=name)
    taken = tuple(index) if index is not None else (None,) * len(meta.shape)
    kept = tuple(order) if order is not None else tuple(a for a, i in enumerate(taken) if i is None)
    return ZarrSource(store, path, meta, taken, kept, array_stamp(store, path))


def array_stamp(store: Store, path: str) -> str:
    """Text that changes when chunks of an array are written.

    Notes
    -----
    A chunk is replaced by renaming, which changes the time of its folder, or written in place,
    which changes its own. The times of up to 256 folders, and of up to 16 chunks in each, are
    taken, so that the cost is bounded. Mappings have no times: their stamp is that of the head.
    """
    if not isinstance(store, str):
        head = read_bytes(store, join_key(path, ".zarray")) or b""
        return sha256(head).hexdigest()[:16]
    root = Path(store, path)
    times = [(root / ".zarray").stat().st_mtime_ns]
    waiting = [root]
    num_folders = 0
    while waiting and num_folders < _MAX_STAMPED_FOLDERS:
        folder = waiting.pop(0)
        num_folders += 1
        times.append(folder.stat().st_mtime_ns)
        below: list[str] = []
        chunks: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name[0].isdigit():
                    continue
                (below if entry.is_dir() else chunks).append(entry.name)
        waiting += [folder / name for name in sorted(below)[:_MAX_STAMPED_FOLDERS]]
        for name in nsmallest(_MAX_STAMPED_CHUNKS, chunks):
            times.append((folder / name).stat().st_mtime_ns)
    return f"{max(times)}-{len(times)}-{sum(times) % 10**12}"


def _require_folder(store: str) -> None:
    """Refuse to take a vanished store for one of missing chunks."""
    if not Path(store).is_dir():
        msg = f"{store} is gone, or no longer reachable. Check the disk, then open it again."
        raise MissingFileError(msg)
