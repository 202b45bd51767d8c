"""TIFF files: ImageJ and OME stacks, plain pages, tiles, pyramids, BigTIFF."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from volproc.core.arrays import Sink, Source
from volproc.core.errors import AddressError, FormatError, VolprocError
from volproc.core.types import Shape
from volproc.io.formats import Format, Header, Selection, Target
from volproc.io.limits import check_chunk
from volproc.io.mapped import Layout, MappedSource, file_stamp, require_file
from volproc.io.selection import pick_one
from volproc.io.tiff_axes import choose_axes
from volproc.io.tiff_check import DAMAGE, check_claims, check_neighbours, check_tiff
from volproc.io.tiff_metadata import find_voxel_size
from volproc.io.tiff_pages import PageSource, num_outer_axes, segment_shape
from volproc.io.tiff_sink import begin_tiff

ENDINGS = (".tif", ".tiff", ".btf", ".tf8", ".tf2", ".lsm")
"""Endings of file names; ``.ome.tif`` is among them."""


class Tiff(Format):
    """Reads TIFF files of most kinds; writes ImageJ's, or OME-TIFF where ImageJ cannot.

    Notes
    -----
    Voxels that lie in one piece are memory-mapped. Otherwise the strips or tiles are decoded that
    a region touches. ``dataset`` is the number of an image in a file of several.
    """

    name = "TIFF"
    suffixes = ENDINGS

    def read_header(self, address: str, selection: Selection) -> Header:
        """Read the directories, and check that the file is as long as they say."""
        path = Path(address)
        require_file(path, "a TIFF file")
        check_tiff(path)
        with _listening() as heard, _open(path) as tif:
            index = _choose_series(tif, address, selection)
            base = tif.series[index]
            level = pick_one(address, "levels", "level", selection.level, len(base.levels))
            series = base.levels[level]
            axes, shape = series.get_axes(False), tuple(series.get_shape(False))
            layout, letters, notes = choose_axes(axes, shape, selection, address, kind=series.kind)
            _check_type(series, address)
            source = _source(path, series, index, level, layout, address)
            voxel_size, origins = find_voxel_size(tif, index, letters)
            if level and voxel_size is not None:
                voxel_size = _coarser(voxel_size, letters, base, axes, shape)
            details = _details(tif, series, axes, shape)
        return Header(
            address=str(path),
            name=stem(path),
            format=_format_name(details),
            source=source,
            voxel_size=voxel_size,
            details=details,
            notes=(*notes, *origins, *heard),
        )

    def create(self, target: Target) -> Sink:
        """Lay out the directories and the full size under the partial name."""
        return begin_tiff(target)


def stem(path: Path) -> str:
    """Name of a file without the ending of its format.

    >>> stem(Path("cells.ome.tif"))
    'cells'
    """
    name = path.stem
    return name[:-4] if name.lower().endswith(".ome") else name


@contextmanager
def _open(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a file; what tifffile cannot understand becomes a `FormatError`."""
    try:
        with tifffile.TiffFile(path) as tif:
            check_claims(tif.pages[0].description, path)
            # Series are found when asked for; a damaged file fails there in many ways.
            if not tif.series:
                msg = f"{path} holds no image. Check what wrote it."
                raise FormatError(msg)
            yield tif
    except DAMAGE as error:
        if isinstance(error, VolprocError):
            raise
        msg = f"{path} cannot be understood as TIFF ({error}). It is damaged; copy it again."
        raise FormatError(msg) from error


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Collect what tifffile complains about meanwhile."""
    heard: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(f"tifffile: {record.getMessage()}")

    listener = Listener(logging.WARNING)
    tifffile.logger().addHandler(listener)
    try:
        yield heard
    finally:
        tifffile.logger().removeHandler(listener)


def _choose_series(tif: tifffile.TiffFile, address: str, selection: Selection) -> int:
    """Number of the image in the file; the first one, unless others are like it."""
    count = len(tif.series)
    if selection.dataset:
        if not selection.dataset.isdecimal():
            msg = (
                f'{address} is a TIFF file, whose images have numbers, got dataset="'
                f'{selection.dataset}". Give 0 to {count - 1}.'
            )
            raise AddressError(msg)
        return pick_one(address, "images", "dataset", int(selection.dataset), count)
    # Thumbnails and labels differ from the image in size; positions of a plate do not.
    first = tif.series[0]
    alike = [s for s in tif.series if s.shape == first.shape and s.dtype == first.dtype]
    pick_one(address, "images of one size", "dataset", None, len(alike))
    return 0


def _check_type(series: tifffile.TiffPageSeries, address: str) -> None:
    dtype = series.dtype
    if dtype is None or np.dtype(dtype).kind not in "biuf":
        msg = (
            f"{address} holds voxels of type {dtype}, a volume holds real numbers. Convert it "
            "first."
        )
        raise FormatError(msg)


def _source(
    path: Path,
    series: tifffile.TiffPageSeries,
    index: int,
    level: int,
    layout: Layout,
    address: str,
) -> Source:
    """Memory-map what lies in one piece, and decode the rest."""
    dtype = np.dtype(series.dtype)
    stamp = file_stamp(path)
    if series.is_multifile:
        check_neighbours(series, path)
    if series.dataoffset is not None and not series.is_multifile and series.transform is None:
        needed = series.dataoffset + prod(layout.shape) * dtype.itemsize
        if needed > stamp[0]:
            msg = (
                f"{address} is truncated: its head promises {layout.shape} voxels of {dtype}, "
                f"{needed} bytes in all, the file has {stamp[0]}. Copy it again."
            )
            raise FormatError(msg)
        stored = dtype.newbyteorder(series.keyframe.parent.byteorder)
        return MappedSource(
            str(path), layout.volume_shape, stored, series.dataoffset, stamp, layout
        )
    key = series.keyframe
    num_outer = num_outer_axes(layout.shape, key.shaped)
    num_pages = prod(layout.shape[:num_outer])
    if len(series.pages) != num_pages:
        msg = (
            f"{address} is truncated: its head promises {num_pages} pages, {len(series.pages)} "
            "are there. Copy it again."
        )
        raise FormatError(msg)
    segment = segment_shape(key)
    if min(segment) < 1:
        msg = f"{address} has strips or tiles of {segment}. It is damaged; copy it again."
        raise FormatError(msg)
    check_chunk(address, segment, dtype.itemsize, "a strip or tile")
    chunks = _chunks(layout, num_outer, key)
    return PageSource(str(path), index, level, layout, dtype.newbyteorder("="), chunks, stamp)


def _chunks(layout: Layout, num_outer: int, key: Any) -> Shape:
    """Size of a strip or tile in the axes of the volume."""
    ndim = len(layout.shape)
    rows = key.tilelength if key.is_tiled else min(key.rowsperstrip, key.imagelength)
    columns = key.tilewidth if key.is_tiled else key.imagewidth
    segment = {key.imagelength: rows, key.imagewidth: columns}
    kept = []
    for axis in range(ndim):
        if layout.picks[axis] is None:
            size = layout.shape[axis]
            kept.append(1 if axis < num_outer else min(size, segment.get(size, size)))
    return tuple(kept[axis] for axis in layout.order)


def _coarser(
    voxel_size: tuple[float, ...],
    letters: str,
    base: tifffile.TiffPageSeries,
    axes: str,
    shape: Shape,
) -> tuple[float, ...]:
    """Voxel size of a level of a pyramid."""
    fine = dict(zip(base.get_axes(False), base.get_shape(False), strict=True))
    coarse = dict(zip(axes, shape, strict=True))
    return tuple(
        size * fine.get(letter.upper(), 1) / coarse.get(letter.upper(), 1)
        for size, letter in zip(voxel_size, letters, strict=True)
    )


def _details(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, axes: str, shape: Shape
) -> dict[str, Any]:
    """Facts for people."""
    key = series.keyframe
    return {
        "kind": series.kind,
        "axes": axes,
        "file_shape": shape,
        "byte_order": {"<": "little", ">": "big"}[tif.byteorder],
        "is_bigtiff": bool(tif.is_bigtiff),
        "compression": getattr(key.compression, "name", str(key.compression)).lower(),
        "tiles": (key.tilelength, key.tilewidth) if key.is_tiled else None,
        "photometric": getattr(key.photometric, "name", str(key.photometric)).lower(),
        "images": len(tif.series),
        "levels": len(series.levels),
    }


def _format_name(details: dict[str, Any]) -> str:
    kinds = {"imagej": "ImageJ", "ome": "OME", "lsm": "Zeiss LSM", "mmstack": "Micro-Manager"}
    kind = kinds.get(details["kind"], "")
    name = "BigTIFF" if details["is_bigtiff"] else "TIFF"
    return f"{name}, {kind}" if kind else name
