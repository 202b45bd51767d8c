"""Folders and globs of two-dimensional slices, and single images, as volumes to read."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Sink, Source
from volproc.core.errors import FormatError, MissingFileError
from volproc.core.types import Region, Shape
from volproc.io.file_names import natural_key, split_pattern
from volproc.io.formats import Format, Header, Selection, Target, is_pattern
from volproc.io.image import IMAGE_ENDINGS, read_image
from volproc.io.mapped import file_stamp
from volproc.io.mrc import Mrc
from volproc.io.npy import Npy
from volproc.io.selection import refuse_dataset
from volproc.io.tiff import Tiff

ZARR_MARKERS = (".zarray", ".zgroup", "zarr.json", ".zmetadata")
"""Files that make a folder a zarr store."""

NUM_CHECKED = 256
"""Up to so many slices the heads of all are checked when opening; of more, the first and last."""


@dataclass(frozen=True, slots=True)
class SlicesSource:
    """Slices in files of their own, each opened where it is read."""

    folder: str
    names: tuple[str, ...]
    """Names of the files in the folder, in the order of z."""

    shape: Shape
    dtype: np.dtype[Any]
    slice_chunks: Shape
    """Storage chunks of the first slice."""

    selection: Selection
    stamp: str
    """Digest of the sizes and times of change of all files."""

    @property
    def chunks(self) -> Shape:
        """One storage chunk of one slice."""
        return (1, *self.slice_chunks)

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Voxels of a region: the slices that it touches are opened one after the other.

        Raises
        ------
        FormatError
            If a slice has another size or type than the first.
        """
        voxels = np.empty([s.stop - s.start for s in region], self.dtype)
        for z in range(region[0].start, region[0].stop):
            path = Path(self.folder, self.names[z])
            source = _open_slice(str(path), self.selection, file_stamp(path))
            check_slice(path, source, self.shape[1:], self.dtype)
            voxels[z - region[0].start] = source.read(region[1:])
        return voxels

    def identity(self) -> str:
        """Folder, number of slices, selection and digest."""
        return f"{Path(self.folder).absolute()}:{len(self.names)}:{self.selection}:{self.stamp}"


class Slices(Format):
    """Reads a folder or glob of slices in natural order, or one PNG, JPEG or BMP.

    Notes
    -----
    Slices are TIFF, MRC, ``.npy`` or images that Pillow reads, all of one kind and size. In natural
    order, ``slice_2`` stands before ``slice_10``. Slices know nothing of the distance between
    them, so that a voxel size has to be given.
    """

    name = "slices"
    suffixes = IMAGE_ENDINGS

    def matches(self, address: str) -> bool:
        """Whether an address is an image, a pattern, or a folder that is no zarr store."""
        path = Path(address)
        if path.is_dir():
            return not any((path / marker).exists() for marker in ZARR_MARKERS)
        is_bare = not path.suffix and not path.exists()
        return is_bare or is_pattern(address) or super().matches(address)

    def path(self, address: str) -> Path:
        """Return the file or folder, or what of a pattern stands before its first sign."""
        path = Path(address)
        if not is_pattern(address) or not is_pattern(str(path.parent)):
            return path
        return split_pattern(path)[0]

    def read_header(self, address: str, selection: Selection) -> Header:
        """Read the heads of the slices, or of the first and last of many."""
        refuse_dataset(address, selection)
        path = Path(address)
        if path.is_file():
            return read_image(path, selection)
        paths, notes = find_slices(address)
        first = slice_header(paths[0], selection)
        source = first.source
        chosen = paths if len(paths) <= NUM_CHECKED else [paths[-1]]
        for other in chosen:
            check_slice(
                other, slice_header(other, selection).source, source.shape, source.dtype, paths[0]
            )
        digest = sha256("".join(f"{p.name}{file_stamp(p)}" for p in paths).encode()).hexdigest()
        folder = paths[0].parent
        names = tuple(str(p.relative_to(folder)) if p.parent == folder else str(p) for p in paths)
        whole = SlicesSource(
            str(folder),
            names,
            (len(paths), *source.shape),
            source.dtype,
            source.chunks,
            selection,
            digest[:24],
        )
        known = first.voxel_size
        notes.append(
            "slices do not say how far apart they are"
            + (f"; they give {known[0]:g} × {known[1]:g} Å along y and x" if known else "")
        )
        return Header(
            address=address,
            name=folder.name if is_pattern(address) else path.name,
            format=f"{len(paths)} slices of {first.format}",
            source=whole,
            voxel_size=None,
            details={"first": paths[0].name, "last": paths[-1].name, "slices": len(paths)},
            notes=tuple(notes),
        )

    def create(self, target: Target) -> Sink:
        """Refuse: slices are read only.

        Raises
        ------
        FormatError
        """
        msg = (
            f"{target.address} would be a folder of slices or an image, which is not written. Give "
            "one file: NAME.ome.zarr, NAME.mrc, NAME.tif or NAME.npy."
        )
        raise FormatError(msg)


def find_slices(address: str) -> tuple[list[Path], list[str]]:
    """Files of a folder or pattern in natural order, and what was odd about them.

    Raises
    ------
    MissingFileError
        If there is none.
    FormatError
        If they are of several kinds.
    """
    path = Path(address)
    if path.is_dir():
        candidates = [p for p in path.iterdir() if p.is_file()]
    else:
        folder, pattern = split_pattern(path)
        candidates = [p for p in folder.glob(pattern) if p.is_file()]
    files = [p for p in candidates if kind_of(p) and not p.name.startswith(".")]
    if not files:
        what = "no slices are in" if path.is_dir() else "nothing matches"
        msg = (
            f"{what} {address}: {len(candidates)} files, none of which is TIFF, PNG, MRC, .npy or "
            "another image. Check the path."
        )
        raise MissingFileError(msg)
    kinds = Counter(kind_of(p) for p in files)
    if len(kinds) > 1:
        counts = ", ".join(f"{n} of {kind}" for kind, n in kinds.most_common())
        msg = (
            f"{address} has files of several kinds ({counts}). Give a pattern that takes one, such "
            f'as "{path / "*.tif" if path.is_dir() else "*.tif"}".'
        )
        raise FormatError(msg)
    files.sort(key=lambda p: natural_key(str(p)))
    skipped = len(candidates) - len(files)
    notes = [f"{skipped} files that are no slices were left out"] if skipped else []
    return files, notes + _gaps(files)


def kind_of(path: Path) -> str:
    """Kind of a slice by its name; empty for none.

    >>> kind_of(Path("a.TIFF")), kind_of(Path("a.jpg")), kind_of(Path("notes.txt"))
    ('TIFF', 'image', '')
    """
    name = path.name.lower()
    for reader in (Tiff, Mrc, Npy):
        if name.endswith(reader.suffixes):
            return reader.name
    return "image" if name.endswith(IMAGE_ENDINGS) else ""


def _gaps(files: list[Path]) -> list[str]:
    """Note on missing numbers, where the last number of each name counts the slices."""
    numbers = [re.findall(r"\d+", p.stem)[-1:] for p in files]
    if not all(numbers):
        return []
    found = sorted({int(n[0]) for n in numbers})
    missing = found[-1] - found[0] + 1 - len(found)
    # Numbers in steps (every fifth section) are no gaps.
    if len(found) < 3 or missing == 0 or missing >= len(found):
        return []
    present = set(found)
    first = next(n for n in range(found[0], found[-1]) if n not in present)
    return [f"{missing} numbers are missing among the slices, the first is {first}"]


def slice_header(path: Path, selection: Selection) -> Header:
    """Head of one slice.

    Raises
    ------
    FormatError
        If it is a volume.
    """
    kind = kind_of(path)
    readers: dict[str, Format] = {"TIFF": Tiff(), "MRC": Mrc(), "NumPy": Npy()}
    header = (
        readers[kind].read_header(str(path), selection)
        if kind in readers
        else read_image(path, selection)
    )
    if len(header.source.shape) != 2:
        msg = (
            f"{path} is a volume of shape {header.source.shape}, not a slice. Open it by itself, "
            "or give a pattern that leaves it out."
        )
        raise FormatError(msg)
    return header


def check_slice(
    path: Path,
    source: Source,
    shape: Shape,
    dtype: np.dtype[Any],
    first: Path | None = None,
) -> None:
    """Refuse a slice that is not like the first.

    Raises
    ------
    FormatError
    """
    if source.shape != shape or source.dtype != dtype:
        other = f" ({first.name})" if first else ""
        msg = (
            f"{path} has shape {source.shape} and type {source.dtype}, the first slice{other} "
            f"{shape} and {dtype}. Give a pattern that takes slices of one size."
        )
        raise FormatError(msg)


@lru_cache(maxsize=1024)
def _open_slice(path: str, selection: Selection, stamp: tuple[int, int]) -> Source:
    return slice_header(Path(path), selection).source
