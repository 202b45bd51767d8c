"""MRC files in the making."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from mrcfile.dtypes import HEADER_DTYPE

from volproc.core.errors import FormatError, ResumeError
from volproc.core.types import Shape
from volproc.io.create import move_into_place, partial_path, remove
from volproc.io.formats import Target
from volproc.io.mapped import MappedSink, reserve
from volproc.io.mrc_header import HEAD_BYTES
from volproc.io.unpack import Packing, pack

MODE_OF = {"i1": 0, "i2": 1, "f4": 2, "u2": 6, "f2": 12}
"""Mode that holds a type as it is."""

STANDARD_VERSION = 20141
"""MRC2014, first revision."""

PIECE_VOXELS = 2**22
"""Voxels read at a time for the statistics."""

STATISTICS = ("dmin", "dmax", "dmean", "rms")
"""Fields of the head that are known only at the end."""


@dataclass(frozen=True, slots=True)
class MrcSink(MappedSink):
    """Writes regions into a memory-mapped MRC file; `finish` adds the statistics.

    Notes
    -----
    `finish` reads the file once, in pieces of 4 million voxels. A compressed file is written
    uncompressed first and packed by `finish`, so that it needs both sizes on disk for a while.
    """

    def finish(self) -> None:
        """Write the statistics into the head, compress if asked, and move to the final name."""
        mapped = np.memmap(
            self.partial, dtype=self.dtype, mode="r", offset=self.offset, shape=self.shape
        )
        low, high, mean, rms = measure(mapped)
        del mapped
        head = np.frombuffer(_read(self.partial, HEAD_BYTES), HEADER_DTYPE).copy()
        for name, value in zip(STATISTICS, (low, high, mean, rms), strict=True):
            head[name] = value
        with self.partial.open("r+b") as file:
            file.write(head.tobytes())
        packing = packing_of(self.address)
        if packing:
            pack(self.partial, self.packed, packing)
            move_into_place(self.packed, Path(self.address))
            remove(self.partial)
        else:
            move_into_place(self.partial, Path(self.address))

    @property
    def packed(self) -> Path:
        """The compressed file while it is being written."""
        return self.partial.with_name(self.partial.name + ".packed")

    def discard(self) -> None:
        """Remove what was written."""
        remove(self.packed)
        remove(self.partial)


def begin_mrc(target: Target) -> MrcSink:
    """Lay out an MRC file under its partial name, or go on with one.

    Raises
    ------
    FormatError
        If no mode can hold the type.
    ResumeError
        If the unfinished file is of another shape, type or voxel size.
    """
    stored = stored_dtype(target)
    head = make_head(target.shape, stored, target.voxel_size, target.origin)
    size = HEAD_BYTES + prod(target.shape) * stored.itemsize
    sink = MrcSink(target.address, target.shape, stored, HEAD_BYTES)
    partial = partial_path(Path(target.address))
    if target.resume and partial.exists():
        known = _read(partial, HEAD_BYTES)
        if partial.stat().st_size != size or _without_statistics(known) != head:
            msg = (
                f"{partial} was begun with another shape, type, voxel size or origin. Remove it, "
                "or start anew without resume= (--resume)."
            )
            raise ResumeError(msg)
        return sink
    with partial.open("wb") as file:
        file.write(head)
        file.truncate(size)
    reserve(partial)
    return sink


def stored_dtype(target: Target) -> np.dtype[Any]:
    """Type on disk for the type of a target.

    Raises
    ------
    FormatError
        If no mode can hold it.

    Notes
    -----
    Bytes from 0 to 255 become mode 6 (uint16), as mrcfile does: mode 0 is signed by the standard,
    and only IMOD looks at the flag that would say otherwise. Booleans become mode 0. Real numbers
    of 64 bits become mode 2. Integers of 32 and 64 bits become mode 6 if they are labels and
    mode 2 otherwise, and the sink refuses a value that would not be exact there.
    """
    dtype = target.dtype.newbyteorder("<")
    code = f"{dtype.kind}{dtype.itemsize}"
    if code in MODE_OF:
        return dtype
    if dtype.kind == "b":
        return np.dtype("i1")
    if code == "u1":
        return np.dtype("<u2")
    if dtype.kind == "f":
        return np.dtype("<f4")
    if dtype.kind in "iu":
        return np.dtype("<u2" if target.kind == "labels" else "<f4")
    msg = (
        f"{target.address}: MRC cannot hold {target.dtype}. It takes int8, int16, uint16, float16 "
        "and float32; convert the voxels first."
    )
    raise FormatError(msg)


def make_head(
    shape: Shape, dtype: np.dtype[Any], voxel_size: tuple[float, ...], origin: tuple[float, ...]
) -> bytes:
    """Head of an MRC file whose statistics are not known yet.

    Parameters
    ----------
    shape : tuple of int
        (z, y, x) or (y, x).
    dtype : dtype
        One that a mode holds.
    voxel_size, origin : tuple of float
        Å, in the order of the shape.
    """
    head = np.zeros((), HEADER_DTYPE)
    for letter, count in zip("zyx", (1, *shape)[-3:], strict=True):
        head[f"n{letter}"] = head[f"m{letter}"] = count
    head["mode"] = MODE_OF[f"{dtype.kind}{dtype.itemsize}"]
    # A micrograph has no extent along z; its pixel size there keeps readers from dividing by 0.
    sizes = (voxel_size[0], *voxel_size)[-3:]
    corner = (0.0, *origin)[-3:]
    for letter, count, size, start in zip("zyx", (1, *shape)[-3:], sizes, corner, strict=True):
        head["cella"][letter] = count * size
        head["origin"][letter] = start
    for angle in ("alpha", "beta", "gamma"):
        head["cellb"][angle] = 90
    head["mapc"], head["mapr"], head["maps"] = 1, 2, 3
    head["ispg"] = 1 if len(shape) == 3 else 0
    head["nversion"] = STANDARD_VERSION
    head["map"] = b"MAP "
    head["machst"] = (0x44, 0x44, 0, 0)
    head["nlabl"] = 1
    head["label"][0] = b"Written by volproc"
    return _without_statistics(head.tobytes())


def measure(array: npt.NDArray[Any]) -> tuple[float, float, float, float]:
    """Least, greatest, mean and standard deviation of the finite voxels, in one pass.

    Notes
    -----
    Means and sums of squares of pieces are merged as in [1]_, in float64.

    References
    ----------
    .. [1] Chan T. F., Golub G. H., LeVeque R. J., "Updating formulae and a pairwise algorithm for
       computing sample variances", 1979.

    Examples
    --------
    >>> measure(np.array([[1.0, 3.0], [np.nan, 2.0]], np.float32))[:3]
    (1.0, 3.0, 2.0)
    """
    flat = array.reshape(-1)
    count, mean, squares = 0, 0.0, 0.0
    low, high = float("inf"), float("-inf")
    for start in range(0, flat.size, PIECE_VOXELS):
        piece = np.asarray(flat[start : start + PIECE_VOXELS], dtype=np.float64)
        if array.dtype.kind == "f":
            piece = piece[np.isfinite(piece)]
        if not piece.size:
            continue
        low, high = min(low, float(piece.min())), max(high, float(piece.max()))
        piece_mean = float(piece.mean())
        total = count + piece.size
        step = piece_mean - mean
        squares += float(np.square(piece - piece_mean).sum()) + step**2 * count * piece.size / total
        mean += step * piece.size / total
        count = total
    if not count:
        # The standard's way to say "not determined": max < min, mean < both, negative deviation.
        return 0.0, -1.0, -2.0, -1.0
    return low, high, mean, sqrt(squares / count)


def packing_of(address: str) -> Packing:
    """Return the compression that a name asks for."""
    if address.lower().endswith(".gz"):
        return "gzip"
    return "bzip2" if address.lower().endswith(".bz2") else ""


def _without_statistics(head: bytes) -> bytes:
    """Head with the statistics that mean "not determined"."""
    fields = np.frombuffer(head, HEADER_DTYPE).copy()
    for name, value in zip(STATISTICS, (0.0, -1.0, -2.0, -1.0), strict=True):
        fields[name] = value
    return fields.tobytes()


def _read(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)
