"""What a head may claim: a file of 1 kB must not make anybody take 1 TB."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from volproc.core.arrays import Source, decoded_chunks
from volproc.core.errors import FormatError
from volproc.core.types import Shape, axis_names

if TYPE_CHECKING:
    from pathlib import Path

MOST_CHUNK_BYTES = 2**32
"""A chunk, strip or tile is decoded as a whole; HDF5 allows none larger either."""

MOST_SIDE = 2**26
"""More voxels along one axis are taken for damage."""

MOST_BYTES = 2**53
"""As above, for the whole volume: 8 PiB."""

MOST_METADATA_BYTES = 2**26
"""A JSON file of metadata that is longer is not read."""


def check_chunk(name: str, chunk: Shape, item_bytes: int, what: str = "a storage chunk") -> None:
    """Refuse a chunk that nobody could decode.

    Parameters
    ----------
    name : str
        Where it is, for the message.
    chunk : tuple of int
        Its size, values.
    item_bytes : int
        Bytes of a value.
    what : str
        What it is called.

    Raises
    ------
    FormatError
        With its size and the limit.

    Examples
    --------
    >>> check_chunk("a.zarr", (2048, 2048, 2048), 4)
    Traceback (most recent call last):
    volproc.core.errors.FormatError: a.zarr: a storage chunk of 2048 × 2048 × 2048 would be 32.0 ...
    """
    num_bytes = prod(chunk) * item_bytes
    if num_bytes > MOST_CHUNK_BYTES:
        msg = (
            f"{name}: {what} of {' × '.join(map(str, chunk))} would be {num_bytes / 2**30:,.1f} "
            f"GiB when decoded, at most {MOST_CHUNK_BYTES / 2**30:.0f} GiB are. It is damaged, or "
            "has to be written again with smaller chunks."
        )
        raise FormatError(msg)


def check_claim(name: str, source: Source) -> None:
    """Refuse a volume whose head claims what no volume has, or nothing.

    Raises
    ------
    FormatError
        Naming the axis, or the bytes.
    """
    for axis, size in zip(axis_names(len(source.shape)), source.shape, strict=True):
        if size < 1:
            msg = f"{name} has no voxels along {axis}. It is empty or damaged; copy it again."
            raise FormatError(msg)
        if size > MOST_SIDE:
            msg = (
                f"{name} would have {size:,} voxels along {axis}, at most {MOST_SIDE:,} are taken "
                "for true. Its head is damaged; copy it again."
            )
            raise FormatError(msg)
    num_bytes = prod(source.shape) * source.dtype.itemsize
    if num_bytes > MOST_BYTES:
        msg = (
            f"{name} would have {num_bytes / 2**50:,.0f} PiB, at most {MOST_BYTES // 2**50} are "
            "taken for true. Its head is damaged; copy it again."
        )
        raise FormatError(msg)
    check_chunk(name, decoded_chunks(source), source.dtype.itemsize)


def check_metadata_file(path: Path) -> None:
    """Refuse a file of metadata that is too long to be one.

    Raises
    ------
    FormatError
        With both sizes.
    """
    size = path.stat().st_size
    if size > MOST_METADATA_BYTES:
        msg = (
            f"{path} has {size:,} bytes, metadata at most {MOST_METADATA_BYTES:,}. It is damaged; "
            "copy it again."
        )
        raise FormatError(msg)
