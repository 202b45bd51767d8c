"""Matchings of greatest weight: as brute force and scipy find them, and one where many are best."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from volproc.reduce.matching_kernels import match_rows, prefer_first


def edges_of(weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """Rows with the heaviest edge first, of equal ones that to the smaller column."""
    columns = [sorted(np.flatnonzero(row), key=lambda c: (-row[c], c)) for row in weights]
    starts = np.cumsum([0, *map(len, columns)])
    flat = np.array([c for row in columns for c in row], np.int64)
    rows = np.repeat(np.arange(len(weights)), np.diff(starts))
    return starts, flat, weights[rows, flat].astype(np.int64)


def solve(weights: np.ndarray) -> tuple[np.ndarray, ...]:
    starts, columns, flat = edges_of(weights)
    rows = np.repeat(np.arange(len(weights)), np.diff(starts))
    order = np.argsort(columns, kind="stable")
    column_starts = np.searchsorted(columns[order], np.arange(weights.shape[1] + 1))
    matching = match_rows(starts, columns, flat, weights.shape[1])
    prefer_first(starts, columns, flat, column_starts, rows[order], flat[order], *matching)
    return matching


def best_by_brute_force(weights: np.ndarray) -> list[int]:
    """Of all matchings with the greatest sum the first one, row by row."""
    found = []

    def extend(row: int, chosen: list[int]) -> None:
        if row == len(weights):
            total = sum(weights[r, c] for r, c in enumerate(chosen) if c >= 0)
            wishes = [(0, -weights[r, c], c) if c >= 0 else (1, 0, 0) for r, c in enumerate(chosen)]
            found.append((-total, wishes, chosen))
            return
        extend(row + 1, [*chosen, -1])
        for column in np.flatnonzero(weights[row]):
            if column not in chosen:
                extend(row + 1, [*chosen, int(column)])

    extend(0, [])
    return min(found)[2]


def assert_is_a_certified_optimum(weights: np.ndarray, matching: tuple[np.ndarray, ...]) -> None:
    partner, owner, u, v = matching
    chosen = [(r, c) for r, c in enumerate(partner) if c >= 0]
    assert sorted(chosen) == sorted((r, c) for c, r in enumerate(owner) if r >= 0)
    assert (u <= 0).all()
    assert (v <= 0).all()
    assert not u[partner < 0].any()
    assert not v[owner < 0].any()
    slack = np.where(weights > 0, weights + u[:, None] + v[None], 0)
    assert (slack <= 0).all()
    assert all(slack[r, c] == 0 and weights[r, c] > 0 for r, c in chosen)


@settings(max_examples=300)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3)).flatmap(
        lambda s: arrays(np.int64, s[:2], elements=st.integers(0, s[2]))
    )
)
def test_the_first_of_all_best_matchings_is_found(weights) -> None:
    matching = solve(weights)
    assert matching[0].tolist() == best_by_brute_force(weights)
    assert_is_a_certified_optimum(weights, matching)


@pytest.mark.parametrize("top", [1, 3, 2**40])
@pytest.mark.parametrize("part", [0.02, 0.3])
def test_sums_are_those_of_scipy(top, part) -> None:
    generator = np.random.default_rng(top)
    weights = generator.integers(0, top, (70, 90), endpoint=True)
    weights *= generator.random(weights.shape) < part
    matching = solve(weights)
    assert_is_a_certified_optimum(weights, matching)
    partner = matching[0]
    rows = np.flatnonzero(partner >= 0)
    best = linear_sum_assignment(weights, maximize=True)
    assert weights[rows, partner[rows]].sum() == weights[best].sum()


def test_a_long_chain_of_equal_pairs_is_served_from_its_first_row() -> None:
    n = 501
    weights = np.eye(n, n + 1, dtype=np.int64) + np.eye(n, n + 1, 1, dtype=np.int64)
    assert solve(weights)[0].tolist() == list(range(n))
    assert solve(weights[:, ::-1])[0].tolist() == list(range(n - 1, -1, -1))


def test_a_row_moves_on_for_a_greater_sum_and_another_stays_alone() -> None:
    weights = np.array([[8, 7, 0], [7, 0, 0], [0, 3, 0]])
    assert solve(weights)[0].tolist() == [1, 0, -1]


def test_nothing_matches_without_edges() -> None:
    partner, owner, _, _ = solve(np.zeros((2, 3), np.int64))
    assert partner.tolist() == [-1, -1]
    assert owner.tolist() == [-1, -1, -1]
