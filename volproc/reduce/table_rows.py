"""Tables of objects as rows of bytes, for what waits on disk between two stages."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.reduce.exact_sums import Window
from volproc.reduce.tables import IntensityTable, ObjectTable

Rows = npt.NDArray[Any]

FIELDS = ("label", "count", "first", "sums", "lower", "upper", "classes", "products", "num_surface")
INTENSITY_FIELDS = ("digits", "least", "greatest", "num_nonfinite", "squares")


def table_to_rows(table: ObjectTable) -> Rows:
    """Pack the columns of a table.

    Returns
    -------
    rows : structured ndarray, (n,)
        One field a column that the table has, ascending by ``label``. The digits' window is not
        among them: it goes to `rows_to_table` by itself.
    """
    columns = {name: getattr(table, name) for name in FIELDS}
    if table.intensity is not None:
        columns |= {name: getattr(table.intensity, name) for name in INTENSITY_FIELDS}
    present = {name: column for name, column in columns.items() if column is not None}
    kinds = [(name, column.dtype, column.shape[1:]) for name, column in present.items()]
    rows = np.empty(len(table), kinds)
    for name, column in present.items():
        rows[name] = column
    return rows


def rows_to_table(rows: Rows, window: Window | None) -> ObjectTable:
    """Unpack what `table_to_rows` has packed, or some of its rows.

    Examples
    --------
    >>> from volproc.reduce.objects import measure_block
    >>> table = measure_block(np.array([[7, 7, 0], [0, 7, 9]]), offset=(0, 4), shape=(2, 9))
    >>> rows_to_table(table_to_rows(table)[1:], None).label
    array([9])
    """
    names = rows.dtype.names or ()
    columns: dict[str, Any] = {name: np.ascontiguousarray(rows[name]) for name in names}
    sums = {name: columns.pop(name) for name in INTENSITY_FIELDS if name in columns}
    part = None if window is None else IntensityTable(**sums, window=window)
    return ObjectTable(**columns, intensity=part)
