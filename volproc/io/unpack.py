"""Files that are compressed as a whole: gzip and bzip2."""

from __future__ import annotations

import bz2
import gzip
import shutil
import zlib
from functools import lru_cache
from math import prod
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import IO, Any, Literal, cast

import numpy as np

from volproc.core.errors import FormatError
from volproc.core.types import Shape

Packing = Literal["", "gzip", "bzip2"]
"""How a whole file is compressed; empty for not at all."""

STEP_BYTES = 2**20
"""What is unpacked at a time."""

DEFLATE_RATIO = 1032
"""The most that deflate can compress, by the design of its codes."""

_unpacking = Lock()


def find_packing(path: Path) -> Packing:
    """Tell from its first bytes how a file is compressed; its name may say otherwise."""
    with path.open("rb") as file:
        magic = file.read(3)
    if magic[:2] == b"\x1f\x8b":
        return "gzip"
    return "bzip2" if magic == b"BZh" else ""


def open_unpacked(path: Path | str, packing: Packing) -> IO[bytes]:
    """Open a file as the stream of what it holds when unpacked."""
    if packing == "gzip":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if packing == "bzip2":
        return cast(IO[bytes], bz2.open(path, "rb"))
    return Path(path).open("rb")


def read_head(path: Path, packing: Packing, count: int) -> bytes:
    """First bytes of a file, unpacked; fewer where it is shorter.

    Raises
    ------
    FormatError
        If the compressed stream is damaged.
    """
    try:
        with open_unpacked(path, packing) as file:
            return file.read(count)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, packing, error) from error


def map_unpacked(
    path: str, shape: Shape, dtype: str, offset: int, stamp: tuple[int, int], packing: Packing
) -> np.memmap[Any, Any]:
    """Unpack the voxels of a file into an unnamed temporary file, and map that."""
    # Threads that ask at once must not unpack the same file twice.
    with _unpacking:
        return _map_unpacked(path, shape, dtype, offset, stamp, packing)


@lru_cache(maxsize=4)
def _map_unpacked(
    path: str, shape: Shape, dtype: str, offset: int, stamp: tuple[int, int], packing: Packing
) -> np.memmap[Any, Any]:
    needed = prod(shape) * np.dtype(dtype).itemsize
    # The file has no name, so that a killed process leaves nothing; the map outlives its handle.
    with TemporaryFile(prefix="volproc-") as unpacked:
        try:
            with open_unpacked(path, packing) as file:
                file.seek(offset)
                while unpacked.tell() < needed:
                    step = file.read(min(STEP_BYTES, needed - unpacked.tell()))
                    if not step:
                        msg = (
                            f"{path} is truncated: its head promises {offset + needed} bytes "
                            f"unpacked, it holds {offset + unpacked.tell()}. Copy it again."
                        )
                        raise FormatError(msg)
                    unpacked.write(step)
        except (EOFError, zlib.error, OSError) as error:
            raise _damaged(path, packing, error) from error
        unpacked.flush()
        return np.memmap(unpacked, dtype=dtype, mode="r", shape=shape, order="C")


def pack(raw: Path, packed: Path, packing: Packing) -> None:
    """Compress a file into another, as a stream."""
    with raw.open("rb") as source, packed.open("wb") as target:
        if packing == "gzip":
            # No time and no name in the head: the same voxels give the same file.
            with gzip.GzipFile("", "wb", 6, target, mtime=0) as stream:
                shutil.copyfileobj(source, stream, STEP_BYTES)
        else:
            with bz2.open(target, "wb") as stream:
                shutil.copyfileobj(source, stream, STEP_BYTES)


def _damaged(path: Path | str, packing: Packing, error: Exception) -> Exception:
    """Error for a stream that cannot be unpacked; one of the disk stays what it is."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    return FormatError(
        f"{path} cannot be unpacked as {packing} ({error}): it is truncated or damaged. "
        "Copy it again."
    )
