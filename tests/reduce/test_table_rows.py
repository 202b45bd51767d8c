"""Tables as rows of bytes, and back."""

from __future__ import annotations

import numpy as np
import pytest

from volproc.reduce.measuring import Wanted
from volproc.reduce.objects import measure_block
from volproc.reduce.properties import choose_properties, finish
from volproc.reduce.table_rows import rows_to_table, table_to_rows
from volproc.reduce.tables import ObjectTable


def table(*, with_intensity: bool, wanted: Wanted) -> ObjectTable:
    rng = np.random.default_rng(0)
    return measure_block(
        rng.integers(0, 9, (5, 7, 11)),
        offset=(0, 0, 0),
        shape=(5, 7, 11),
        intensity=rng.normal(0, 1, (5, 7, 11)) if with_intensity else None,
        wanted=wanted,
    )


@pytest.mark.parametrize("with_intensity", [False, True])
@pytest.mark.parametrize("is_all", [False, True])
def test_rows_come_back_as_the_table_they_were(with_intensity, is_all) -> None:
    wanted = Wanted(is_all, is_all, is_all and with_intensity)
    whole = table(with_intensity=with_intensity, wanted=wanted)
    window = whole.intensity.window if whole.intensity else None
    rows = table_to_rows(whole)
    back = rows_to_table(rows[2:5], window)
    names = None
    if is_all:
        names = choose_properties("all", 3, ["intensity"] if with_intensity else [])
    expected = finish(whole.select(slice(2, 5)), names, shape=(5, 7, 11))
    assert finish(back, names, shape=(5, 7, 11)).equals(expected)
    assert rows.dtype.names[0] == "label"
