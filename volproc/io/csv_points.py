"""Points as comma-separated text: volproc's own table, and those of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.errors import FormatError
from volproc.core.points import COLUMNS, Points
from volproc.io.atomic_text import write_text
from volproc.io.points_table import (
    PointTables,
    Request,
    check_finite,
    existing,
    make_points,
    needed_voxel_size,
    numbers,
    rows_of_volume,
    split_volumes,
)
from volproc.io.xyz import xyz_angstrom_to_zyx, zyx_to_xyz_angstrom

Unit = Literal["voxel", "angstrom"]
"""What plain z, y, x columns of a foreign table are counted in."""

ANGSTROM = ("z_angstrom", "y_angstrom", "x_angstrom")
"""Columns of the positions in Å."""

CENTRES = (
    ("z", "y", "x"),
    ("centroid-0", "centroid-1", "centroid-2"),
    ("axis-0", "axis-1", "axis-2"),
)
"""Names of the coordinate columns (z, y, x): plain, of scikit-image and CryoSiam, of napari."""

ALIASES = {
    "object_name": "class_name",
    "pickable_object_name": "class_name",
    "particle_type": "class_name",
    "class": "class_name",
    "confidence": "score",
    "area": "num_voxels",
}
"""Column names of others, and what volproc calls them."""

VOLUMES = ("tomo", "tomogram", "run_name", "run", "experiment", "micrograph", "volume")
"""Columns that name the volume a point lies in, in the order in which they are tried."""


def write_csv(points: Points, path: Path) -> None:
    """Write points with their voxel indices and their positions.

    Columns: ``z, y, x`` in voxels, ``z_angstrom, y_angstrom, x_angstrom`` (index times voxel
    size), ``class_name``, ``score``, ``num_voxels``, then every further column of the table.
    Numbers are written so that they are read back exactly.
    """
    check_finite(points, str(path))
    positions = zyx_to_xyz_angstrom(points.zyx, points.voxel_size)
    table = points.table.copy()
    for axis, column in enumerate(ANGSTROM):
        table[column] = positions[:, 2 - axis]
    first = ["z", "y", "x", *ANGSTROM, *COLUMNS[3:]]
    order = first + [c for c in table.columns if c not in first]
    write_text(path, table[order].to_csv(index=False, lineterminator="\n"))


def read_csv(address: str, request: Request, *, unit: Unit = "voxel") -> Points:
    """Read volproc's table, or one of another program.

    Parameters
    ----------
    address : str
        Path of the table; its first line names the columns.
    request : Request
        Voxel size, shape, class and volume asked for.
    unit : {"voxel", "angstrom"}
        What plain ``z, y, x`` columns are counted in, where no Å columns stand beside them.

    Returns
    -------
    points : Points
        In voxels of the requested size, or of the file's where none was requested: the ratio
        of its Å and voxel columns.

    Raises
    ------
    FormatError
        If the file is no table, or lacks coordinates.
    VoxelSizeError
        If neither the file nor the request gives a voxel size.
    """
    path = existing(address)
    table = _parse(path)
    rows, name = rows_of_volume(table, VOLUMES, request, path)
    return _points(rows, name, path, request, unit)


def open_csv(address: str, request: Request, *, unit: Unit = "voxel") -> PointTables:
    """Open a table that may hold points of several volumes: parsed once, read volume by volume.

    Parameters
    ----------
    address, request, unit
        As in `read_csv`. Where no voxel size is requested and the table states Å, its points come
        in voxels of 1 Å.

    Raises
    ------
    FormatError
        If the file is no table.
    """
    path = existing(address)
    table = _parse(path)
    states_angstrom = unit == "angstrom" or set(ANGSTROM) <= set(table.columns)
    if request.voxel_size is None and states_angstrom:
        request = replace(request, voxel_size=(1.0, 1.0, 1.0))

    def read(name: str, rows: pd.DataFrame) -> Points:
        return _points(rows, name or path.stem, path, request, unit)

    return PointTables(split_volumes(table, VOLUMES), read)


def _points(rows: pd.DataFrame, name: str, path: Path, request: Request, unit: Unit) -> Points:
    """Points of the rows of one volume."""
    plain = next((names for names in CENTRES if set(names) <= set(rows.columns)), None)
    in_angstrom = ANGSTROM if set(ANGSTROM) <= set(rows.columns) else None
    if plain is None and in_angstrom is None:
        msg = (
            f"{path} has columns {', '.join(map(str, rows.columns))}. A points table needs "
            "z, y, x (voxels, or Å with unit='angstrom') or z_angstrom, y_angstrom, x_angstrom."
        )
        raise FormatError(msg)
    if in_angstrom is None and unit == "angstrom":
        plain, in_angstrom = None, plain
    indices = None if plain is None else numbers(rows, plain, path)
    positions = None if in_angstrom is None else numbers(rows, in_angstrom, path)
    size = _ratio(indices, positions)
    wanted = request.voxel_size or size or needed_voxel_size(request, path)
    if positions is not None and (indices is None or not _same(size, wanted)):
        zyx = xyz_angstrom_to_zyx(positions[:, ::-1], wanted)
    else:
        assert indices is not None
        zyx = indices
    return make_points(
        rows,
        zyx,
        class_column="class_name" if "class_name" in rows.columns else None,
        voxel_size=wanted,
        request=request,
        name=name,
        path=path,
        used=(*(plain or ()), *(in_angstrom or ())),
    )


def _parse(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, skipinitialspace=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        msg = f"{path} is no comma-separated table ({error}). Give a file with a header line."
        raise FormatError(msg) from error
    table.columns = [str(c).strip() for c in table.columns]
    lower = {c: c.lower() for c in table.columns if c.lower() in {*"zyx", *ANGSTROM}}
    known = {c: a for c, a in ALIASES.items() if c in table.columns and a not in table.columns}
    # Two names of one thing in one table: the first becomes ours, the other stays a column.
    firsts = {a: c for c, a in reversed(known.items())}
    return table.rename(columns={**lower, **{c: a for a, c in firsts.items()}})


def _ratio(
    indices: npt.NDArray[np.float64] | None, positions: npt.NDArray[np.float64] | None
) -> tuple[float, ...] | None:
    """Å per voxel, (z, y, x), of a table that has both columns; None if it does not show."""
    if indices is None or positions is None:
        return None
    sizes = []
    for index, position in zip(indices.T, positions.T, strict=True):
        # The largest index has the smallest rounding; at 0 there is nothing to divide.
        row = int(np.argmax(np.abs(index))) if len(index) else 0
        if not len(index) or index[row] == 0 or position[row] / index[row] <= 0:
            return None
        sizes.append(float(position[row] / index[row]))
    return tuple(sizes)


def _same(one: tuple[float, ...] | None, other: tuple[float, ...]) -> bool:
    # Rows that do not show their size, such as one with a coordinate of 0, go by their Å.
    return one is not None and bool(np.allclose(one, other, rtol=1e-9, atol=0))
