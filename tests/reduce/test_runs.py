"""Labels as runs, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import DtypeError, ShapeError
from volproc.reduce.runs import encode_runs, relabel_runs

SHAPE = (5, 7, 11)


def labels_of(seed: int, top: int, part: float) -> tuple[np.ndarray, int]:
    """Labels 1..n, each of which occurs."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(1, top + 1, SHAPE) * (generator.random(SHAPE) < part)
    values, place = np.unique(drawn, return_inverse=True)
    numbers = np.arange(len(values)) + (values[0] != 0)
    return numbers[place].reshape(SHAPE).astype(np.uint32), int(numbers[-1])


@given(st.integers(0, 999), st.sampled_from([1, 3, 50]), st.sampled_from([0.0, 0.1, 0.6, 1.0]))
def test_runs_give_the_labels_back_and_the_first_voxels(seed, top, part) -> None:
    labels, count = labels_of(seed, top, part)
    runs, first = encode_runs(labels, count)
    assert list(first) == [np.flatnonzero(labels == n)[0] for n in range(1, count + 1)]
    flat = labels.reshape(-1)
    changes = np.flatnonzero(np.diff(flat, prepend=0))
    assert list(runs[0]) == list(changes[flat[changes] > 0])
    back = relabel_runs(runs, np.arange(count + 1), SHAPE, dtype=np.uint32)
    np.testing.assert_array_equal(back, labels)
    lut = np.random.default_rng(seed).permutation(count + 1).astype(np.uint64) * 7
    lut[0] = 0
    np.testing.assert_array_equal(relabel_runs(runs, lut, SHAPE, dtype="u8"), lut[labels])


def test_labels_beyond_32_bits_are_painted() -> None:
    labels, count = labels_of(1, 5, 0.5)
    runs, _ = encode_runs(labels, count)
    lut = np.arange(count + 1, dtype=np.uint64) + np.uint64(2**32 + 5)
    lut[0] = 0
    painted = relabel_runs(runs, lut, SHAPE, dtype=np.uint64)
    assert painted.dtype == np.uint64
    np.testing.assert_array_equal(painted, lut[labels])
    with pytest.raises(DtypeError, match=r"up to 4294967306 do not fit in uint32\. Use uint64"):
        relabel_runs(runs, lut, SHAPE, dtype=np.uint32)


def test_the_table_of_another_block_is_refused() -> None:
    labels, count = labels_of(1, 5, 0.5)
    runs, _ = encode_runs(labels, count)
    with pytest.raises(ShapeError, match="exceeds its table of 5, got 5"):
        relabel_runs(runs, np.arange(count), SHAPE, dtype=np.uint32)


def test_labels_that_are_no_contiguous_array_are_read_in_raster_order() -> None:
    labels, count = labels_of(2, 4, 0.7)
    runs, first = encode_runs(labels, count)
    turned, first_turned = encode_runs(np.asfortranarray(labels), count)
    np.testing.assert_array_equal(turned, runs)
    np.testing.assert_array_equal(first_turned, first)
