"""A scratch array: one file a chunk, each written whole and at once."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, product
from pathlib import Path
from threading import get_ident
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from numcodecs import Blosc

from volproc.core.types import Index, Region, Shape


@dataclass(frozen=True, slots=True)
class ChunkFiles:
    """An array between two stages, on disk.

    Each chunk is one file, which appears only when it is whole, so that a killed worker leaves
    nothing that looks finished. Chunks may be of any size, as Dask's are.

    Parameters
    ----------
    folder : str
        Where the files are; made at the first write.
    cuts : tuple of tuple of int
        Sizes of the chunks along each axis, as ``dask.array.Array.chunks``.
    dtype : dtype
        Type of the voxels.
    is_compressed : bool
        Compress with Blosc LZ4: for labels and classes, which shrink many times. Uncompressed
        chunks are memory-mapped, so that a halo costs only its own bytes.
    is_sparse : bool
        Chunks that were not written read as zeros, instead of being missed.
    """

    folder: str
    cuts: tuple[tuple[int, ...], ...]
    dtype: np.dtype[Any]
    is_compressed: bool = False
    is_sparse: bool = False

    @property
    def shape(self) -> Shape:
        """Size in voxels."""
        return tuple(map(sum, self.cuts))

    @property
    def chunks(self) -> Shape:
        """Largest chunk, in voxels."""
        return tuple(map(max, self.cuts))

    def identity(self) -> str:
        """Folder of the files."""
        return self.folder

    def write_chunk(self, index: Index, chunk: npt.NDArray[Any]) -> int:
        """Write one chunk; return its bytes on disk."""
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        array = np.ascontiguousarray(chunk, self.dtype)
        if not self.is_compressed:
            return write_array(self._path(index), array)
        data = Blosc("lz4", clevel=1, shuffle=Blosc.SHUFFLE).encode(array)
        return write_bytes(self._path(index), data)

    def write(self, region: Region, block: npt.NDArray[Any]) -> None:
        """Write the chunk that a region is; leading axes that it leaves out are whole."""
        lead = len(self.cuts) - len(region)
        index = (0,) * lead + tuple(
            bisect_right((0, *accumulate(cut)), s.start) - 1
            for cut, s in zip(self.cuts[lead:], region, strict=True)
        )
        self.write_chunk(index, block)

    def has_chunk(self, index: Index) -> bool:
        """Whether a chunk was written."""
        return self._path(index).exists()

    def read_chunk(self, index: Index) -> npt.NDArray[Any]:
        """Read one whole chunk."""
        shape = tuple(cut[i] for cut, i in zip(self.cuts, index, strict=True))
        if self.is_sparse and not self.has_chunk(index):
            return np.zeros(shape, self.dtype)
        if not self.is_compressed:
            return np.load(self._path(index), allow_pickle=False)
        data = Blosc().decode(self._path(index).read_bytes())
        return np.frombuffer(bytearray(data), self.dtype).reshape(shape)

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Read any region, from all the chunks that it touches."""
        out = np.empty([s.stop - s.start for s in region], self.dtype)
        edges = [(0, *accumulate(cut)) for cut in self.cuts]
        spans = [
            range(bisect_right(edge, s.start) - 1, bisect_right(edge, s.stop - 1))
            for edge, s in zip(edges, region, strict=True)
        ]
        for index in product(*spans):
            starts = [edge[i] for edge, i in zip(edges, index, strict=True)]
            stops = [edge[i + 1] for edge, i in zip(edges, index, strict=True)]
            both = [
                slice(max(a, s.start), min(b, s.stop))
                for a, b, s in zip(starts, stops, region, strict=True)
            ]
            here = tuple(slice(b.start - a, b.stop - a) for b, a in zip(both, starts, strict=True))
            there = tuple(
                slice(b.start - s.start, b.stop - s.start)
                for b, s in zip(both, region, strict=True)
            )
            out[there] = self._open(index)[here]
        return out

    def _open(self, index: Index) -> npt.NDArray[Any]:
        if self.is_sparse and not self.has_chunk(index):
            shape = tuple(cut[i] for cut, i in zip(self.cuts, index, strict=True))
            return np.broadcast_to(np.zeros((), self.dtype), shape)
        if self.is_compressed:
            return self.read_chunk(index)
        return np.load(self._path(index), mmap_mode="r", allow_pickle=False)

    def _path(self, index: Index) -> Path:
        ending = "lz4" if self.is_compressed else "npy"
        return Path(self.folder) / f"{'.'.join(map(str, index))}.{ending}"


def write_array(path: Path, array: npt.NDArray[Any], *, trailer: bytes = b"") -> int:
    """Write an ``.npy`` file that appears only when it is whole; return its bytes.

    Parameters
    ----------
    path : Path
        The file; its folder is there.
    array : ndarray
        What is written.
    trailer : bytes
        Put after the array, where `numpy.load` does not look.
    """
    with _whole(path) as file:
        np.save(_Writer(file), array, allow_pickle=False)
        file.write(trailer)
    return path.stat().st_size


class _Writer:
    """A file as NumPy does not know it.

    Into files that it knows it writes past Python, and of a full disk it says how many values went
    missing, and not why.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write


def write_bytes(path: Path, data: bytes) -> int:
    """Write a file that appears only when it is whole; return its bytes."""
    with _whole(path) as file:
        file.write(data)
    return len(data)


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file under a temporary name, and rename it if all went well."""
    # Process and thread in the name keep two workers apart that run the same block at once.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = error.filename or str(path)  # what fails in `write` knows no name
        raise
