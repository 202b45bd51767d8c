"""The 1024 bytes at the head of an MRC file, and what they leave open.

References
----------
.. [1] Cheng A. et al., "MRC2014: Extensions to the MRC format header for electron
   cryo-microscopy and tomography", J. Struct. Biol. 192 (2015) 146–150.
.. [2] The IMOD file format, https://bio3d.colorado.edu/imod/doc/mrc_format.txt
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any, Literal, TypeAlias

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from volproc.core.errors import FormatError

ByteOrder: TypeAlias = Literal["<", ">"]
"""Little-endian or big-endian."""

ORDERS: tuple[ByteOrder, ByteOrder] = ("<", ">")
"""Both, the common one first."""

HEAD_BYTES = 1024
"""Size of the fixed head."""

MODES: dict[int, str] = {
    0: "i1",
    1: "i2",
    2: "f4",
    3: "complex of two int16",
    4: "complex of two float32",
    6: "u2",
    12: "f2",
    16: "RGB of three uint8",
    101: "u1",
}
"""What a voxel is in each mode: a NumPy type, or words for what is no volume. Mode 101 packs two
voxels into a byte."""

READABLE = frozenset({0, 1, 2, 6, 12, 101})
"""Modes that make a volume."""

LARGEST_SIDE = 2**26
"""More voxels along one axis are taken for a wrong byte order, or for another kind of file."""

LARGEST_MODE = 1023
"""As above, for the mode."""

IMOD_STAMP = 1146047817
"""Says at byte 152 that IMOD's flags follow."""

SIGNED, ORIGIN_IS_POSITION, PACKED_BYTES = 1, 4, 16
"""Bits of IMOD's flags: bytes are signed; the origin is the position of the first voxel and not
its negative; a byte of mode 0 holds two voxels."""


@dataclass(frozen=True, slots=True)
class MrcHeader:
    """The head of an MRC file, each question answered."""

    byte_order: ByteOrder
    """``<`` or ``>``."""

    sizes: tuple[int, int, int]
    """Sections, rows, columns: the order of the file."""

    mode: int
    """Type of the voxels, as in the file."""

    stored: np.dtype[Any]
    """Type of the voxels, in the file's byte order; of the bytes where two voxels share one."""

    is_packed: bool
    """Whether a byte holds two voxels of four bits, the first in its low half."""

    axes: tuple[int, int, int]
    """Which of x (0), y (1), z (2) the columns, rows and sections are."""

    voxel_size_xyz: tuple[float, float, float]
    """Cell over intervals, Å; not finite or not positive where the file gives none."""

    start_xyz: tuple[int, int, int]
    """Position of the first voxel, in voxels."""

    origin_xyz: tuple[float, float, float]
    """Position of the first voxel, Å, from the origin field; zero where it is not used."""

    space_group: int
    """0 for images, 1 for a volume, more for crystals, from 401 for stacks of volumes."""

    num_intervals_z: int
    """``mz``: in a stack of volumes, the sections of one volume."""

    extended_bytes: int
    """Size of the extended head."""

    extended_type: str
    """Its kind: ``FEI1``, ``SERI``, ``CCP4`` …"""

    labels: tuple[str, ...]
    """Text that programs left."""

    statistics: dict[str, float]
    """Least, greatest, mean and deviation, as the file states them."""

    has_imod_stamp: bool
    """Whether IMOD wrote it."""

    notes: tuple[str, ...]
    """What was odd, and how it was read."""

    @property
    def data_offset(self) -> int:
        """First byte of the voxels."""
        return HEAD_BYTES + self.extended_bytes

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of columns."""
        columns = self.sizes[2]
        return (columns + 1) // 2 if self.is_packed else columns * self.stored.itemsize

    @property
    def file_bytes(self) -> int:
        """Bytes that the file must have."""
        return self.data_offset + self.sizes[0] * self.sizes[1] * self.row_bytes

    @property
    def is_volume_stack(self) -> bool:
        """Whether several volumes follow each other."""
        depth = self.num_intervals_z
        return 401 <= self.space_group <= 630 and depth > 0 and self.sizes[0] % depth == 0


def parse_header(raw: bytes, address: str, file_bytes: int | None = None) -> MrcHeader:
    """Understand the head of an MRC file.

    Parameters
    ----------
    raw : bytes
        The first 1024 bytes.
    address : str
        For messages.
    file_bytes : int or None
        Size of the file, which decides between two plausible byte orders; None if unknown.

    Raises
    ------
    FormatError
        If this is no MRC head in either byte order, or its mode makes no volume.
    """
    if len(raw) < HEAD_BYTES:
        msg = (
            f"{address} is too short for an MRC file: its head takes {HEAD_BYTES} bytes, the file "
            f"has {len(raw)}. Copy it again."
        )
        raise FormatError(msg)
    notes: list[str] = []
    order = _byte_order(raw, address, file_bytes, notes)
    head = _fields(raw, order)
    mode = int(head["mode"])
    if mode not in READABLE:
        raise FormatError(_unreadable_mode(address, mode))
    stamp, flags = struct.unpack(order + "ii", raw[152:160])
    has_stamp = stamp == IMOD_STAMP
    flags = flags if has_stamp else 0
    statistics = {
        name: float(head[field])
        for name, field in (("min", "dmin"), ("max", "dmax"), ("mean", "dmean"), ("rms", "rms"))
    }
    sections, rows, columns = (int(head[n]) for n in ("nz", "ny", "nx"))
    intervals = [int(head[n]) for n in ("mx", "my", "mz")]
    is_packed = mode == 101
    if mode == 0 and flags & PACKED_BYTES:
        is_packed = True
        columns *= 2
        notes.append("mode 0 with IMOD's flag for two voxels in a byte: read as 4-bit voxels")
    stored = np.dtype(MODES[mode]).newbyteorder(order)
    if mode == 0:
        is_signed = not is_packed and _is_signed(has_stamp, flags, statistics, notes)
        stored = np.dtype("i1" if is_signed else "u1")
    axes = _axes(head, notes)
    start = dict(zip(axes, (int(head[n]) for n in ("nxstart", "nystart", "nzstart")), strict=True))
    return MrcHeader(
        byte_order=order,
        sizes=(sections, rows, columns),
        mode=mode,
        stored=stored,
        is_packed=is_packed,
        axes=axes,
        voxel_size_xyz=_voxel_size(head, intervals, notes),
        start_xyz=(start[0], start[1], start[2]),
        origin_xyz=_origin(raw, head, has_stamp, flags, notes),
        space_group=int(head["ispg"]),
        num_intervals_z=intervals[2],
        extended_bytes=int(head["nsymbt"]),
        extended_type=_text(head["exttyp"]),
        labels=_labels(head),
        statistics=statistics,
        has_imod_stamp=has_stamp,
        notes=tuple(notes),
    )


def _fields(raw: bytes, order: ByteOrder) -> Any:
    return np.frombuffer(raw[:HEAD_BYTES], HEADER_DTYPE.newbyteorder(order))[0]


def _byte_order(raw: bytes, address: str, file_bytes: int | None, notes: list[str]) -> ByteOrder:
    """Find the byte order in which the head makes sense; the machine stamp alone may be wrong."""
    stated = {0x44: "<", 0x11: ">"}.get(raw[212])
    ranks = {}
    for order in ORDERS:
        head = _fields(raw, order)
        sizes = [int(head[n]) for n in ("nx", "ny", "nz")]
        extended = int(head["nsymbt"])
        is_possible = (
            all(0 < n <= LARGEST_SIDE for n in sizes)
            and 0 <= int(head["mode"]) <= LARGEST_MODE
            and extended >= 0
        )
        needed = HEAD_BYTES + extended + prod(sizes) // 2
        ranks[order] = (
            is_possible,
            sorted(int(head[n]) for n in ("mapc", "mapr", "maps")) == [1, 2, 3],
            file_bytes is None or needed <= file_bytes,
            order == stated,
        )
    best = max(ORDERS, key=lambda order: ranks[order])
    if not ranks[best][0]:
        texts = " or ".join(_sizes_text(raw, order) for order in ORDERS)
        msg = (
            f"{address} is no MRC file, or a damaged one: its head would mean {texts}. Check "
            "what wrote it."
        )
        raise FormatError(msg)
    name = {"<": "little", ">": "big"}[best]
    if stated is None:
        notes.append(f"no valid machine stamp: only {name}-endian makes sense, and is used")
    elif stated != best:
        notes.append(f"the machine stamp is wrong: only {name}-endian makes sense, and is used")
    return best


def _sizes_text(raw: bytes, order: ByteOrder) -> str:
    head = _fields(raw, order)
    name = {"<": "little", ">": "big"}[order]
    sizes = " × ".join(str(int(head[n])) for n in ("nz", "ny", "nx"))
    return f"{sizes} voxels of mode {int(head['mode'])} in {name}-endian"


def _unreadable_mode(address: str, mode: int) -> str:
    readable = ", ".join(str(m) for m in sorted(READABLE))
    if mode in (3, 4):
        cure = "It is a Fourier transform: transform it back first"
    elif mode == 16:
        cure = "Turn it into grey values first (IMOD: colornewst, or mrc2tif and a channel of it)"
    else:
        cure = "Convert it with the program that wrote it"
    what = MODES.get(mode, "unknown")
    return (
        f"{address} has mode {mode} ({what}), which makes no volume of real numbers. {cure}; "
        f"modes {readable} can be read."
    )


def _is_signed(has_stamp: bool, flags: int, statistics: dict[str, float], notes: list[str]) -> bool:
    """Decide whether bytes of mode 0 are signed: IMOD's flag, then the statistics, then yes."""
    if has_stamp:
        is_signed = bool(flags & SIGNED)
        notes.append(f"mode 0: {'signed' if is_signed else 'unsigned'} bytes, by IMOD's flag")
        return is_signed
    # Before 2012 most programs wrote unsigned bytes as mode 0, and the standard did not say.
    if statistics["max"] > 127 or statistics["mean"] > 127:
        notes.append(
            f"mode 0: unsigned bytes, for the head states a maximum of {statistics['max']:g} and "
            f"a mean of {statistics['mean']:g}"
        )
        return False
    notes.append("mode 0: signed bytes, as the standard says; nothing in the head contradicts it")
    return True


def _axes(head: Any, notes: list[str]) -> tuple[int, int, int]:
    axes = tuple(int(head[n]) for n in ("mapc", "mapr", "maps"))
    if sorted(axes) != [1, 2, 3]:
        notes.append(f"impossible axis order {axes}: columns, rows, sections are x, y, z")
        return 0, 1, 2
    return axes[0] - 1, axes[1] - 1, axes[2] - 1


def _voxel_size(head: Any, intervals: list[int], notes: list[str]) -> tuple[float, float, float]:
    """Cell over intervals; the nearest float64 with few digits, not the float32's noise."""
    sizes = []
    for name, count in zip("xyz", intervals, strict=True):
        cell = float(head["cella"][name])
        # 7.84 Å times 1024 in float32 is 7.839999…: seven digits are all that float32 holds.
        size = float(f"{cell / count:.7g}") if count > 0 and isfinite(cell) else float("nan")
        sizes.append(size)
        if not (isfinite(size) and size > 0):
            notes.append(
                f"no usable voxel size along {name}: the cell is {cell:g} Å for {count} intervals"
            )
    angles = [float(head["cellb"][name]) for name in ("alpha", "beta", "gamma")]
    if any(angles) and not all(abs(angle - 90) < 0.01 for angle in angles):
        notes.append(f"cell angles {angles} are not right; voxels are treated as if they were")
    return sizes[0], sizes[1], sizes[2]


def _origin(
    raw: bytes, head: Any, has_stamp: bool, flags: int, notes: list[str]
) -> tuple[float, float, float]:
    """Position of the first voxel by the origin field, in the sense of MRC2014."""
    values = [float(head["origin"][name]) for name in "xyz"]
    if not all(isfinite(v) for v in values):
        notes.append(f"impossible origin {values}, taken as zero")
        return 0.0, 0.0, 0.0
    if raw[208:211] != b"MAP":
        # Before 2000 the field lay elsewhere, and programs disagreed on its sign.
        if any(values):
            notes.append(f"no MAP in the head: its origin {values} is not trusted")
        return 0.0, 0.0, 0.0
    sign = -1.0 if has_stamp and not flags & ORIGIN_IS_POSITION else 1.0
    return sign * values[0] + 0.0, sign * values[1] + 0.0, sign * values[2] + 0.0


def _labels(head: Any) -> tuple[str, ...]:
    count = min(max(int(head["nlabl"]), 0), 10)
    texts = [_text(label) for label in head["label"][:count]]
    return tuple(text for text in texts if text)


def _text(value: bytes) -> str:
    """Printable text of a field of bytes."""
    decoded = bytes(value).split(b"\0")[0].decode("latin-1")
    return "".join(ch for ch in decoded if ch.isprintable()).strip()
