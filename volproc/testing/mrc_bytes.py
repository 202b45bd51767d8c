"""MRC files made byte by byte, so that the reader is not tested with its own writer."""

from __future__ import annotations

import struct
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

ByteOrder: TypeAlias = Literal["<", ">"]
"""Little-endian or big-endian."""

MACHINE_STAMPS = {"<": b"\x44\x44\x00\x00", ">": b"\x11\x11\x00\x00"}
"""Bytes 212 to 215 of a head, by byte order."""


def mrc_head(
    sizes: tuple[int, int, int],
    mode: int,
    *,
    order: ByteOrder = "<",
    voxel: tuple[float, float, float] = (2.0, 3.0, 4.0),
    intervals: tuple[int, int, int] | None = None,
    start: tuple[int, int, int] = (0, 0, 0),
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    axes: tuple[int, int, int] = (1, 2, 3),
    ispg: int = 1,
    extended: int = 0,
    extended_type: bytes = b"",
    statistics: tuple[float, float, float] = (0.0, -1.0, -2.0),
    imod_flags: int | None = None,
    map_id: bytes = b"MAP ",
    stamp: bytes | None = None,
) -> bytes:
    """Return 1024 bytes; sizes and starts are of columns, rows, sections, all else is x, y, z."""
    head = bytearray(1024)
    if intervals is None:
        along = dict(zip(axes, sizes, strict=True)) if sorted(axes) == [1, 2, 3] else {}
        intervals = (along.get(1, sizes[0]), along.get(2, sizes[1]), along.get(3, sizes[2]))
    cell = [v * n for v, n in zip(voxel, intervals, strict=True)]
    struct.pack_into(f"{order}10i", head, 0, *sizes, mode, *start, *intervals)
    struct.pack_into(f"{order}6f", head, 40, *cell, 90, 90, 90)
    struct.pack_into(f"{order}3i", head, 64, *axes)
    struct.pack_into(f"{order}3f", head, 76, *statistics)
    struct.pack_into(f"{order}2i", head, 88, ispg, extended)
    head[104 : 104 + len(extended_type)] = extended_type
    if imod_flags is not None:
        struct.pack_into(f"{order}2i", head, 152, 1146047817, imod_flags)
    struct.pack_into(f"{order}3f", head, 196, *origin)
    head[208:212] = map_id
    head[212:216] = MACHINE_STAMPS[order] if stamp is None else stamp
    return bytes(head)


def mrc_file(
    voxels: npt.NDArray[Any], mode: int, *, order: ByteOrder = "<", **options: Any
) -> bytes:
    """Return head, extended head of ones, and voxels given as (sections, rows, columns)."""
    sizes = (voxels.shape[2], voxels.shape[1], voxels.shape[0])
    extended = options.get("extended", 0)
    head = mrc_head(sizes, mode, order=order, **options)
    data = voxels.astype(voxels.dtype.newbyteorder(order)).tobytes()
    return head + b"\x01" * extended + data


def packed_file(voxels: npt.NDArray[Any], **options: Any) -> bytes:
    """Return a file of mode 101: two voxels of four bits in a byte, rows padded to whole bytes."""
    rows = []
    for row in voxels.reshape(-1, voxels.shape[2]):
        pairs = [*row, 0] if len(row) % 2 else [*row]
        rows.append(bytes(pairs[i] | pairs[i + 1] << 4 for i in range(0, len(pairs), 2)))
    sizes = (voxels.shape[2], voxels.shape[1], voxels.shape[0])
    return mrc_head(sizes, 101, **options) + b"".join(rows)


def ramp(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return values that differ from voxel to voxel, and use the range of bytes."""
    values = np.arange(int(np.prod(shape))).reshape(shape)
    if np.dtype(dtype) == np.int8:
        values = values % 256 - 128
    return values.astype(dtype)
