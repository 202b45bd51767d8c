"""The one way in: an address becomes a volume."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from difflib import get_close_matches
from math import isclose
from pathlib import Path
from typing import Any, Literal

from volproc.core.arrays import Source
from volproc.core.errors import AddressError, MissingFileError, SeveralError, VoxelSizeError
from volproc.core.types import Shape
from volproc.core.volume import Volume, check_voxel_size
from volproc.io.formats import Header, Selection, find_format
from volproc.io.lazy import as_unmade
from volproc.io.limits import check_claim

logger = logging.getLogger(__name__)

VoxelSize = float | tuple[float, ...]
"""Å per voxel: one number for all axes, or one an axis (z, y, x)."""


def inspect(
    address: str | os.PathLike[str],
    *,
    t: int | None = None,
    c: int | None = None,
    level: int = 0,
    dataset: str = "",
) -> Header:
    """Read the head of a file, and nothing else; a missing voxel size is no error here.

    Parameters
    ----------
    address : str or path
        As in `open_`.
    t, c, level, dataset
        As in `open_`.

    Raises
    ------
    MissingFileError
        If nothing is there.
    AddressError
        If the format is unknown, if it is no file or folder, or if the selection names nothing.
    FormatError
        If the file is truncated or damaged.
    """
    text = os.fspath(address)
    found = find_format(text)
    path = found.path(text)
    if not path.exists() and not any(ch in path.name for ch in "*?["):
        msg = f"{path} does not exist. {_nearest_sibling(path)}"
        raise MissingFileError(msg)
    if path.exists() and not (path.is_file() or path.is_dir()):
        # Opening a pipe waits for somebody who writes, for ever.
        msg = (
            f"{path} is a pipe, a socket or a device, not a file or a folder. Write what "
            "it brings to a file, and give that."
        )
        raise AddressError(msg)
    header = found.read_header(text, Selection(t=t, c=c, level=level, dataset=dataset))
    check_claim(text, header.source)
    return header


def inspect_first(
    address: str | os.PathLike[str],
    *,
    t: int | None = None,
    c: int | None = None,
    level: int = 0,
    dataset: str = "",
) -> tuple[Header, dict[str, tuple[int, ...] | tuple[str, ...]]]:
    """Read the head of the first array of an address, whatever else it holds.

    Parameters
    ----------
    address, t, c, level, dataset
        As in `open_`; where several arrays are left, the first is taken.

    Returns
    -------
    header : Header
        That of the first; its notes name the others.
    choices : dict
        Option that selects another one → the values that it takes. Empty where there is one only.

    Raises
    ------
    MissingFileError, AddressError, FormatError
        As in `inspect`.
    """
    asked: dict[str, Any] = {"address": address, "t": t, "c": c, "level": level, "dataset": dataset}
    choices: dict[str, tuple[int, ...] | tuple[str, ...]] = {}
    notes: list[str] = []
    while True:
        try:
            header = inspect(**asked)
        except SeveralError as error:
            first = error.choices[0]
            asked[error.option] = str(first) if error.option == "dataset" else first
            choices[error.option] = error.choices
            notes.append(f"{error} Shown here is the first.")
        else:
            return replace(header, notes=(*notes, *header.notes)), choices


def open_(
    address: str | os.PathLike[str],
    *,
    voxel_size: VoxelSize | None = None,
    t: int | None = None,
    c: int | None = None,
    level: int = 0,
    dataset: str = "",
    chunks: Shape | None = None,
    on_conflict: Literal["override", "error"] = "override",
) -> Volume:
    """Open a volume or micrograph lazily: only its head is read.

    Parameters
    ----------
    address : str or path
        A file (MRC, OME-Zarr, zarr, TIFF, HDF5 as ``path.h5:/dataset``, ``.npy``), a folder or
        glob of slices, or a member of a copick project as ``config.json:RUN/TOMOGRAM@VOXEL`` or
        ``config.json:RUN/NAME:USER/SESSION@VOXEL``.
    voxel_size : float or tuple of float
        Å per voxel, one number or (z, y, x). Supplies a missing one, overrides a wrong one.
    t, c : int
        Time point and channel, where there are several.
    level : int
        Level of a multiscale pyramid, 0 the finest.
    dataset : str
        Path of the array inside a container.
    chunks : tuple of int
        Chunks of ``data``; by default whole multiples of the storage chunks.
    on_conflict : {"override", "error"}
        What happens where ``voxel_size`` and a valid header differ by more than 1 %.

    Returns
    -------
    volume : Volume
        ``data`` is a lazy Dask array, (z, y, x) or (y, x).

    Raises
    ------
    MissingFileError, AddressError, FormatError
        As in `inspect`.
    VoxelSizeError
        If the file gives no possible voxel size and none was given, or if both contradict
        each other with ``on_conflict="error"``.

    Examples
    --------
    >>> import numpy as np, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "noise.npy")
    >>> np.save(path, np.zeros((4, 5, 6), np.float32))
    >>> open_(path, voxel_size=10.0).voxel_size
    (10.0, 10.0, 10.0)
    """
    header = inspect(address, t=t, c=c, level=level, dataset=dataset)
    return to_volume(header, voxel_size=voxel_size, chunks=chunks, on_conflict=on_conflict)


def to_volume(
    header: Header,
    *,
    voxel_size: VoxelSize | None = None,
    chunks: Shape | None = None,
    on_conflict: Literal["override", "error"] = "override",
) -> Volume:
    """Make the volume of a header; parameters and errors as in `open_`."""
    for note in header.notes:
        logger.info("%s: %s", header.address, note)
    size = agree_voxel_size(header, voxel_size, on_conflict)
    return Volume(
        as_unmade(header.source, chunks=chunks),
        voxel_size=size,
        origin=header.origin,
        name=header.name,
        address=header.address,
        source=header.source,
    )


def from_source(
    source: Source,
    *,
    voxel_size: VoxelSize,
    origin: tuple[float, ...] = (),
    name: str = "",
    chunks: Shape | None = None,
) -> Volume:
    """Make a lazy volume of anything that gives regions of one array, such as a phantom.

    Parameters
    ----------
    source : Source
        Picklable, with ``shape``, ``dtype``, ``chunks``, ``read(region)`` and ``identity()``.
    voxel_size : float or tuple of float
        Å per voxel, one number or (z, y, x).
    origin : tuple of float
        Position of the centre of the first voxel, Å; zero by default.
    name : str
        What people call it.
    chunks : tuple of int
        Chunks of ``data``; by default whole multiples of the source's.

    Raises
    ------
    VoxelSizeError
        If the voxel size is not positive.
    """
    size = expand_voxel_size(voxel_size, len(source.shape))
    return Volume(as_unmade(source, chunks=chunks), size, origin, name, source=source)


def agree_voxel_size(
    header: Header, given: VoxelSize | None, on_conflict: Literal["override", "error"]
) -> tuple[float, ...]:
    """Voxel size of a header or the given one, as `open_` takes it.

    Raises
    ------
    VoxelSizeError
        As in `open_`.
    """
    ndim = len(header.source.shape)
    if given is None:
        if header.voxel_size is None:
            hints = [note for note in header.notes if "voxel size" in note or "Å" in note]
            why = f" ({'; '.join(hints)})" if hints else ""
            msg = (
                f"{header.address} gives no usable voxel size{why}. Give it in Å with voxel_size= "
                "(--voxel-size on the command line)."
            )
            raise VoxelSizeError(msg)
        return header.voxel_size
    size = expand_voxel_size(given, ndim)
    known = header.voxel_size
    if known is not None and not all(
        isclose(a, b, rel_tol=0.01) for a, b in zip(size, known, strict=True)
    ):
        if on_conflict == "error":
            msg = (
                f"{header.address} says {_text(known)} Å per voxel, --voxel-size says "
                f"{_text(size)} Å. Leave --voxel-size out, or add --override-voxel-size if the "
                "file is wrong."
            )
            raise VoxelSizeError(msg)
        logger.warning(
            "%s says %s Å per voxel; %s Å is used, as asked",
            header.address,
            _text(known),
            _text(size),
        )
    return size


def expand_voxel_size(voxel_size: VoxelSize, ndim: int) -> tuple[float, ...]:
    """One number for all axes, or one an axis, as a checked tuple.

    >>> expand_voxel_size(7.84, 3)
    (7.84, 7.84, 7.84)
    """
    size = (
        (float(voxel_size),) * ndim
        if isinstance(voxel_size, int | float)
        else tuple(float(v) for v in voxel_size)
    )
    check_voxel_size(size, ndim)
    return size


def _text(size: tuple[float, ...]) -> str:
    return " × ".join(f"{v:g}" for v in size)


def _nearest_sibling(path: Path) -> str:
    """Clause that helps with a mistyped path."""
    if path.is_symlink():
        return f"It is a link to {path.readlink()}, which is not there."
    parent = path.parent
    while not parent.exists():
        path, parent = parent, parent.parent
        if parent == path:
            return "Check the path."
    names = sorted(p.name for p in parent.iterdir())[:1000] if parent.is_dir() else []
    close = get_close_matches(path.name, names, n=1)
    return f'Did you mean "{parent / close[0]}"?' if close else f'Check the path below "{parent}".'
