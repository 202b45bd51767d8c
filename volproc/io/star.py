"""Points as STAR tables: RELION 3, 4 and 5, Warp and M, CryoSiam."""

from __future__ import annotations

from math import isclose
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import starfile

from volproc.core.errors import AddressError, FormatError, VoxelSizeError
from volproc.core.points import COLUMNS, Points
from volproc.io.atomic_text import write_text
from volproc.io.points_table import (
    PointTables,
    Request,
    check_finite,
    existing,
    make_points,
    needed_shape,
    needed_voxel_size,
    numbers,
    rows_of_volume,
    split_volumes,
)
from volproc.io.xyz import (
    xyz_angstrom_to_zyx,
    xyz_centered_angstrom_to_zyx,
    zyx_to_xyz_angstrom,
    zyx_to_xyz_centered_angstrom,
)

Convention = Literal["corner", "centered"]
"""Where coordinates are counted from: the first voxel (pixels), or the volume's middle (Å)."""

CORNER = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
"""Pixels from the corner: RELION up to 4, Warp, CryoSiam."""

CENTERED = (
    "rlnCenteredCoordinateXAngst",
    "rlnCenteredCoordinateYAngst",
    "rlnCenteredCoordinateZAngst",
)
"""Å from the middle of the tomogram: RELION 5."""

SPECIES = (
    ("wrpCoordinateX1", "wrpCoordinateY1", "wrpCoordinateZ1"),
    ("wrpCoordinateX", "wrpCoordinateY", "wrpCoordinateZ"),
)
"""Å from the corner: particles of M."""

VOLUMES = ("rlnTomoName", "rlnMicrographName", "wrpSourceName")
"""Columns that name the volume of a particle, in the order in which they are tried."""

PIXEL_SIZES = (
    "rlnTomoTiltSeriesPixelSize",
    "rlnMicrographPixelSize",
    "rlnPixelSize",
    "rlnImagePixelSize",
    "rlnMicrographOriginalPixelSize",
)
"""Columns with the pixel of corner coordinates, Å, in the order in which they are believed."""

CLASS_NAME, NUM_VOXELS = "volprocClassName", "volprocNumVoxels"
SCORE = "rlnAutopickFigureOfMerit"
FLAG = "volprocTouchesEdge"
EXTRA_COLUMNS = {
    CLASS_NAME: "class_name",
    SCORE: "score",
    "volprocMaxScore": "max_score",
    "volprocSpread": "spread",
    FLAG: "touches_edge",
    "volprocVolumeNm3": "volume_nm3",
}
"""What has no RELION column of its own gets one of volproc's; RELION keeps unknown columns."""

RENAMED = {**EXTRA_COLUMNS, NUM_VOXELS: "num_voxels"}
"""Columns of a STAR table, and what volproc calls them."""

WRITTEN = {*CORNER, *CENTERED, "rlnTomoName", "rlnOpticsGroup", *RENAMED}


def write_star(
    points: Points,
    path: Path,
    *,
    convention: Convention = "corner",
    pixel_size: float | None = None,
) -> None:
    """Write points as RELION particles, with an optics table that says the pixel size.

    The table ``particles`` holds ``rlnTomoName`` (the name of the points, or of the file), the
    coordinates, ``rlnClassNumber`` (1 for the first class in alphabetical order),
    ``rlnOpticsGroup`` and the score as ``rlnAutopickFigureOfMerit``; names of classes and
    numbers of voxels as ``volprocClassName`` and ``volprocNumVoxels``, and what else is known of
    a particle as ``volprocMaxScore`` and others of `EXTRA_COLUMNS`. Further columns are
    written where their name begins with ``rln``, as those of a table read from a STAR file do.

    Parameters
    ----------
    points : Points
        In voxels.
    path : Path
        File to write; the caller has checked that it may be.
    convention : {"corner", "centered"}
        ``corner``: ``rlnCoordinateX/Y/Z``, pixels; the centre of the first voxel is 0.
        ``centered``: ``rlnCenteredCoordinateX/Y/ZAngst`` of RELION 5, Å, which are
        ``(index - shape / 2) * voxel_size``.
    pixel_size : float or None
        Å per pixel of the tilt series, written as ``rlnTomoTiltSeriesPixelSize``; corner
        coordinates are counted in these pixels. None takes the voxel size, so that corner
        coordinates are voxels of the tomogram.

    Raises
    ------
    ShapeError
        If the convention is ``centered`` and the shape of the volume is not known.
    VoxelSizeError
        If voxels are not cubes and no ``pixel_size`` is given: RELION knows one number.
    """
    check_finite(points, str(path))
    pixel = _cubic(points.voxel_size, path) if pixel_size is None else float(pixel_size)
    if convention == "centered":
        shape = needed_shape(points.shape, "the centered convention")
        xyz = zyx_to_xyz_centered_angstrom(points.zyx, points.voxel_size, shape)
        columns = CENTERED
    elif convention == "corner":
        xyz = zyx_to_xyz_angstrom(points.zyx, points.voxel_size) / pixel
        columns = CORNER
    else:
        msg = f'convention is "{convention}". Choose "corner" or "centered".'
        raise AddressError(msg)
    optics = {"rlnOpticsGroup": [1], "rlnOpticsGroupName": ["opticsGroup1"]}
    optics["rlnTomoTiltSeriesPixelSize"] = [pixel]
    particles = _particles(points, dict(zip(columns, xyz.T, strict=True)), path.stem)
    text = starfile.to_string(
        {"optics": pd.DataFrame(optics), "particles": particles}, float_format="%.8f"
    )
    write_text(path, text)


def _particles(
    points: Points, coordinates: dict[str, npt.NDArray[np.float64]], stem: str
) -> pd.DataFrame:
    table = points.table
    classes = table["class_name"].astype(str)
    extra = {
        name: table[column].to_numpy(np.float64)
        for name, column in EXTRA_COLUMNS.items()
        if column in table.columns and column not in COLUMNS
    }
    if FLAG in extra:
        extra[FLAG] = extra[FLAG].astype(np.int64)
    numbering = {name: i for i, name in enumerate(points.class_names, start=1)}
    kept = {
        c: table[c].to_numpy()
        for c in table.columns
        if c.startswith("rln") and c not in WRITTEN and c not in COLUMNS
    }
    return pd.DataFrame(
        {
            "rlnTomoName": np.full(len(table), points.name or stem, object),
            **coordinates,
            "rlnClassNumber": classes.map(numbering).to_numpy(np.int64),
            "rlnOpticsGroup": np.ones(len(table), np.int64),
            SCORE: table["score"].to_numpy(np.float64),
            CLASS_NAME: classes.to_numpy(object),
            NUM_VOXELS: table["num_voxels"].to_numpy(np.int64),
            **extra,
            **kept,
        }
    )


def _cubic(voxel_size: tuple[float, ...], path: Path) -> float:
    if not all(isclose(v, voxel_size[0], rel_tol=1e-4) for v in voxel_size):
        msg = (
            f"voxels of {voxel_size} Å (z, y, x) are not cubes, and {path} can state one pixel "
            "size only. Give pixel_size= (Å per pixel of the tilt series)."
        )
        raise VoxelSizeError(msg)
    return float(voxel_size[-1])


def read_star(address: str, request: Request, *, pixel_size: float | None = None) -> Points:
    """Read particles of RELION 3 to 5, Warp, M or CryoSiam.

    Corner coordinates (pixels) become voxels by way of Å: their pixel is ``pixel_size``, or
    what the table says, looked up for each particle's optics group: the first there is of
    ``rlnTomoTiltSeriesPixelSize``, ``rlnMicrographPixelSize``, ``rlnPixelSize``,
    ``rlnImagePixelSize``, ``rlnMicrographOriginalPixelSize``, and ``rlnDetectorPixelSize`` in
    µm over ``rlnMagnification``. A table that says nothing, as those of CryoSiam, is counted
    in voxels of the requested size.

    Parameters
    ----------
    address : str
        Path of the table.
    request : Request
        Voxel size, shape, class and volume asked for. Without a voxel size, points are in the
        table's pixels. Centred coordinates need the shape, in voxels of that same size.
    pixel_size : float or None
        Å per pixel of corner coordinates, where the table says nothing or something wrong.

    Returns
    -------
    points : Points
        Further columns are kept under their names. Refined shifts (``rlnOriginXAngst`` …)
        are among them, and are not applied.

    Raises
    ------
    FormatError
        If the file holds no coordinates.
    AddressError
        If it holds several tables with coordinates, or several volumes and none was chosen.
    VoxelSizeError
        If nothing says how large a voxel is.
    ShapeError
        If coordinates are centred and the shape is not known.
    """
    path = existing(address)
    table, columns, optics = _tables(path, has_shape=request.shape is not None)
    rows, name = rows_of_volume(table, VOLUMES, request, path)
    return _points(rows, name, columns, optics, path, request, pixel_size)


def open_star(address: str, request: Request, *, pixel_size: float | None = None) -> PointTables:
    """Open a table that may hold particles of several volumes: parsed once, read one by one.

    Parameters
    ----------
    address, request, pixel_size
        As in `read_star`.

    Raises
    ------
    FormatError, AddressError
        As `read_star`, of the file as a whole.
    """
    path = existing(address)
    table, columns, optics = _tables(path, has_shape=request.shape is not None)

    def read(name: str, rows: pd.DataFrame) -> Points:
        return _points(rows, name or path.stem, columns, optics, path, request, pixel_size)

    return PointTables(split_volumes(table, VOLUMES), read)


def _points(
    rows: pd.DataFrame,
    name: str,
    columns: tuple[str, ...],
    optics: pd.DataFrame | None,
    path: Path,
    request: Request,
    pixel_size: float | None,
) -> Points:
    """Points of the rows of one volume."""
    rows = rows.rename(columns={k: v for k, v in RENAMED.items() if v not in rows.columns})
    if "rlnArea" in rows.columns and "num_voxels" not in rows.columns:
        rows = rows.rename(columns={"rlnArea": "num_voxels"})
    xyz = numbers(rows, columns, path)
    pixels = _pixel_sizes(rows, optics) if pixel_size is None else np.full(len(rows), pixel_size)
    size = request.voxel_size or _one_size(pixels, optics) or needed_voxel_size(request, path)
    if columns == CENTERED:
        shape = needed_shape(request.shape, f"{path}")
        zyx = xyz_centered_angstrom_to_zyx(xyz, size, shape)
    elif columns == CORNER:
        # Straight through where the pixel is the voxel: no rounding by way of Å.
        scale = 1.0 if pixels is None else (pixels[:, None] / np.asarray(size, np.float64))
        zyx = xyz[:, ::-1] * scale
    else:
        zyx = xyz_angstrom_to_zyx(xyz, size)
    has_class = "class_name" in rows.columns
    return make_points(
        rows,
        zyx,
        class_column="class_name" if has_class else None,
        voxel_size=size,
        request=request,
        name=name,
        path=path,
        # The number of our own classes says nothing beside their names.
        used=(*columns, "rlnClassNumber") if has_class else columns,
    )


def _tables(
    path: Path, *, has_shape: bool
) -> tuple[pd.DataFrame, tuple[str, ...], pd.DataFrame | None]:
    """Return the particles, their coordinate columns, and the optics."""
    # RELION 5 believes centred coordinates first; without a shape they cannot be used.
    order = (*SPECIES, CORNER, CENTERED) if has_shape else (*SPECIES, CENTERED, CORNER)
    try:
        blocks = starfile.read(path, always_dict=True, parse_as_string=[*VOLUMES, CLASS_NAME])
    except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        msg = f"{path} is no STAR file ({error}). Write it again."
        raise FormatError(msg) from error
    frames = {k: v for k, v in blocks.items() if isinstance(v, pd.DataFrame)}
    found = {
        block: columns
        for block, frame in frames.items()
        for columns in order
        if set(columns) <= set(frame.columns)
    }
    if not found:
        seen = "; ".join(f"{k or 'data_'}: {', '.join(map(str, v))}" for k, v in blocks.items())
        msg = (
            f"{path} holds no points: a table needs {', '.join(CORNER)}, or {', '.join(CENTERED)}"
            f"; got {seen[:300] or 'no table at all'}. Give a particles file."
        )
        raise FormatError(msg)
    if len(found) > 1 and "particles" not in found:
        msg = (
            f"{path} holds several tables with coordinates: {', '.join(found)}. Keep one, or "
            'name the one to read "data_particles".'
        )
        raise AddressError(msg)
    block = "particles" if "particles" in found else next(iter(found))
    return frames[block].reset_index(drop=True), found[block], frames.get("optics")


def _pixel_sizes(rows: pd.DataFrame, optics: pd.DataFrame | None) -> npt.NDArray[np.float64] | None:
    """Å per pixel of each particle's corner coordinates; None if the file does not say."""
    joined = rows
    if optics is not None and "rlnOpticsGroup" in rows.columns and "rlnOpticsGroup" in optics:
        new = optics.drop(columns=[c for c in optics if c in rows and c != "rlnOpticsGroup"])
        joined = rows.merge(new, on="rlnOpticsGroup", how="left", validate="many_to_one")
    for column in PIXEL_SIZES:
        if column in joined.columns:
            return _positive(joined[column])
    if {"rlnDetectorPixelSize", "rlnMagnification"} <= set(joined.columns):
        return _positive(joined["rlnDetectorPixelSize"] * 1e4 / joined["rlnMagnification"])
    return None


def _positive(sizes: pd.Series) -> npt.NDArray[np.float64] | None:
    values = pd.to_numeric(sizes, errors="coerce").to_numpy(np.float64)
    return values if bool(np.all(np.isfinite(values) & (values > 0))) else None


def _one_size(
    pixels: npt.NDArray[np.float64] | None, optics: pd.DataFrame | None
) -> tuple[float, ...] | None:
    """Voxel size of points in the table's own pixels; None where these differ or are unknown."""
    if pixels is None:
        return None
    if len(pixels) == 0 and optics is not None:
        # A table without particles still says its pixel size.
        pixels = _pixel_sizes(optics, None)
    if pixels is None or len(pixels) == 0 or not np.allclose(pixels, pixels[0], rtol=1e-6):
        return None
    return (float(pixels[0]),) * 3
