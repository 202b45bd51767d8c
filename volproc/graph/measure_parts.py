"""Tables of objects that fit nowhere whole: parts on disk, merged by ranges of labels."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.graph.layers import Graph, new_task, ref, refs
from volproc.graph.scratch import Scratch, use_scratch
from volproc.io.chunk_files import write_array
from volproc.io.parquet import ParquetWriter, refuse_parquet
from volproc.reduce.exact_sums import Window
from volproc.reduce.table_rows import rows_to_table, table_to_rows
from volproc.reduce.tables import ObjectTable, merge_tables

SAMPLE = 1024
"""Rows of a part between two labels that it names: ranges are cut at such labels."""

RANGE_SAMPLES = 128
"""Samples of a range, so that it has some hundred thousand rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Where the rows of some blocks are."""

    path: str
    """An ``.npy`` file of rows, ascending by label."""

    window: Window | None
    """Digits of intensities."""

    samples: npt.NDArray[np.int64]
    """Every `SAMPLE`-th label, from the first on."""

    last: int
    """Greatest label; 0 without rows."""


@dataclass(frozen=True, slots=True)
class Target:
    """A Parquet file to be written from parts."""

    path: str
    overwrite: bool
    scratch: Scratch

    def tasks(
        self, name: str, groups: Sequence[Any], report: Callable[[ObjectTable], Any]
    ) -> Graph:
        """Tasks that write tables of groups to scratch, and then the file; the last is ``name``.

        Parameters
        ----------
        name : str
            Begins the keys.
        groups : sequence of keys
            Tables of groups of blocks.
        report : callable
            Makes a data frame of a table.
        """
        hold = f"{name}-scratch"
        tasks: Graph = {hold: new_task(hold, use_scratch, self.scratch)}
        parts = []
        for number, group in enumerate(groups):
            parts.append((f"{name}-part", number))
            place = self.scratch.path(f"part-{number}.npy")
            tasks[parts[-1]] = new_task(parts[-1], write_part, ref(group), place, ref(hold))
        writer = _Write(self.path, self.overwrite, report)
        tasks[name] = new_task(name, writer, refs(parts), ref(hold))
        return tasks


def plan_target(
    path: str | os.PathLike[str] | None,
    *,
    overwrite: bool,
    scratch: str | os.PathLike[str] | None,
) -> Target | None:
    """Check where a table is to be written.

    Raises
    ------
    AddressError, ExistsError, MissingFileError
        As in `volproc.io.parquet.refuse_parquet`.
    """
    if path is None:
        return None
    refuse_parquet(path, overwrite=overwrite)
    return Target(str(Path(path).absolute()), overwrite, Scratch(scratch))


def write_part(table: ObjectTable, path: str, scratch: Any) -> Part:
    """Write one table to scratch."""
    del scratch  # an argument only so that the folder is there
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_array(Path(path), table_to_rows(table))
    window = None if table.intensity is None else table.intensity.window
    last = int(table.label[-1]) if len(table) else 0
    return Part(path, window, table.label[::SAMPLE].copy(), last)


def read_range(parts: Sequence[Part], start: int, stop: int) -> ObjectTable:
    """Merge the rows of all parts whose labels lie in ``start <= label < stop``."""
    tables = []
    for part in parts:
        if part.last >= start and len(part.samples) and part.samples[0] < stop:
            rows = np.load(part.path, mmap_mode="r", allow_pickle=False)
            labels = rows["label"]  # bisect touches a few pages, searchsorted would copy the column
            span = slice(bisect_left(labels, start), bisect_left(labels, stop))
            tables.append(rows_to_table(np.array(rows[span]), part.window))
    return merge_tables(tables)


def ranges_of(parts: Sequence[Part]) -> Iterator[tuple[int, int]]:
    """Ranges of labels that together hold all rows, each of a bounded number of them.

    Between two samples of a part lie `SAMPLE` rows: so a range of that many samples has
    `RANGE_SAMPLES` times as many rows, and at most `SAMPLE` more for each part that it cuts.
    """
    samples = np.sort(np.concatenate([np.zeros(0, np.int64), *(part.samples for part in parts)]))
    cuts = np.unique(samples[::RANGE_SAMPLES]).tolist()
    if cuts:
        stop = max(part.last for part in parts) + 1
        yield from zip(cuts, [*cuts[1:], stop], strict=True)


@dataclass(frozen=True, slots=True)
class _Write:
    """The task that puts the file together."""

    path: str
    overwrite: bool
    report: Callable[[ObjectTable], Any]

    def __call__(self, parts: Sequence[Part], scratch: Any) -> str:
        del scratch
        ranges = list(ranges_of(parts))
        with ParquetWriter(self.path, overwrite=self.overwrite) as writer:
            for start, stop in ranges:
                writer.write(self.report(read_range(parts, start, stop)))
            if not ranges:  # the columns at least
                empty = np.load(parts[0].path, allow_pickle=False)
                writer.write(self.report(rows_to_table(empty, parts[0].window)))
        return self.path
