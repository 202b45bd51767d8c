"""Small tables on disk."""

from __future__ import annotations

import numpy as np
import pytest

from volproc.io.scratch_tables import ScratchTables


def test_columns_come_back_in_the_order_asked_for(tmp_path) -> None:
    tables = ScratchTables(str(tmp_path / "new"))
    tables.write("a", first=np.arange(3), second=np.zeros(0, np.int64))
    second, first = tables.read("a", "second", "first")
    assert (first.tolist(), second.tolist()) == ([0, 1, 2], [])


def test_one_array_is_mapped_not_read(tmp_path) -> None:
    tables = ScratchTables(str(tmp_path))
    tables.write_one("ranks", np.arange(5))
    mapped = tables.map_one("ranks")
    assert isinstance(mapped, np.memmap)
    assert mapped.tolist() == list(range(5))


def test_objects_are_never_read(tmp_path) -> None:
    tables = ScratchTables(str(tmp_path))
    tables.write("a", column=np.array([{}], object))
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        tables.read("a", "column")
