"""Strips between blocks."""

from __future__ import annotations

import numpy as np
import pytest

from volproc.graph.spill import Spill


@pytest.fixture
def spill(tmp_path) -> Spill:
    return Spill(str(tmp_path / "spill"))


def strip(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-(2**62), 2**62, (2, 3, 1, 4))


def test_a_taker_gets_what_its_giver_left(spill: Spill) -> None:
    spill.give((0, 0, 0), (0, 0, 1), strip(0))
    spill.give((0, 0, 0), (0, 1, 0), strip(1))
    spill.give((0, 0, 1), (0, 1, 0), strip(2))
    np.testing.assert_array_equal(spill.take((0, 0, 0), (0, 0, 1)), strip(0))
    np.testing.assert_array_equal(spill.take((0, 0, 0), (0, 1, 0)), strip(1))
    np.testing.assert_array_equal(spill.take((0, 0, 1), (0, 1, 0)), strip(2))


def test_a_strip_stays_for_a_taker_that_runs_again(spill: Spill) -> None:
    spill.give((0, 0, 0), (0, 0, 1), strip(0))
    np.testing.assert_array_equal(*(spill.take((0, 0, 0), (0, 0, 1)) for _ in range(2)))


def test_dropping_a_giver_leaves_the_strips_of_others(spill: Spill, tmp_path) -> None:
    spill.give((0, 0, 0), (0, 0, 1), strip(0))
    spill.give((0, 0, 1), (0, 1, 0), strip(1))
    spill.drop((0, 0, 0))
    spill.drop((0, 0, 0))
    assert [p.name for p in (tmp_path / "spill").iterdir()] == ["0.0.1"]


def test_a_strip_goes_alone_and_the_last_one_takes_the_folder_with_it(
    spill: Spill, tmp_path
) -> None:
    spill.give((0, 0, 0), (0, 0, 1), strip(0))
    spill.give((0, 0, 0), (1, 0, 0), strip(1))
    for _ in range(2):
        spill.drop_strip((0, 0, 0), (0, 0, 1))
    np.testing.assert_array_equal(spill.take((0, 0, 0), (1, 0, 0)), strip(1))
    spill.drop_strip((0, 0, 0), (1, 0, 0))
    assert list((tmp_path / "spill").iterdir()) == []
