"""Tables too large for memory, as Parquet files that are either whole or not there."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from volproc.core.errors import AddressError
from volproc.io.create import partial_path, refuse_existing, remove

ENDINGS = (".parquet", ".pq")


def refuse_parquet(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Refuse a path that no table can be written to.

    Raises
    ------
    AddressError
        If its ending is not that of Parquet.
    ExistsError, MissingFileError
        If it is there and ``overwrite`` is false, or its folder is not.
    """
    if Path(path).suffix not in ENDINGS:
        msg = f"a table of measurements is a Parquet file, got {path}. Name it *.parquet."
        raise AddressError(msg)
    refuse_existing(Path(path), overwrite=overwrite)


class ParquetWriter:
    """Writes a table piece by piece; each piece is a row group of one file.

    The file is written beside its place, under a hidden name, and moved when all is well.

    Parameters
    ----------
    path : str or path
        Ends in ``.parquet``; see `refuse_parquet`.
    overwrite : bool
        Replace what is there.

    Examples
    --------
    >>> with ParquetWriter("objects.parquet") as writer:  # doctest: +SKIP
    ...     writer.write(pd.DataFrame({"label": [1, 2]}))
    ...     writer.write(pd.DataFrame({"label": [3]}))
    """

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        refuse_parquet(path, overwrite=overwrite)
        self.path = Path(path)
        self._file: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, frame: pd.DataFrame) -> None:
        """Write some rows; all pieces have the same columns."""
        table = pa.Table.from_pandas(frame, preserve_index=False)
        if self._file is None:
            self._file = pq.ParquetWriter(partial_path(self.path), table.schema)
        self._file.write_table(table)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
        if kind is None:
            partial_path(self.path).replace(self.path)
        else:
            remove(partial_path(self.path))
