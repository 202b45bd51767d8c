"""Points from and to files: the one way in and out, by the ending of the address."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from inspect import signature
from pathlib import Path
from tokenize import TokenError

import numpy as np
import pandas as pd

from volproc.core.errors import AddressError, ConfigError, FormatError, ShapeError, nearest
from volproc.core.points import Points
from volproc.core.types import Shape
from volproc.io.copick_address import is_copick
from volproc.io.create import refuse_existing
from volproc.io.csv_points import Unit, read_csv, write_csv
from volproc.io.open import VoxelSize, expand_voxel_size
from volproc.io.points_table import Request, existing, make_points, needed_voxel_size, numbers
from volproc.io.star import Convention, read_star, write_star


def read_points(
    address: str | os.PathLike[str],
    *,
    voxel_size: VoxelSize | None = None,
    shape: Shape | None = None,
    object_name: str | None = None,
    name: str | None = None,
    unit: Unit = "voxel",
    pixel_size: float | None = None,
) -> Points:
    """Read points of one volume.

    Parameters
    ----------
    address : str or path
        ``.csv`` (volproc's own columns, or ``x, y, z``), ``.star`` (RELION 3 to 5, Warp, M,
        CryoSiam), ``.npy`` ((n, 3), voxels, zyx), or picks of a copick project as
        ``config.json:RUN/OBJECT:USER/SESSION``; without ``OBJECT``, those of all classes.
    voxel_size : float or tuple of float
        Å per voxel of the volume, one number or (z, y, x). The points come in these voxels: a
        table that knows positions in Å, or its own pixel size, is turned to them. Where it is
        not given, the table has to say it.
    shape : tuple of int
        Size of the volume, (z, y, x), voxels; needed for the centred coordinates of RELION 5.
        A copick project gives it by itself; elsewhere it stays empty.
    object_name : str
        Only points of this class; for a table without classes, the class of all points.
    name : str
        The volume, for a table that holds points of several.
    unit : {"voxel", "angstrom"}
        What ``x, y, z`` of a foreign CSV are counted in.
    pixel_size : float
        Å per pixel of a STAR file's corner coordinates, where it says nothing or a wrong one.

    Returns
    -------
    points : Points
        In voxels; further columns of the table are kept.

    Raises
    ------
    MissingFileError
        If nothing is there.
    AddressError
        If the ending is unknown, or class, volume, run or session name nothing.
    FormatError
        If the file is damaged or lacks coordinates.
    VoxelSizeError
        If nothing says how large a voxel is.
    ShapeError
        If the shape is needed and not known.
    """
    text = os.fspath(address)
    size = None if voxel_size is None else expand_voxel_size(voxel_size, 3)
    extent = None if shape is None else tuple(int(n) for n in shape)
    request = Request(size, extent, object_name, name)
    if is_copick(text):
        from volproc.io.picks_copick import read_picks  # and zarr with it

        return read_picks(text, request)
    ending = Path(text).suffix.lower()
    if ending == ".csv":
        return read_csv(text, request, unit=unit)
    if ending == ".star":
        return read_star(text, request, pixel_size=pixel_size)
    if ending == ".npy":
        return _read_npy(text, request)
    raise _unknown_ending(text, ".csv, .star, .npy")


def write_points(
    points: Points,
    address: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    convention: Convention = "corner",
    pixel_size: float | None = None,
    classes: Collection[str] | None = None,
) -> list[Path]:
    """Write points; nothing is left half-written.

    Parameters
    ----------
    points : Points
        In voxels.
    address : str or path
        ``.csv``, ``.star``, or ``config.json:RUN/:USER/SESSION`` of a copick project, which
        gets one file a class; ``config.json:RUN/OBJECT:USER/SESSION`` takes one class only.
        Classes have to be objects of the project.
    overwrite : bool
        Replace what is there. In a copick project, picks of the same user and session whose
        class has no points any more are replaced by empty ones, so that none go stale.
    convention : {"corner", "centered"}
        Coordinates of a STAR file: pixels from the first voxel, or Å from the middle of the
        volume, as RELION 5 has them.
    pixel_size : float
        Å per pixel of the tilt series, for a STAR file; corner coordinates are counted in
        them. The voxel size where it is not given.
    classes : collection of str
        What was looked for: in a copick project each of these gets a file, an empty one where
        there are no points, and picks of other classes are left alone. Where it is not given,
        classes that have points, and those that had.

    Returns
    -------
    paths : list of Path
        What was written.

    Raises
    ------
    ExistsError
        If an output is there and ``overwrite`` is false.
    MissingFileError
        If the folder to write into does not exist.
    AddressError
        If the ending is unknown, or the run or a class is not in the project.
    NonFiniteError
        If a coordinate is NaN or infinite.
    """
    text = os.fspath(address)
    if is_copick(text):
        from volproc.io.picks_copick import write_picks  # and zarr with it

        return write_picks(points, text, overwrite=overwrite, only=classes)
    refuse_points(text, overwrite=overwrite)
    path = Path(text)
    if path.suffix.lower() == ".csv":
        write_csv(points, path)
    else:
        write_star(points, path, convention=convention, pixel_size=pixel_size)
    return [path]


def refuse_points(
    address: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    options: Iterable[str] = (),
    classes: Collection[str] | None = None,
) -> None:
    """Refuse an output before the points for it are computed.

    Parameters
    ----------
    address, overwrite, classes
        As in `write_points`.
    options : iterable of str
        Names of further arguments that `write_points` will get.

    Raises
    ------
    ExistsError, MissingFileError, AddressError
        As in `write_points`.
    ConfigError
        If there is no such option.
    """
    known = list(signature(write_points).parameters)[2:]
    for option in options:
        if option not in known:
            msg = f"there is no option {option} for points: {nearest(option, known)}"
            raise ConfigError(msg)
    text = os.fspath(address)
    if is_copick(text):
        from volproc.io.picks_copick import refuse_picks  # and zarr with it

        refuse_picks(text, overwrite=overwrite, only=classes)
        return
    path = Path(text)
    if path.suffix.lower() not in (".csv", ".star"):
        raise _unknown_ending(text, ".csv, .star")
    refuse_existing(path, overwrite=overwrite)


def _read_npy(address: str, request: Request) -> Points:
    """Indices (z, y, x) as an array of n rows; no class, no voxel size."""
    path = existing(address)
    try:
        # Mapped: the head may promise more than there is.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, TokenError, TypeError) as error:
        msg = f"{path} is no readable .npy file ({error}). Save it again with numpy.save."
        raise FormatError(msg) from error
    if array.ndim != 2 or array.shape[1] != 3:
        msg = f"{path} holds shape {array.shape}. Points are (n, 3), voxels (z, y, x)."
        raise ShapeError(msg)
    table = pd.DataFrame(array, columns=["z", "y", "x"])
    return make_points(
        table,
        numbers(table, ["z", "y", "x"], path),
        class_column=None,
        voxel_size=needed_voxel_size(request, path),
        request=request,
        name=request.name or path.stem,
        path=path,
        used=("z", "y", "x"),
    )


def _unknown_ending(address: str, endings: str) -> AddressError:
    msg = (
        f"{address} is no address of points. Use {endings}, or "
        "config.json:RUN/OBJECT:USER/SESSION of a copick project."
    )
    return AddressError(msg)
