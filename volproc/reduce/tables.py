"""Tables of objects: integer columns, or exact ones, that merge in any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ShapeError
from volproc.reduce.exact_sums import Window, carry_digits, place_digits, widest

if TYPE_CHECKING:
    from volproc.reduce.surfaces import BlockSurface

Ints = npt.NDArray[np.int64]
Column = npt.NDArray[Any]

MERGERS: dict[str, np.ufunc] = {
    "count": np.add,
    "first": np.minimum,
    "sums": np.add,
    "lower": np.minimum,
    "upper": np.maximum,
    "products": np.add,
    "num_surface": np.add,
    "digits": np.add,
    "squares": np.add,
    "least": np.minimum,
    "greatest": np.maximum,
    "num_nonfinite": np.add,
}
"""How a column merges; label and class are the same in all rows of an object."""

CARRIED = {"products", "digits", "squares"}
"""Columns of digits, which are brought into their canonical form after each merge."""

PAIRS = {2: ((0, 0), (0, 1), (1, 1)), 3: ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))}
"""Pairs of axes whose coordinates are multiplied in the products of a table, by its axes."""


@dataclass(frozen=True, slots=True, eq=False)
class IntensityTable:
    """What the voxels of another volume under each object sum up to; one row an object."""

    digits: Ints
    """Exact sum of the finite voxels, (n, k): see `volproc.reduce.exact_sums`."""

    least: npt.NDArray[np.float64]
    """Smallest finite voxel; inf where there is none."""

    greatest: npt.NDArray[np.float64]
    """Greatest finite voxel; -inf where there is none."""

    num_nonfinite: Ints
    """NaN and infinite voxels."""

    window: Window
    """Which digits these are, the same for all objects."""

    squares: Ints | None = None
    """Exact sum of the squares of the finite voxels, (n, j), where it was asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectTable:
    """Objects as columns, ascending by label; every column is an integer or exact, so it merges.

    ``d`` is the number of axes, 3 or 2. Coordinates are voxels of the whole volume.
    """

    label: Ints
    """Label of each object, (n,), ascending, positive."""

    count: Ints
    """Number of voxels, (n,)."""

    first: Ints
    """Smallest raster index of a voxel, (n,)."""

    sums: Ints
    """Sums of the voxels' coordinates, (n, d)."""

    lower: Ints
    """First voxel of the bounding box, (n, d)."""

    upper: Ints
    """End of the bounding box, exclusive, (n, d)."""

    classes: Ints | None = None
    """Class value of each object, (n,), where the objects were found in a class map."""

    products: Ints | None = None
    """Exact sums of products of two coordinates, (n, pairs, 3), where they were asked for: the
    pairs of `PAIRS`, in three digits of 32 bits."""

    num_surface: Ints | None = None
    """Voxels with a neighbour of another label across a face, (n,), where they were asked for."""

    intensity: IntensityTable | None = None
    """Sums over a second volume, where there was one."""

    outline: BlockSurface | None = None
    """Outer planes of the one block that was measured, for `num_surface`; gone after merging."""

    def __len__(self) -> int:
        return len(self.label)

    @property
    def ndim(self) -> int:
        """Number of axes, 3 or 2."""
        return self.sums.shape[1]

    @property
    def centroids(self) -> npt.NDArray[np.float64]:
        """Mean coordinates of the voxels, (n, d)."""
        return self.sums / self.count[:, None]

    def select(self, keep: npt.NDArray[Any]) -> ObjectTable:
        """Rows picked by a boolean mask or by indices."""
        return _gather(self, lambda name: _column(self, name)[keep])

    def with_labels(self, label: npt.NDArray[Any]) -> ObjectTable:
        """Rename the objects, and merge those that get the same label.

        Parameters
        ----------
        label : ndarray of int, (n,)
            New label of each row: of a block's own objects ``lut[table.label]``.
        """
        return _merge_rows(replace(self, label=label.astype(np.int64)))


def empty_table(ndim: int) -> ObjectTable:
    """Return a table without objects.

    >>> len(empty_table(3))
    0
    """
    none, vectors = np.zeros(0, np.int64), np.zeros((0, ndim), np.int64)
    return ObjectTable(none, none, none, vectors, vectors, vectors)


def merge_tables(tables: Sequence[ObjectTable]) -> ObjectTable:
    """Merge tables of blocks, in any order and any tree: the bits are always the same.

    Parameters
    ----------
    tables : sequence of ObjectTable
        At least one; all with the same axes and the same optional columns. Tables without rows
        may lack those columns.

    Raises
    ------
    ShapeError
        If there are no tables, or if they do not have the same columns.
    """
    if not tables:
        msg = "no tables to merge, got an empty sequence. Give empty_table(ndim) for no objects."
        raise ShapeError(msg)
    parts = [table for table in tables if len(table)]
    parts = parts or [max(tables, key=lambda table: len(_columns_of(table)))]
    kinds = {_columns_of(table) for table in parts}
    if len(kinds) > 1:
        msg = (
            "tables of objects to merge differ in their axes or columns, got "
            f"{' and '.join(map(str, sorted(kinds)))}. Measure all blocks alike."
        )
        raise ShapeError(msg)
    windows = [t.intensity.window for t in parts if t.intensity is not None]
    if len(set(windows)) > 1:
        parts = [_widened(table, widest(windows)) for table in parts]
    return _merge_rows(
        _gather(parts[0], lambda name: np.concatenate([_column(table, name) for table in parts]))
    )


def _columns_of(table: ObjectTable) -> tuple[str, ...]:
    """Number of axes, and the optional columns that a table has."""
    optional = [n for n in ("classes", "products", "num_surface", "intensity") if _has(table, n)]
    if _has(table, "intensity") and _has(table, "squares"):
        optional.append("squares")
    return (f"{table.ndim} axes", *optional)


def _has(table: ObjectTable, name: str) -> bool:
    return _column(table, name) is not None


def _widened(table: ObjectTable, window: Window) -> ObjectTable:
    """Write the sums of intensities with the digits of another window."""
    part = table.intensity
    if part is None:
        return table
    old = part.window
    digits = place_digits(part.digits, old.first - window.first, window.num_digits)
    squares = part.squares
    if squares is not None:
        below = old.first_square - window.first_square
        squares = place_digits(squares, below, window.num_squares)
    wider = replace(part, digits=carry_digits(digits), squares=squares, window=window)
    return replace(table, intensity=wider)


def _gather(table: ObjectTable, column: Callable[[str], Column]) -> ObjectTable:
    """Build a table from columns by name, with the optional columns that ``table`` has."""
    part = table.intensity
    if part is not None:
        part = IntensityTable(
            digits=column("digits"),
            least=column("least"),
            greatest=column("greatest"),
            num_nonfinite=column("num_nonfinite"),
            window=part.window,
            squares=None if part.squares is None else column("squares"),
        )
    optional: dict[str, Any] = {
        name: column(name) for name in ("classes", "products", "num_surface") if _has(table, name)
    }
    return ObjectTable(
        label=column("label"),
        count=column("count"),
        first=column("first"),
        sums=column("sums"),
        lower=column("lower"),
        upper=column("upper"),
        intensity=part,
        **optional,
    )


def _column(table: ObjectTable, name: str) -> Column:
    return getattr(table if name in ObjectTable.__slots__ else table.intensity, name)


def _merge_rows(table: ObjectTable) -> ObjectTable:
    """Sort by label, and merge the rows of one label."""
    if not len(table) or bool((np.diff(table.label) > 0).all()):
        return table
    order = np.argsort(table.label, kind="stable")
    label = table.label[order]
    starts = np.flatnonzero(np.diff(label, prepend=label[0] - 1))
    lengths = np.diff(starts, append=len(label))
    # most objects lie in one block and have one row, which stays as it is
    leading, several = order[starts], np.flatnonzero(lengths > 1)
    parts = order[np.repeat(lengths > 1, lengths)]
    begins = np.cumsum(lengths[several]) - lengths[several]

    def column(name: str) -> Column:
        every = _column(table, name)
        rows = every.take(leading, axis=0)
        if len(parts) and name not in ("label", "classes"):
            merged = MERGERS[name].reduceat(every.take(parts, axis=0), begins, axis=0)
            rows[several] = carry_digits(merged) if name in CARRIED else merged
        return rows

    return _gather(table, column)
