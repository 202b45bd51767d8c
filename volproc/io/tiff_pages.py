"""Regions of TIFF images whose pages are compressed, tiled or scattered."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import tifffile

from volproc.core.errors import FormatError
from volproc.core.types import Region, Shape
from volproc.io.chunk_cache import CHUNK_CACHE
from volproc.io.mapped import Layout, OpenMap, file_stamp
from volproc.io.tiff_check import DAMAGE

PageShape = tuple[int, int, int, int, int]
"""tifffile's normal form of a page: separate samples, depth, length, width, joint samples."""

JPEG_COMPRESSIONS = frozenset({6, 7, 34892, 33007})
"""Compressions whose tables stand in the page, outside of the data."""


@dataclass(frozen=True, slots=True)
class Page:
    """Where the data of one page lie."""

    path: str
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    tables: bytes | None

    is_raw: bool
    """Uncompressed, and in one piece."""


@dataclass(frozen=True, slots=True)
class PageStack:
    """Pages of one image, as parsed; held once a process and image."""

    pages: tuple[Page | None, ...]
    """None where a page is missing: it reads as zeros."""

    shape: PageShape
    """Of each page."""

    segment: PageShape
    """Size of a strip or tile."""

    stored: np.dtype[Any]
    """Type in the file, in its byte order; that of decoded segments is native."""

    decode: Callable[..., Any]
    """tifffile's decoder of one segment."""

    fill: Any
    """Value of segments that are not there."""

    header: bytes | None
    """What a JPEG needs in front, if anything."""

    is_jpeg: bool


@dataclass(frozen=True, slots=True)
class PageSource:
    """An image made of pages, of which the segments are decoded that a region touches.

    Notes
    -----
    The directories are parsed once a process. Decoded segments are kept in the cache of the
    process, so that neighbouring regions do not decode them again.
    """

    path: str
    series: int
    level: int
    layout: Layout
    dtype: np.dtype[Any]
    chunks: Shape
    stamp: tuple[int, int]

    @property
    def shape(self) -> Shape:
        """Size in voxels."""
        return self.layout.volume_shape

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Voxels of a region."""
        stack = open_stack(self.path, self.series, self.level, self.stamp)
        layout = self.layout
        box = [slice(0 if p is None else p, (0 if p is None else p) + 1) for p in layout.picks]
        kept = [axis for axis, pick in enumerate(layout.picks) if pick is None]
        for axis, span in zip(layout.order, region, strict=True):
            box[kept[axis]] = span
        num_outer = num_outer_axes(layout.shape, stack.shape)
        outer, inner = box[:num_outer], box[num_outer:]
        lengths = [s.stop - s.start for s in box]
        voxels = np.empty(lengths, self.dtype)
        page_box = _page_box(inner, layout.shape[num_outer:], stack.shape)
        for index in itertools.product(*(range(s.start, s.stop) for s in outer)):
            number = int(np.ravel_multi_index(index, layout.shape[:num_outer])) if index else 0
            part = _read_page(stack, number, page_box, self.path)
            at = tuple(i - s.start for i, s in zip(index, outer, strict=True))
            voxels[at] = part.reshape(lengths[num_outer:])
        kept_lengths = [lengths[axis] for axis in kept]
        return np.ascontiguousarray(voxels.reshape(kept_lengths).transpose(layout.order))

    def identity(self) -> str:
        """Path, size, time of change, and what of the file is taken."""
        return f"{Path(self.path).absolute()}:{self.series}:{self.level}:{self.stamp}:{self.layout}"


def num_outer_axes(shape: Shape, page: PageShape) -> int:
    """How many leading axes of an image count pages; the others are those of a page.

    Raises
    ------
    FormatError
        If the pages do not end where an axis does.

    Examples
    --------
    >>> num_outer_axes((9, 2, 30, 40), (1, 1, 30, 40, 1))
    2
    """
    sizes = [n for n in page if n > 1]
    for first in range(len(shape), -1, -1):
        inner = [n for n in shape[first:] if n > 1]
        if prod(shape[first:]) == prod(page) and inner == sizes:
            return first
    msg = (
        f"an image of shape {shape} in pages of {page} cannot be read by region. Save it again "
        "with one slice a page."
    )
    raise FormatError(msg)


def _page_box(inner: list[slice], shape: Shape, page: PageShape) -> tuple[slice, ...]:
    """Region of a page in its normal form; axes of length 1 have no counterpart."""
    parts = iter([part for part, n in zip(inner, shape, strict=True) if n > 1])
    return tuple(next(parts) if n > 1 else slice(0, 1) for n in page)


def _read_page(
    stack: PageStack, number: int, box: tuple[slice, ...], path: str
) -> npt.NDArray[Any]:
    page = stack.pages[number]
    native = stack.stored.newbyteorder("=")
    if page is None:
        return np.full([s.stop - s.start for s in box], stack.fill, native)
    if page.is_raw:
        return np.asarray(_raw_page(page, stack)[box], native)
    out = np.empty([s.stop - s.start for s in box], native)
    with open(page.path, "rb") as file:  # noqa: PTH123  (a path per page, opened once)
        for index, target, source in _segments(stack, box):
            out[target] = _segment(stack, page, index, file, path)[source]
    return out


def _raw_page(page: Page, stack: PageStack) -> npt.NDArray[Any]:
    """View of an uncompressed page in the mapped file."""
    num_bytes = prod(stack.shape) * stack.stored.itemsize
    opened = _bytes(page.path, file_stamp(Path(page.path)))
    opened.used(num_bytes)
    raw = opened.array
    needed = page.offsets[0] + num_bytes
    if needed > raw.size:
        msg = f"{page.path} is truncated: {needed} bytes are needed, it has {raw.size}."
        raise FormatError(msg + " Copy it again.")
    return np.ndarray(stack.shape, stack.stored, buffer=raw, offset=page.offsets[0])


@lru_cache(maxsize=32)
def _bytes(path: str, stamp: tuple[int, int]) -> OpenMap:
    return OpenMap(np.memmap(path, np.uint8, mode="r"))


def _segments(
    stack: PageStack, box: tuple[slice, ...]
) -> Iterator[tuple[int, tuple[slice, ...], tuple[slice, ...]]]:
    """Segments that a region touches: index, where they go, and which part of them."""
    counts = [-(-n // s) for n, s in zip(stack.shape, stack.segment, strict=True)]
    spans = [
        range(part.start // s, -(-part.stop // s))
        for part, s in zip(box, stack.segment, strict=True)
    ]
    for position in itertools.product(*spans):
        target, source = [], []
        for i, s, part in zip(position, stack.segment, box, strict=True):
            start, stop = max(i * s, part.start), min((i + 1) * s, part.stop)
            target.append(slice(start - part.start, stop - part.start))
            source.append(slice(start - i * s, stop - i * s))
        yield int(np.ravel_multi_index(position, counts)), tuple(target), tuple(source)


def _segment(
    stack: PageStack, page: Page, index: int, file: IO[bytes], path: str
) -> npt.NDArray[Any]:
    """One decoded strip or tile, (1, depth, length, width, samples)."""
    offset = page.offsets[index] if index < len(page.offsets) else 0
    count = page.counts[index] if index < len(page.counts) else 0
    if not offset or not count:
        return np.full(stack.segment, stack.fill, stack.stored.newbyteorder("="))
    key = (page.path, file_key(file), offset, index)
    known = CHUNK_CACHE.get(key)
    if known is not None:
        return known
    file.seek(offset)
    data = file.read(count)
    if len(data) < count:
        msg = (
            f"{page.path} is truncated: {count} bytes at {offset} are needed, {len(data)} are "
            "there. Copy it again."
        )
        raise FormatError(msg)
    options = {"jpegtables": page.tables, "jpegheader": stack.header} if stack.is_jpeg else {}
    try:
        decoded = stack.decode(data, index, **options)[0]
    # Codecs raise errors of their own kinds, which share no base but Exception.
    except Exception as error:
        msg = (
            f"{path} is damaged: segment {index} at byte {offset} cannot be decoded ({error}). "
            "Copy it again."
        )
        raise FormatError(msg) from error
    voxels = np.ascontiguousarray(decoded[np.newaxis], stack.stored.newbyteorder("="))
    CHUNK_CACHE.put(key, voxels)
    return voxels


def file_key(file: IO[bytes]) -> tuple[int, int]:
    """Size and time of change of an open file."""
    stat = os.fstat(file.fileno())
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=16)
def open_stack(path: str, series: int, level: int, stamp: tuple[int, int]) -> PageStack:
    """Parse the pages of an image, once a process; the stamp makes a changed file another."""
    try:
        with tifffile.TiffFile(path) as tif:
            return parse_stack(tif.series[series].levels[level])
    except DAMAGE as error:
        msg = f"{path} cannot be understood as TIFF ({error}). It is damaged; copy it again."
        raise FormatError(msg) from error


def segment_shape(key: Any) -> PageShape:
    """Size of a strip or tile of a page."""
    samples = key.shaped[4]
    if key.is_tiled:
        return (1, key.tiledepth, key.tilelength, key.tilewidth, samples)
    return (1, 1, min(key.rowsperstrip, key.shaped[2]), key.shaped[3], samples)


def parse_stack(series: tifffile.TiffPageSeries) -> PageStack:
    """What is needed to read any region of a series, without the open file."""
    key = series.keyframe
    is_jpeg = int(key.compression) in JPEG_COMPRESSIONS
    pages: list[Page | None] = []
    for page in series.pages:
        if page is None:
            pages.append(None)
            continue
        offsets = tuple(int(v) for v in page.dataoffsets)
        counts = tuple(int(v) for v in page.databytecounts)
        is_joint = all(a + n == b for a, n, b in zip(offsets, counts, offsets[1:], strict=False))
        pages.append(
            Page(
                str(page.parent.filehandle.path),
                offsets,
                counts,
                page.jpegtables if is_jpeg else None,
                bool(key.is_final) and not key.is_tiled and bool(offsets) and is_joint,
            )
        )
    return PageStack(
        pages=tuple(pages),
        shape=key.shaped,
        segment=segment_shape(key),
        stored=np.dtype(series.dtype).newbyteorder(key.parent.byteorder),
        decode=key.decode,
        fill=key.nodata,
        header=key.jpegheader if is_jpeg else None,
        is_jpeg=is_jpeg,
    )
