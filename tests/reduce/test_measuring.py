"""What the compiled loops are given, and how much at once."""

from __future__ import annotations

import numpy as np
import pytest

from volproc.core.errors import DtypeError, PlanError
from volproc.reduce.measuring import (
    MAX_SUM,
    MAX_VOXELS,
    as_real,
    in_memory_order,
    lines_at_once,
    unsigned,
)


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
        assert real.tolist() == values.astype(float).tolist()
    for dtype in (complex, np.longdouble, "M8[s]"):
        with pytest.raises(DtypeError, match="one real channel"):
            as_real(np.zeros((2, 2), dtype))


WHOLE = np.arange(6 * 7 * 8, dtype=np.uint32).reshape(6, 7, 8)
PACKED = np.zeros(24, [("gap", "u1"), ("label", "u4")])["label"]
PACKED[:] = np.arange(24)


@pytest.mark.parametrize(
    ("volume", "is_copied"),
    [
        (WHOLE, False),
        (WHOLE[1:4, 2:5, 3:7], False),
        (WHOLE[::2, ::3], False),
        (WHOLE[:, :, :1], False),
        (WHOLE[2:3, 4:5, 6:], False),
        (np.broadcast_to(WHOLE[1], (4, 7, 8)), False),
        (WHOLE[::-1], True),
        (WHOLE[:, ::-1], True),
        (WHOLE[:, :, ::2], True),
        (WHOLE.T, True),
        (np.broadcast_to(WHOLE[..., :1], (6, 7, 3)), True),
        (PACKED.reshape(2, 3, 4), True),
        (np.frombuffer(b"_" + WHOLE.tobytes(), np.uint32, 336, 1).reshape(6, 7, 8), True),
    ],
)
def test_every_view_lies_in_memory_order_and_most_are_not_copied(
    volume: np.ndarray, is_copied: bool
) -> None:
    line, plane_step, line_step = in_memory_order(volume)
    depth, height, width = volume.shape
    for z in range(depth):
        for y in range(height):
            start = z * plane_step + y * line_step
            assert line[start : start + width].tolist() == volume[z, y].tolist()
    assert len(line) == (depth - 1) * plane_step + (height - 1) * line_step + width
    assert not line.flags.writeable
    assert line.flags.aligned
    assert np.shares_memory(line, volume) is not is_copied
