"""Pairs of labels, counted by block."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from volproc.core.errors import DtypeError, ShapeError
from volproc.metrics import contingency_table
from volproc.reduce.contingency import contingency_rows, count_contingency, merge_contingencies


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.uint64, np.int64, ">u2"])
def test_blocks_add_up_to_the_volume(dtype: npt.DTypeLike) -> None:
    rng = np.random.default_rng(3)
    truth = np.kron(rng.integers(0, 90, (5, 4, 3)), np.ones((1, 2, 5), int)).astype(dtype)
    predicted = np.roll(truth, 3, 2)
    parts = [
        count_contingency(truth[z : z + 2, y : y + 3], predicted[z : z + 2, y : y + 3])
        for z in (4, 0, 2)
        for y in range(0, 8, 3)
    ]
    merged = contingency_rows(merge_contingencies(parts))
    assert merged.equals(contingency_table(truth, predicted))
    assert merged["num_voxels"].sum() == truth.size


def test_an_empty_block_has_no_pairs() -> None:
    none = count_contingency(np.zeros((0, 4), int), np.zeros((0, 4), int))
    assert len(contingency_rows(none)) == 0
    one = count_contingency(np.ones((1, 1), bool), np.zeros((1, 1), bool))
    assert contingency_rows(merge_contingencies([none, one])).to_numpy().tolist() == [[1, 0, 1]]


def test_bad_labels_are_refused() -> None:
    labels = np.ones((2, 2), np.int32)
    with pytest.raises(ShapeError, match=r"\(2, 1\)"):
        count_contingency(labels, labels[:, :1])
    with pytest.raises(DtypeError, match="float32"):
        count_contingency(labels, labels.astype(np.float32))
    with pytest.raises(DtypeError, match="least is -1"):
        count_contingency(-labels, labels)
    with pytest.raises(DtypeError, match="2\\*\\*63"):
        count_contingency(labels, np.full((2, 2), 2**63, np.uint64))
