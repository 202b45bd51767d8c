"""Whether a TIFF file is whole: a walk along its directories, without a voxel."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from volproc.core.errors import FormatError

TYPE_BYTES = np.array([1, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8])
"""Bytes of a value of each TIFF type."""

NEEDED_TAGS = np.array([256, 257, 258, 259, 262, 270, 273, 277, 278, 279, 322, 323, 324, 325, 339])
"""Tags without which a page cannot be understood; others may be damaged and do no harm."""

DATA_TAGS = ((273, 279), (324, 325))
"""Where data begin and how many bytes they are: of strips, of tiles."""

MOST_TAGS = 4096
"""More tags in one directory are taken for damage."""


DAMAGE = (
    *(tifffile.TiffFileError, ArithmeticError, AssertionError, AttributeError, LookupError),
    *(RuntimeError, TypeError, ValueError, struct.error),
)
"""What tifffile raises of a damaged file."""

OME_COUNTS = re.compile(r'(?:Size[ZCT]|PlaneCount|NumPlanes|IFD)="(\d{1,30})"')
"""Numbers of planes in an OME description."""

MOST_PLANES = 10**7
"""More planes are taken for damage."""


@dataclass(frozen=True, slots=True)
class TiffLayout:
    """How numbers are written in a TIFF file."""

    order: str
    """``<`` or ``>``."""

    is_big: bool
    """BigTIFF: offsets of 8 bytes."""

    first: int
    """Offset of the first directory."""

    @property
    def entries(self) -> np.dtype[np.void]:
        """One entry of a directory."""
        wide = "u8" if self.is_big else "u4"
        fields = [("tag", "u2"), ("type", "u2"), ("count", wide), ("value", wide)]
        return np.dtype([(name, self.order + kind) for name, kind in fields])


def check_tiff(path: Path) -> int:
    """Walk along the directories of a TIFF file, and return how many there are.

    Raises
    ------
    FormatError
        If this is no TIFF file, or a directory, one of its values or the data that it points to
        lie beyond the end.

    Notes
    -----
    Two small reads a page; no voxel is read.
    """
    size = path.stat().st_size
    handle = os.open(path, os.O_RDONLY)
    try:
        layout = _read_layout(os.pread(handle, 16, 0), path)
        if layout.first == 0:
            msg = f"{path} is a TIFF file without a page. Check what wrote it."
            raise FormatError(msg)
        seen: set[int] = set()
        offset = layout.first
        while offset and offset not in seen:
            seen.add(offset)
            offset = _check_directory(handle, layout, offset, size, path, len(seen))
        return len(seen)
    finally:
        os.close(handle)


def check_claims(description: str, path: Path) -> None:
    """Refuse an OME description that counts more planes than any file has.

    Parameters
    ----------
    description : str
        Text of the first page.
    path : Path
        The file, for the message.

    Raises
    ------
    FormatError
        With the number.

    Notes
    -----
    tifffile makes an entry for each plane that is promised, there or not.
    """
    counts = [int(number) for number in OME_COUNTS.findall(description)]
    if "<OME" in description and max(counts, default=0) > MOST_PLANES:
        msg = (
            f"{path} would have {max(counts):,} planes, at most {MOST_PLANES:,} are taken for "
            "true. Its OME description is damaged; copy it again."
        )
        raise FormatError(msg)


def check_neighbours(series: tifffile.TiffPageSeries, path: Path) -> None:
    """Refuse an image of several files of which one lies outside of the first one's folder.

    Raises
    ------
    FormatError
        Naming it.
    """
    folder = path.resolve().parent
    files = {str(page.parent.filehandle.path) for page in series.pages if page is not None}
    for name in sorted(files):
        if not Path(name).resolve().is_relative_to(folder):
            msg = (
                f"{path} names {name}, which is not in its folder. Open that file itself, or copy "
                "what belongs together into one folder."
            )
            raise FormatError(msg)


def _read_layout(head: bytes, path: Path) -> TiffLayout:
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is not None and len(head) >= 8:
        version = struct.unpack(order + "H", head[2:4])[0]
        if version == 42:
            return TiffLayout(order, False, struct.unpack(order + "I", head[4:8])[0])
        if version == 43 and len(head) == 16:
            return TiffLayout(order, True, struct.unpack(order + "Q", head[8:16])[0])
    msg = (
        f"{path} is no TIFF file, or a damaged one: it begins with {head[:8]!r}. Check what wrote "
        "it."
    )
    raise FormatError(msg)


def _check_directory(
    handle: int, layout: TiffLayout, offset: int, size: int, path: Path, page: int
) -> int:
    """Check one directory, and return the offset of the next; 0 ends the chain."""
    wide = 8 if layout.is_big else 2
    raw = os.pread(handle, wide, offset)
    if len(raw) < wide:
        raise _truncated(path, page, offset + wide, size)
    count = struct.unpack(layout.order + ("Q" if layout.is_big else "H"), raw)[0]
    if count > MOST_TAGS:
        msg = (
            f"{path} is damaged: page {page} would have {count} tags. It is truncated or was "
            "overwritten; copy it again."
        )
        raise FormatError(msg)
    entries = layout.entries
    tail = 8 if layout.is_big else 4
    block = os.pread(handle, count * entries.itemsize + tail, offset + wide)
    if len(block) < count * entries.itemsize + tail:
        raise _truncated(path, page, offset + wide + count * entries.itemsize + tail, size)
    tags = np.frombuffer(block, entries, count)
    _check_values(tags, layout, size, path, page)
    form = layout.order + ("Q" if layout.is_big else "I")
    return int(struct.unpack(form, block[-tail:])[0])


def _check_values(tags: np.ndarray, layout: TiffLayout, size: int, path: Path, page: int) -> None:
    """Check that what a directory points to lies inside the file."""
    inline = 8 if layout.is_big else 4
    kinds = np.minimum(tags["type"], len(TYPE_BYTES) - 1)
    lengths = TYPE_BYTES[kinds] * tags["count"].astype(np.float64)
    ends = tags["value"].astype(np.float64) + lengths
    is_outside = (lengths > inline) & (ends > size) & np.isin(tags["tag"], NEEDED_TAGS)
    if is_outside.any():
        raise _truncated(path, page, int(ends[is_outside].max()), size)
    values = {int(t["tag"]): t for t in tags if t["count"] == 1}
    for begins, counts in DATA_TAGS:
        if begins not in values or counts not in values:
            continue
        end = _inline(values[begins], layout) + _inline(values[counts], layout)
        if end > size and _is_compressed(values.get(259), layout):
            raise _truncated(path, page, end, size)


def _inline(entry: np.void, layout: TiffLayout) -> int:
    """Value of an entry that holds a single short or long in itself."""
    kind = {1: "u1", 3: "u2"}.get(int(entry["type"]), "u8" if layout.is_big else "u4")
    width = 8 if layout.is_big else 4
    raw = int(entry["value"]).to_bytes(width, "little" if layout.order == "<" else "big")
    return int(np.frombuffer(raw, layout.order + kind, 1)[0])


def _is_compressed(entry: np.void | None, layout: TiffLayout) -> bool:
    # Without compression the byte count is often wrong, and the shape says how much there is.
    return entry is not None and _inline(entry, layout) != 1


def _truncated(path: Path, page: int, needed: int, size: int) -> FormatError:
    return FormatError(
        f"{path} is truncated: page {page} needs {needed} bytes, the file has {size}. "
        "Copy it again."
    )
