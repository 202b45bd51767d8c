"""Parquet files that are written piece by piece, and are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from volproc.core.errors import ExistsError
from volproc.io.parquet import ParquetWriter


def test_pieces_become_row_groups_of_one_table(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pieces = [pd.DataFrame({"label": [i], "is_odd": [bool(i % 2)]}) for i in range(3)]
    with ParquetWriter(path) as writer:
        for piece in pieces:
            writer.write(piece)
            assert not path.exists()
    pd.testing.assert_frame_equal(pd.read_parquet(path), pd.concat(pieces, ignore_index=True))
    assert pq.ParquetFile(path).num_row_groups == 3


def test_a_failure_leaves_nothing_and_what_was_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"

    def write_and_stop() -> None:
        with ParquetWriter(path) as writer:
            writer.write(pd.DataFrame({"label": [1]}))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_stop()
    assert list(tmp_path.iterdir()) == []
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), ParquetWriter(path, overwrite=True) as writer:
        writer.write(pd.DataFrame({"label": [1 // 0]}))
    assert path.read_text() == "old"
    with pytest.raises(ExistsError, match="overwrite"):
        ParquetWriter(path)
