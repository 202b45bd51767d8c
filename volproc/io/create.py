"""The one way out: an address becomes a sink."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Sink
from volproc.core.errors import ExistsError, MissingFileError, ShapeError
from volproc.core.types import Shape
from volproc.core.volume import check_voxel_size
from volproc.io.formats import Kind, Target, find_format


def create(
    address: str | os.PathLike[str],
    *,
    shape: Shape,
    dtype: npt.DTypeLike,
    voxel_size: tuple[float, ...],
    origin: tuple[float, ...] = (),
    kind: Kind = "intensity",
    chunks: Shape | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Sink:
    """Begin a volume on disk.

    Parameters
    ----------
    address : str or path
        As in `volproc.open`; the ending chooses the format.
    shape : tuple of int
        (z, y, x) or (y, x), voxels.
    dtype : dtype
        Type of the voxels on disk.
    voxel_size, origin : tuple of float
        Å, in the order of the shape.
    kind : {"intensity", "labels"}
        How a pyramid is made: means, or nearest neighbours.
    chunks : tuple of int
        Preferred storage chunks.
    overwrite : bool
        Replace an existing output once the new one is whole.
    resume : bool
        Go on with an unfinished output of the same address.

    Returns
    -------
    sink : Sink
        Takes regions; nothing appears under ``address`` before ``finish``.

    Raises
    ------
    ExistsError
        If the output is there and ``overwrite`` is false.
    MissingFileError
        If the folder to write into does not exist.
    FormatError
        If the format cannot hold the type or shape.
    """
    text = os.fspath(address)
    check_voxel_size(tuple(voxel_size), len(shape))
    if min(shape) < 1:
        msg = f"an empty volume cannot be written, got shape {shape}. Check the input."
        raise ShapeError(msg)
    found = find_format(text)
    if not found.checks_outputs:
        refuse_existing(found.path(text), overwrite=overwrite)
    return found.create(
        Target(
            text,
            tuple(int(n) for n in shape),
            np.dtype(dtype),
            tuple(float(v) for v in voxel_size),
            tuple(float(v) for v in origin) or (0.0,) * len(shape),
            kind,
            None if chunks is None else tuple(int(c) for c in chunks),
            overwrite,
            resume,
        )
    )


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Refuse to write over something, or into a folder that is not there.

    Raises
    ------
    ExistsError, MissingFileError
    """
    if path.exists() and not overwrite:
        msg = f"{path} exists. Choose another name, or replace it with overwrite= (--overwrite)."
        raise ExistsError(msg)
    if not path.parent.exists():
        msg = f"{path.parent} does not exist, so {path.name} cannot be written. Make the folder."
        raise MissingFileError(msg)


def partial_path(path: Path) -> Path:
    """Name of an output while it is being written: hidden, beside the final one.

    >>> partial_path(Path("out/labels.zarr")).as_posix()
    'out/.labels.zarr.partial'
    """
    return path.with_name(f".{path.name}.partial")


def move_into_place(partial: Path, path: Path) -> None:
    """Give a finished output its name; what stood there before goes only then."""
    old = path.with_name(f".{path.name}.replaced")
    if path.is_dir():
        remove(old)
        path.rename(old)
        partial.rename(path)
    else:
        partial.replace(path)
    remove(old)  # also that of a run that was killed between the two names


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_whole(sink: Sink, array: npt.NDArray[Any]) -> None:
    """Write an array that fits in memory, and finish; nothing is left behind on failure."""
    try:
        sink.write(tuple(slice(0, n) for n in array.shape), array)
        sink.finish()
    except BaseException:
        sink.discard()
        raise
