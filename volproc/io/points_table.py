"""What the readers and writers of points tables share: files, columns, one volume of many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.errors import (
    AddressError,
    FormatError,
    MissingFileError,
    NonFiniteError,
    ShapeError,
    VoxelSizeError,
    nearest,
)
from volproc.core.points import COLUMNS, Points
from volproc.core.types import Shape

DEFAULT_CLASS = "particle"
"""Class of points whose table names none."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asks of a points table, beside its address."""

    voxel_size: tuple[float, ...] | None = None
    """Å per voxel of the volume whose voxels the points are wanted in, (z, y, x)."""

    shape: Shape | None = None
    """Size of that volume, (z, y, x), voxels."""

    object_name: str | None = None
    """The one class wanted; the class of all points where the table names none."""

    name: str | None = None
    """The one volume wanted, where the table holds several."""


@dataclass(frozen=True, slots=True)
class PointTables:
    """A table of points, parsed, which is read volume by volume."""

    tables: dict[str, pd.DataFrame]
    """Rows by volume, sorted; of one volume without a name, "", where the table names none."""

    read_rows: Callable[[str, pd.DataFrame], Points]
    """Points of the rows of a volume."""

    @property
    def names(self) -> tuple[str, ...]:
        """Volumes that the table names."""
        return tuple(name for name in self.tables if name)

    def read(self, name: str = "") -> Points:
        """Points of one volume; of all rows, where the table names no volume.

        Raises
        ------
        AddressError
            If the table has no such volume.
        VolprocError
            As `volproc.io.points.read_points`.
        """
        if not self.names:
            (rows,) = self.tables.values()
            return self.read_rows(name, rows)
        if name not in self.tables:
            msg = f'the table has no points of "{name}"; {nearest(name, self.names[:50])}'
            raise AddressError(msg)
        return self.read_rows(name, self.tables[name])


def split_volumes(table: pd.DataFrame, columns: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Rows by volume, sorted; the first of ``columns`` that exists names the volumes.

    >>> parts = split_volumes(pd.DataFrame({"run": ["b", "a", "b"], "x": [1, 2, 3]}), ["run"])
    >>> {name: rows["x"].tolist() for name, rows in parts.items()}
    {'a': [2], 'b': [1, 3]}
    """
    column = next((c for c in columns if c in table.columns), None)
    if column is None or table.empty:
        return {"": table}
    groups = table.groupby(table[column].astype(str), sort=True)
    return {str(name): rows.reset_index(drop=True) for name, rows in groups}


def existing(address: str) -> Path:
    """Path of a table that is there.

    Raises
    ------
    MissingFileError
        If it is not.
    AddressError
        If it is no file.
    """
    path = Path(address)
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "no file"
        msg = f"{path} is {kind}, and points are read from one file. Give the path of a table."
        raise AddressError(msg)
    if not path.exists():
        msg = f"{path} does not exist. Check the path of the points."
        raise MissingFileError(msg)
    return path


def needed_voxel_size(request: Request, path: Path) -> tuple[float, ...]:
    """Voxel size that only the caller can know.

    Raises
    ------
    VoxelSizeError
        If it was not given.
    """
    if request.voxel_size is None:
        msg = (
            f"{path} does not say how large its voxels are. Give the voxel size of the volume "
            "in Å with voxel_size= (--voxel-size on the command line)."
        )
        raise VoxelSizeError(msg)
    return request.voxel_size


def needed_shape(shape: Shape | None, what: str) -> Shape:
    """Shape of the volume, where coordinates are counted from its middle.

    Raises
    ------
    ShapeError
        If it is not known.
    """
    if shape is None or len(shape) != 3 or min(shape) < 1:
        msg = (
            f"{what} counts coordinates from the middle of the volume, got shape {shape}. Give "
            "the size of the volume in voxels (z, y, x) with shape=."
        )
        raise ShapeError(msg)
    return shape


def numbers(table: pd.DataFrame, columns: Sequence[str], path: Path) -> npt.NDArray[np.float64]:
    """Columns as finite float64, (n, len(columns)).

    Raises
    ------
    FormatError
        If a value is no number.
    NonFiniteError
        If a value is NaN or infinite.
    """
    try:
        values = table[list(columns)].to_numpy(np.float64)
    except (TypeError, ValueError) as error:
        msg = f"{path} holds text in {', '.join(columns)} ({error}). Give numbers."
        raise FormatError(msg) from error
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        msg = (
            f"{path} holds {len(bad)} rows with a missing or infinite coordinate, the first is "
            f"row {bad[0]} of {len(values)}. Remove these rows."
        )
        raise NonFiniteError(msg)
    return values


def rows_of_volume(
    table: pd.DataFrame, columns: Sequence[str], request: Request, path: Path
) -> tuple[pd.DataFrame, str]:
    """Rows of one volume, and its name; the first of ``columns`` that exists names the volumes.

    Raises
    ------
    AddressError
        If there are several volumes and none was chosen, or if the chosen one is not there.
    """
    column = next((c for c in columns if c in table.columns), None)
    if column is None:
        return table, request.name or path.stem
    names = table[column].astype(str)
    known = sorted(set(names))
    if request.name is None:
        if len(known) > 1:
            msg = (
                f"{path} holds points of {len(known)} volumes ({column}: {_some(known)}). Choose "
                "one with name=."
            )
            raise AddressError(msg)
        return table, known[0] if known else path.stem
    chosen = names == request.name
    if not chosen.any():
        # Tables often hold the file name or path of a volume where people say its name.
        chosen = names.map(lambda n: request.name in (Path(n).name, Path(n).stem))
    if not chosen.any() and known:
        msg = (
            f'{path} holds no points of "{request.name}" in {column}; '
            f"{nearest(request.name, known[:50])}"
        )
        raise AddressError(msg)
    return table[chosen].reset_index(drop=True), request.name


def make_points(
    table: pd.DataFrame,
    zyx: npt.NDArray[np.float64],
    *,
    class_column: str | None,
    voxel_size: tuple[float, ...],
    request: Request,
    name: str,
    path: Path,
    used: Sequence[str],
) -> Points:
    """Points of a table whose other columns have their final names already.

    Parameters
    ----------
    table : DataFrame
        Rows of one volume; ``score`` and ``num_voxels`` are taken where they are.
    zyx : ndarray, (n, 3)
        Centres, voxels.
    class_column : str or None
        Column of the class names; None where the table has none.
    voxel_size, name
        As in `Points`.
    request : Request
        Which class is wanted, and the shape of the volume.
    path : Path
        Named in errors.
    used : sequence of str
        Columns that hold the coordinates; all others are kept.
    """
    n = len(table)
    if class_column is None:
        classes = np.full(n, request.object_name or DEFAULT_CLASS, object)
    else:
        classes = table[class_column].astype(str).to_numpy(object)
    own = {
        "z": zyx[:, 0],
        "y": zyx[:, 1],
        "x": zyx[:, 2],
        "class_name": classes,
        "score": _column(table, "score", 1.0).astype(np.float64),
        "num_voxels": _column(table, "num_voxels", 0).astype(np.int64),
    }
    dropped = {*used, *COLUMNS, class_column}
    kept = {str(c): table[c].to_numpy() for c in table.columns if c not in dropped}
    points = Points(pd.DataFrame({**own, **kept}), voxel_size, request.shape or (), name)
    if class_column is None or request.object_name is None:
        return points
    if request.object_name not in points.class_names and n:
        msg = (
            f'{path} holds no class "{request.object_name}"; '
            f"{nearest(request.object_name, points.class_names)}"
        )
        raise AddressError(msg)
    return points.select(request.object_name)


def check_finite(points: Points, address: str) -> None:
    """Refuse to write centres that are nowhere.

    Raises
    ------
    NonFiniteError
        If a coordinate is NaN or infinite.
    """
    bad = np.flatnonzero(~np.isfinite(points.zyx).all(axis=1))
    if len(bad):
        msg = (
            f"{len(bad)} of {len(points)} points have a NaN or infinite coordinate, the first is "
            f"row {bad[0]}; {address} is not written. Remove these rows."
        )
        raise NonFiniteError(msg)


def _column(table: pd.DataFrame, name: str, default: float) -> npt.NDArray[np.float64]:
    """Numeric column, with the default where it is missing or a cell is empty."""
    if name not in table.columns:
        return np.full(len(table), default)
    return pd.to_numeric(table[name], errors="coerce").fillna(default).to_numpy(np.float64)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
