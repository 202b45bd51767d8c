"""Holes: what one object alone keeps from the outside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import DtypeError, ShapeError
from volproc.reduce.holes import find_holes, find_regions, merge_contacts, touching_names


def reached(edges: list[tuple[int, int]], start: int, without: int) -> set[int]:
    """Nodes that ways from one node lead to, if another is taken away."""
    found, todo = {start}, [start]
    while todo:
        node = todo.pop()
        for pair in edges:
            if node in pair and without not in pair:
                other = sum(pair) - node
                if other not in found:
                    found.add(other)
                    todo.append(other)
    return found


@given(st.integers(0, 999), st.integers(2, 14), st.integers(1, 30))
def test_owners_are_the_innermost_of_those_whose_removal_cuts_a_gap_off(
    seed, num_nodes, num_edges
) -> None:
    rng = np.random.default_rng(seed)
    names = np.where(rng.random(num_nodes) < 0.5, 1, -1) * np.arange(1, num_nodes + 1)
    pairs = names[rng.integers(0, num_nodes, (num_edges, 2))]
    pairs = merge_contacts([pairs[pairs[:, 0] != pairs[:, 1]]])
    outside = names[:1]
    holes, owners = find_holes(pairs, outside)
    found = dict(zip(holes.tolist(), owners.tolist(), strict=True))
    edges = [*map(tuple, pairs.tolist()), (0, int(outside[0]))]
    for gap in [n for n in reached(edges, 0, 99) if n < 0]:
        cuts = []
        for label in names[names > 0].tolist():
            if gap not in reached(edges, 0, label):
                cuts.append((len(reached(edges, gap, label)), label))
        assert found.get(gap) == (min(cuts)[1] if cuts else None)


def test_gaps_within_a_block_are_settled_there() -> None:
    labels = np.ones((5, 5, 5), int)
    labels[2, 2, 2] = 0
    _, regions = find_regions(labels, offset=(10, 10, 10), shape=(99, 99, 99))
    assert regions.owners.tolist() == [0, 1]
    assert len(regions.contacts) == 0
    labels[2, 2, 3] = 4  # beside two objects: the whole volume decides
    _, regions = find_regions(labels, offset=(10, 10, 10), shape=(99, 99, 99))
    assert not regions.owners.any()
    assert len(regions.contacts) == 3
    assert len(regions.outside) == 0


def test_background_is_named_by_its_first_voxel_in_the_volume() -> None:
    labels = np.array([[0, 7, 0]])
    numbers, regions = find_regions(labels, offset=(1, 2), shape=(3, 9))
    assert numbers.tolist() == [[2, 1, 3]]
    assert regions.names.tolist() == [7, -1 - 11, -1 - 13]
    _, regions = find_regions(labels, offset=(2, 0), shape=(3, 9))
    assert regions.outside.tolist() == [7, -1 - 18, -1 - 20]


def test_facing_planes_give_each_pair_of_names_once() -> None:
    lower, upper = np.array([1, 1, 2], np.uint32), np.array([1, 1, 1], np.uint32)
    pairs = touching_names(lower, np.array([5, -3]), upper, np.array([5]))
    assert pairs.tolist() == [[-3, 5]]
    assert merge_contacts([pairs, pairs[:, ::-1]]).tolist() == [[-3, 5]]


def test_what_cannot_be_named_is_refused() -> None:
    with pytest.raises(DtypeError, match="labels reach up to"):
        find_regions(np.full((1, 2), 2**63, np.uint64), offset=(0, 0), shape=(1, 2))
    one = np.ones(2, np.uint32)
    with pytest.raises(ShapeError, match="facing planes"):
        touching_names(one, np.array([5]), one[:1], np.array([5]))
