"""The writer of OME-Zarr 0.4: chunks from any process, then the pyramid, then the metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from numcodecs import Blosc

from volproc.core.arrays import PyramidPart
from volproc.core.errors import FormatError, ResumeError, ShapeError
from volproc.core.types import Region, Shape, region_shape
from volproc.core.volume import check_voxel_size
from volproc.io.create import move_into_place, partial_path, refuse_existing, remove
from volproc.io.fit_dtype import fit_dtype
from volproc.io.formats import Kind, Target
from volproc.io.omezarr_head import describe_image
from volproc.io.pyramid import LevelParts, PyramidLevel, level_steps, plan_levels, shrink
from volproc.io.zarr_array import read_array_meta
from volproc.io.zarr_tree import split_address


@dataclass(frozen=True, slots=True)
class OmeZarrSink:
    """An OME-Zarr image in the making, written chunk by chunk by any number of processes.

    Regions of different writers must be multiples of ``chunks`` (or end with the volume): zarr
    writes each chunk under a temporary name and renames it.

    Notes
    -----
    ``finish`` reads level 0 once to build the pyramid, in parts of some four million voxels;
    `build` makes them one by one, wherever there is room.
    """

    address: str
    """Where the finished image will be."""

    shape: Shape
    """Size in voxels, (z, y, x) or (y, x), without channels."""

    dtype: np.dtype[Any]
    """Type of the voxels on disk."""

    chunks: Shape
    """Storage chunks, without the channel axis."""

    voxel_size: tuple[float, ...]
    """Å, (z, y, x)."""

    origin: tuple[float, ...]
    """Position of the centre of the first voxel, Å."""

    kind: Kind
    """How the pyramid is made."""

    channels: tuple[str, ...] = ()
    """Names of the channels; empty for an array without a channel axis."""

    has_pyramid: bool = True
    """Whether there are coarser levels."""

    facts: dict[str, Any] = field(default_factory=dict)
    """What the voxels mean, for the attributes; JSON values."""

    @property
    def is_parallel(self) -> bool:
        """Several processes may write at the same time."""
        return True

    @property
    def partial(self) -> Path:
        """Folder that is written into, until it is finished."""
        return partial_path(Path(self.address))

    def write(self, region: Region, block: npt.NDArray[Any]) -> None:
        """Write one region.

        Parameters
        ----------
        region : tuple of slice
            Voxels, without the channel axis.
        block : ndarray
            (z, y, x); with channels (c, z, y, x).

        Raises
        ------
        ShapeError
            If the block is not of the region's shape.
        FormatError
            If its values do not fit the type on disk.
        """
        self.write_through(region, block, 0)

    def depth(self, cuts: tuple[tuple[int, ...], ...]) -> int:
        """Levels whose storage chunks lie in one block of a grid each."""
        bounds = [list(accumulate(cut)) for cut in cuts]
        fitting = 0
        for level in self._levels()[1:]:
            wide = [c * f for c, f in zip(self._chunks_of(level), level.factors, strict=True)]
            if any(b % w for found, w in zip(bounds, wide, strict=True) for b in found[:-1]):
                break
            fitting += 1
        return fitting

    def write_through(self, region: Region, block: npt.NDArray[Any], depth: int) -> None:
        """Write one region, and what it is in the first ``depth`` coarser levels; see `write`."""
        expected = ((len(self.channels),) if self.channels else ()) + region_shape(region)
        if block.shape != expected:
            msg = (
                f"a block of shape {block.shape} cannot be written to {self.address} at a region "
                f"of shape {expected}. Cut the block to the region."
            )
            raise ShapeError(msg)
        coarse = fit_dtype(block, self.dtype, self.address)
        self._put(0, region, coarse)
        levels = self._levels()
        lead = (1,) if self.channels else ()
        for number in range(1, depth + 1):
            steps = level_steps(levels[number - 1], levels[number])
            coarse = shrink(coarse, (*lead, *steps), self.kind)
            self._put(number, self.coarsened(region, number), coarse)

    def coarsened(self, region: Region, level: int) -> Region:
        """Voxels of a coarser level that a region is in it; its end is rounded up."""
        factors = self._levels()[level].factors
        return tuple(
            slice(r.start // f, -(-r.stop // f)) for r, f in zip(region, factors, strict=True)
        )

    def finish(self) -> None:
        """Build the pyramid, write the metadata, and move to the final name."""
        for number, parts in enumerate(self.pyramid(), start=1):
            for part in parts:
                self.build(number, part)
        self.seal()

    def pyramid(self) -> list[Sequence[PyramidPart]]:
        """Parts of each coarser level, which `build` makes in any order within a level."""
        levels = self._levels()
        return [
            LevelParts(fine, coarse, self._chunks_of(coarse)) for fine, coarse in pairwise(levels)
        ]

    def build(self, level: int, part: PyramidPart) -> None:
        """Make a part of a level, from 1, when what it is made from is written."""
        fine, coarse = self._levels()[level - 1 : level + 1]
        steps = level_steps(fine, coarse)
        source, target = self._array(level - 1), self._array(level)
        for channel in range(max(len(self.channels), 1)):
            lead = (channel,) if self.channels else ()
            block = np.asarray(source[(*lead, *part.source)])
            target[(*lead, *part.region)] = shrink(block, steps, self.kind)

    def seal(self) -> None:
        """Write the metadata, and move to the final name: all levels are built."""
        text = json.dumps(describe_image(self, self._levels()), indent=2)
        (self.partial / ".zattrs").write_text(text, encoding="utf-8")
        move_into_place(self.partial, Path(self.address))

    def discard(self) -> None:
        """Remove everything that was written."""
        remove(self.partial)

    def make_heads(self) -> None:
        """Write the heads of all levels; what is there of coarser ones is thrown away."""
        for number, level in enumerate(self._levels()):
            folder = self.partial / str(number)
            if number or not (folder / ".zarray").exists():
                _make_array(folder, level.shape, self.dtype, self._chunks_of(level), self.channels)

    def _put(self, level: int, region: Region, block: npt.NDArray[Any]) -> None:
        lead = (slice(None),) if self.channels else ()
        self._array(level)[(*lead, *region)] = block

    def _levels(self) -> list[PyramidLevel]:
        levels = plan_levels(self.shape, self.voxel_size, self.origin, self.kind)
        return levels if self.has_pyramid else levels[:1]

    def _chunks_of(self, level: PyramidLevel) -> Shape:
        return tuple(min(c, n) for c, n in zip(self.chunks, level.shape, strict=True))

    def _array(self, level: int) -> zarr.Array:
        return zarr.Array(_directory(self.partial / str(level)), write_empty_chunks=False)


def create_omezarr(target: Target) -> OmeZarrSink:
    """Begin an OME-Zarr image.

    Raises
    ------
    FormatError
        If the type cannot be stored, or the address is inside a store after ``:/``.
    ResumeError
        If an unfinished output of another shape, type or chunks is to be gone on with.
    """
    return _begin(target, ())


def create_channels(
    address: str | os.PathLike[str],
    *,
    names: tuple[str, ...],
    shape: Shape,
    dtype: npt.DTypeLike,
    voxel_size: tuple[float, ...],
    origin: tuple[float, ...] = (),
    chunks: Shape | None = None,
    overwrite: bool = False,
    resume: bool = False,
    facts: dict[str, Any] | None = None,
) -> OmeZarrSink:
    """Begin an OME-Zarr image with channels, (c, z, y, x), such as probabilities of classes.

    Parameters
    ----------
    address : str or path
        Ends in ``.zarr``.
    names : tuple of str
        Names of the channels, in their order; none for an image without a channel axis.
    shape : tuple of int
        (z, y, x) or (y, x), voxels, without channels.
    dtype : dtype
        Type of the voxels on disk: float16, or uint8 for probabilities times 255.
    voxel_size, origin : tuple of float
        Å, in the order of the shape.
    chunks : tuple of int
        Preferred storage chunks, without channels: one chunk holds one channel.
    overwrite, resume : bool
        As in `volproc.io.create.create`.
    facts : dict
        What the voxels mean, for the attributes under ``volproc``; JSON values.

    Returns
    -------
    sink : OmeZarrSink
        ``write(region, block)`` takes a region of the volume and a block (c, z, y, x). Open the
        result with ``c=i``; `read_channels` gives the names.

    Raises
    ------
    ExistsError, MissingFileError, FormatError, ResumeError
        As in `volproc.io.create.create`.
    """
    text = os.fspath(address)
    if not text.lower().endswith(".zarr"):
        msg = f"channels are stored as OME-Zarr, got {text}. Choose a name that ends in .zarr."
        raise FormatError(msg)
    check_voxel_size(tuple(voxel_size), len(shape))
    if min(shape) < 1:
        msg = f"an empty volume cannot be written, got shape {shape}. Check the input."
        raise ShapeError(msg)
    refuse_existing(Path(text), overwrite=overwrite)
    start = tuple(float(v) for v in origin) or (0.0,) * len(shape)
    size = tuple(float(v) for v in voxel_size)
    target = Target(
        text, tuple(shape), np.dtype(dtype), size, start, "intensity", chunks, overwrite, resume
    )
    return _begin(target, tuple(names), facts)


def _begin(
    target: Target, channels: tuple[str, ...], facts: dict[str, Any] | None = None
) -> OmeZarrSink:
    _check(target)
    partial = partial_path(Path(target.address))
    chunks = _choose_chunks(target)
    if target.resume and (partial / "0" / ".zarray").exists():
        chunks = _resumed_chunks(partial / "0", target, chunks, len(channels))
    else:
        remove(partial)
        partial.mkdir()
        (partial / ".zgroup").write_text('{\n    "zarr_format": 2\n}', encoding="utf-8")
    sink = OmeZarrSink(
        target.address,
        target.shape,
        target.dtype,
        chunks,
        target.voxel_size,
        target.origin,
        target.kind,
        channels,
        target.has_pyramid,
        facts or {},
    )
    sink.make_heads()
    return sink


def _check(target: Target) -> None:
    folder, inside = split_address(target.address)
    if inside:
        msg = (
            f"{target.address} names a part of a store with ':/', which can be read only. Write "
            f"to {folder}/{inside}, or to a store of its own."
        )
        raise FormatError(msg)
    if target.dtype.kind not in "biuf":
        msg = f"OME-Zarr here holds real numbers, got {target.dtype}. Convert the voxels first."
        raise FormatError(msg)


def _choose_chunks(target: Target) -> Shape:
    """128 a side for one- and two-byte voxels, 64 for wider ones, 1024 in a plane."""
    side = 1024 if len(target.shape) == 2 else 128 if target.dtype.itemsize <= 2 else 64
    wanted = target.chunks or (side,) * len(target.shape)
    if len(wanted) != len(target.shape) or min(wanted) < 1:
        msg = f"chunks {wanted} do not fit shape {target.shape}. Give one positive number an axis."
        raise ShapeError(msg)
    return tuple(min(c, n) for c, n in zip(wanted, target.shape, strict=True))


def _resumed_chunks(folder: Path, target: Target, chunks: Shape, num_channels: int) -> Shape:
    """Chunks of an unfinished array, after a check that it is the same one."""
    try:
        meta = read_array_meta(str(folder))
    except FormatError as error:
        msg = (
            f"the unfinished {folder.parent} cannot be gone on with: its head is damaged. Remove "
            "it, or start without resuming."
        )
        raise ResumeError(msg) from error
    lead = 1 if num_channels else 0
    found = (meta.shape, meta.dtype, meta.chunks[lead:])
    shape = ((num_channels,) if lead else ()) + target.shape
    wanted = (shape, target.dtype, chunks if target.chunks else meta.chunks[lead:])
    if found != wanted:
        msg = (
            f"the unfinished {folder.parent} has shape {found[0]}, type {found[1]}, chunks "
            f"{found[2]}; now asked are {wanted[0]}, {wanted[1]}, {wanted[2]}. Remove it, or "
            "start without resuming."
        )
        raise ResumeError(msg)
    return meta.chunks[lead:]


def _directory(folder: Path) -> zarr.DirectoryStore:
    return zarr.DirectoryStore(str(folder), dimension_separator="/")


def _make_array(
    folder: Path, shape: Shape, dtype: np.dtype[Any], chunks: Shape, channels: tuple[str, ...]
) -> None:
    """Write the head of an array; chunks of nothing but zeros are never stored."""
    zarr.create(
        shape=((len(channels),) if channels else ()) + shape,
        chunks=((1,) if channels else ()) + chunks,
        dtype=dtype.newbyteorder("<"),
        compressor=Blosc("zstd", clevel=1, shuffle=Blosc.SHUFFLE),
        fill_value=0,
        store=_directory(folder),
        overwrite=True,
        dimension_separator="/",
    )
