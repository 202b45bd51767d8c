"""What the compiled loops are given, and how much at once."""

from __future__ import annotations

import numpy as np
import pytest

from volproc.core.errors import DtypeError, PlanError
from volproc.reduce.measuring import MAX_SUM, MAX_VOXELS, as_real, lines_at_once, unsigned


@pytest.mark.parametrize("shape", [(512, 512, 512), (1, 60_000, 60_000), (1, 3, 1_000_000)])
def test_no_sum_of_one_scan_exceeds_64_bits(shape: tuple[int, int, int]) -> None:
    lines = lines_at_once(shape)
    voxels = lines * shape[2]
    assert lines >= 1
    assert voxels <= MAX_VOXELS
    assert voxels * max(shape) ** 2 <= MAX_SUM


def test_blocks_of_millions_of_voxels_in_a_line_are_refused() -> None:
    with pytest.raises(PlanError, match="Use smaller chunks"):
        lines_at_once((1, 1, 10**7))


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", ">i4", "u8", ">i8"])
def test_labels_come_as_two_types_with_their_values(dtype: str) -> None:
    labels = np.array([[0, 1, 1], [1, 0, 0]]).astype(dtype)
    for given in (labels, np.asfortranarray(labels), labels.repeat(2, 1)[:, ::2]):
        volume = unsigned(given)
        assert volume.dtype == (np.uint64 if labels.itemsize == 8 else np.uint32)
        assert volume.dtype.isnative
        assert volume.tolist() == [labels.astype(int).tolist()]


def test_intensities_come_as_two_types_with_their_values() -> None:
    for dtype, wide in (("?", "f4"), ("u2", "f4"), ("f2", "f4"), (">f4", "f4"), ("i4", "f8")):
        values = np.array([[0, 1], [1, 0]]).astype(dtype)
        real = as_real(values)
        assert real.dtype == np.dtype(wide)
        assert real.tolist() == [values.astype(float).tolist()]
    for dtype in (complex, np.longdouble, "M8[s]"):
        with pytest.raises(DtypeError, match="one real channel"):
            as_real(np.zeros((2, 2), dtype))
