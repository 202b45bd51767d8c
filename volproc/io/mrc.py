"""MRC files: tomograms, maps, micrographs and stacks of electron microscopy."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from mrcfile.dtypes import get_ext_header_dtype

from volproc.core.arrays import Sink, Source
from volproc.core.errors import FormatError
from volproc.core.types import Region, Shape
from volproc.io.formats import Format, Header, Selection, Target
from volproc.io.mapped import Layout, MappedSource, file_stamp, open_map, require_file
from volproc.io.mrc_header import HEAD_BYTES, MrcHeader, parse_header
from volproc.io.mrc_sink import begin_mrc
from volproc.io.selection import pick_one, refuse_dataset
from volproc.io.unpack import DEFLATE_RATIO, Packing, find_packing, read_head

ENDINGS = (".mrc", ".rec", ".map", ".st", ".mrcs", ".ali", ".preali")
"""Endings of file names, before that of a compression."""

PIXEL_SIZE_FIELDS = ("Pixel size Y", "Pixel size X")
"""Where an extended head of the kind FEI1 or FEI2 keeps the pixel size, in metres."""


@dataclass(frozen=True, slots=True)
class PackedSource:
    """Voxels of four bits, two in a byte, the first in its low half; rows begin with a byte."""

    path: str
    offset: int
    stamp: tuple[int, int]
    layout: Layout
    packing: Packing = ""

    @property
    def shape(self) -> Shape:
        """Size in voxels."""
        return self.layout.volume_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Bytes, from 0 to 15."""
        return np.dtype(np.uint8)

    @property
    def chunks(self) -> Shape:
        """One plane of the file."""
        return self.layout.chunks

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Voxels of a region: only the bytes that hold them are read."""
        layout = self.layout
        index: list[int | slice] = [0 if pick is None else pick for pick in layout.picks]
        kept = [axis for axis, pick in enumerate(layout.picks) if pick is None]
        for axis, part in zip(layout.order, region, strict=True):
            index[kept[axis]] = part
        columns = index[-1] if isinstance(index[-1], slice) else slice(index[-1], index[-1] + 1)
        index[-1] = slice(columns.start // 2, (columns.stop + 1) // 2)
        row_bytes = (layout.shape[-1] + 1) // 2
        opened = open_map(
            self.path, (*layout.shape[:-1], row_bytes), "|u1", self.offset, self.stamp, self.packing
        )
        rows = prod(s.stop - s.start for s in region[:-1])
        opened.used(rows * row_bytes)
        packed = np.asarray(opened.array[tuple(index)])
        pairs = np.stack([packed & 15, packed >> 4], axis=-1)
        voxels = pairs.reshape(*packed.shape[:-1], -1)
        first = columns.start % 2
        voxels = voxels[..., first : first + columns.stop - columns.start]
        if layout.picks[-1] is not None:
            voxels = voxels[..., 0]
        return np.ascontiguousarray(voxels.transpose(layout.order))

    def identity(self) -> str:
        """Path, size, time of change, and what of the file is taken."""
        return f"{Path(self.path).absolute()}:{self.offset}:{self.stamp}:4bit:{self.layout}"


class Mrc(Format):
    """Reads and writes MRC files, also compressed with gzip or bzip2.

    Notes
    -----
    Uncompressed voxels are memory-mapped where they are read. A file of one section is a
    micrograph (y, x). Whatever the axis order of the file, the volume is (z, y, x). Several
    volumes in one file (space group 401 and more) are told apart by ``t``.
    """

    name = "MRC"
    suffixes = tuple(ending + packed for ending in ENDINGS for packed in ("", ".gz", ".bz2"))

    def read_header(self, address: str, selection: Selection) -> Header:
        """Read the head and check that the file is as long as it says."""
        path = Path(address)
        require_file(path, "an MRC file")
        packing = find_packing(path)
        size = path.stat().st_size
        raw = read_head(path, packing, HEAD_BYTES)
        head = parse_header(raw, address, None if packing else size)
        notes = list(head.notes)
        _check_length(head, address, size, packing, notes)
        refuse_dataset(address, selection)
        pick_one(address, "channels", "c", selection.c, 1)
        pick_one(address, "levels", "level", selection.level, 1)
        depth = head.num_intervals_z if head.is_volume_stack else head.sizes[0]
        num_volumes = head.sizes[0] // depth
        volume = pick_one(address, "volumes", "t", selection.t, num_volumes)
        layout, letters = _layout(head, num_volumes, depth, volume)
        stamp = file_stamp(path)
        source: Source
        if head.is_packed:
            source = PackedSource(str(path), head.data_offset, stamp, layout, packing)
        else:
            source = MappedSource(
                str(path),
                layout.volume_shape,
                head.stored,
                head.data_offset,
                stamp,
                layout,
                packing,
            )
        voxel_size, origin = _frame(head, letters)
        if voxel_size is None:
            voxel_size = _extended_pixel_size(path, packing, head, letters, notes)
        return Header(
            address=str(path),
            name=stem(path),
            format=f"MRC, {packing}" if packing else "MRC",
            source=source,
            voxel_size=voxel_size,
            origin=origin,
            details=_details(head, num_volumes),
            notes=tuple(notes),
        )

    def create(self, target: Target) -> Sink:
        """Lay out the head and the full size under the partial name."""
        return begin_mrc(target)


def stem(path: Path) -> str:
    """Name of a file without the ending of its format and compression.

    >>> stem(Path("maps/emd_3197.map.gz"))
    'emd_3197'
    """
    name = path.name
    for packed in (".gz", ".bz2"):
        if name.lower().endswith(packed):
            name = name[: -len(packed)]
    return Path(name).stem


def _check_length(
    head: MrcHeader, address: str, size: int, packing: Packing, notes: list[str]
) -> None:
    """Refuse a file that cannot hold what its head promises; nothing has been allocated yet."""
    needed = head.file_bytes
    if packing == "bzip2":
        return  # what it holds is known only when it is unpacked
    possible = size * DEFLATE_RATIO if packing == "gzip" else size
    if possible < needed:
        sections, rows, columns = head.sizes
        msg = (
            f"{address} is truncated: its head promises {sections} × {rows} × {columns} voxels of "
            f"mode {head.mode}, {needed} bytes in all, the file has {size}. Copy it again."
        )
        raise FormatError(msg)
    if not packing and size > needed:
        notes.append(f"{size - needed} bytes follow the last voxel; they are ignored")


def _layout(head: MrcHeader, num_volumes: int, depth: int, volume: int) -> tuple[Layout, str]:
    """How the file's axes become (z, y, x), and the letters of those that are left."""
    sizes = (depth, head.sizes[1], head.sizes[2])
    spatial = (head.axes[2], head.axes[1], head.axes[0])  # of sections, rows, columns
    is_flat = sizes[spatial.index(2)] == 1
    picks: list[int | None] = [0 if axis == 2 and is_flat else None for axis in spatial]
    kept = [axis for axis, pick in zip(spatial, picks, strict=True) if pick is None]
    order = tuple(kept.index(axis) for axis in (2, 1, 0) if axis in kept)
    if num_volumes > 1:
        layout = Layout((num_volumes, *sizes), (volume, *picks), order)
    else:
        layout = Layout(sizes, tuple(picks), order)
    return layout, "yx" if is_flat else "zyx"


def _frame(head: MrcHeader, letters: str) -> tuple[tuple[float, ...] | None, tuple[float, ...]]:
    """Voxel size and origin, Å, in the order of the letters."""
    axes = ["xyz".index(letter) for letter in letters]
    sizes = tuple(head.voxel_size_xyz[a] for a in axes)
    if not all(isfinite(s) and s > 0 for s in sizes):
        return None, tuple(head.origin_xyz[a] for a in axes)
    if any(head.origin_xyz):
        return sizes, tuple(head.origin_xyz[a] for a in axes)
    # Maps of the EMDB leave the origin at zero and place the volume by whole voxels.
    return sizes, tuple(head.start_xyz[a] * s for a, s in zip(axes, sizes, strict=True))


def _extended_pixel_size(
    path: Path, packing: Packing, head: MrcHeader, letters: str, notes: list[str]
) -> tuple[float, ...] | None:
    """Pixel size from an extended head of Thermo Fisher's; it knows nothing of z."""
    if head.extended_type not in ("FEI1", "FEI2"):
        return None
    dtype = get_ext_header_dtype(head.extended_type.encode(), head.byte_order)
    raw = read_head(path, packing, HEAD_BYTES + dtype.itemsize)[HEAD_BYTES:]
    if head.extended_bytes < dtype.itemsize or len(raw) < dtype.itemsize:
        return None
    fields = np.frombuffer(raw, dtype)[0]
    sizes = tuple(float(f"{float(fields[name]) * 1e10:.7g}") for name in PIXEL_SIZE_FIELDS)
    if not all(isfinite(s) and s > 0 for s in sizes):
        return None
    text = f"the extended head gives {sizes[0]:g} × {sizes[1]:g} Å along y and x"
    if letters == "zyx":
        notes.append(f"{text}, but nothing along z")
        return None
    notes.append(f"{text}, which is used")
    return sizes


def _details(head: MrcHeader, num_volumes: int) -> dict[str, Any]:
    """Facts for people."""
    if num_volumes > 1:
        kind = f"stack of {num_volumes} volumes"
    elif head.sizes[0] == 1:
        kind = "single section"
    else:
        kind = "image stack" if head.space_group == 0 else "volume"
    details: dict[str, Any] = {
        "mode": head.mode,
        "byte_order": {"<": "little", ">": "big"}[head.byte_order],
        "kind": kind,
        "space_group": head.space_group,
        "file_axes": ", ".join("xyz"[a] for a in head.axes) + " (columns, rows, sections)",
        "start_zyx": head.start_xyz[::-1],
        "statistics": head.statistics,
        "data_bytes": prod(head.sizes[:2]) * head.row_bytes,
    }
    if head.extended_bytes:
        kind = head.extended_type or "of no stated kind"
        details["extended_header"] = f"{head.extended_bytes} bytes, {kind}"
    if head.has_imod_stamp:
        details["written_by"] = "IMOD"
    if head.labels:
        details["labels"] = list(head.labels)
    return details
