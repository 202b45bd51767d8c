"""Cells and factors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import ConfigError
from volproc.reduce.rescaling import as_factors, cell_cuts, enlarge_labels, shrink_labels


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 7))
def test_chunks_end_at_cells_and_cover_the_axis(cut, factor) -> None:
    cells = cell_cuts(tuple(cut), factor)
    assert sum(cells) == sum(cut)
    assert all(n % factor == 0 for n in cells[:-1])
    assert min(cells) > 0
    if all(n % factor == 0 for n in cut[:-1]):
        assert cells == tuple(cut)


def test_a_cell_of_many_labels_takes_the_most_frequent() -> None:
    cell = np.array([[5, 0, 3], [0, 3, 9], [5, 8, 0], [3, 0, 0]])
    assert shrink_labels(cell, (4, 3), "majority").tolist() == [[0]]
    cell[3, 2] = 5
    cell[3, 1] = 3  # now 3 four times, 0 and 5 three times
    assert shrink_labels(cell, (4, 3), "majority").tolist() == [[3]]


def test_types_and_order_of_memory_do_not_matter() -> None:
    labels = np.asfortranarray(np.arange(24).reshape(4, 6) // 6)
    for dtype in ("u1", ">i4", "u8"):
        result = shrink_labels(labels.astype(dtype), (2, 3), "majority")
        assert result.dtype == np.dtype(dtype)
        assert result.tolist() == [[1, 1], [2, 2]]
    assert enlarge_labels(labels[:1, :2], (2, 2)).tolist() == [[0] * 4] * 2


def test_factors_are_one_an_axis() -> None:
    assert as_factors(np.int64(3), 2) == (3, 3)
    assert as_factors([1, 2, 3], 3) == (1, 2, 3)
    with pytest.raises(ConfigError, match="2 of them, got"):
        as_factors((1, 2, 3), 2)
    with pytest.raises(ConfigError, match="at least 1"):
        as_factors((1, 0), 2)
