"""Holes: what one object alone keeps from the outside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import DtypeError, ShapeError
from volproc.reduce.hole_kernels import find_owners
from volproc.reduce.holes import face_regions, find_regions, unique_pairs


def ways(edges: list[tuple[int, int]], start: int, closed: set[int]) -> set[int]:
    """Nodes that ways from one node lead to, if some are taken away."""
    found, todo = {start}, [start]
    while todo:
        node = todo.pop()
        for pair in edges:
            other = sum(pair) - node
            if node in pair and not closed & {*pair} and other not in found:
                found.add(other)
                todo.append(other)
    return found


@given(st.integers(0, 9999), st.integers(2, 14), st.integers(1, 30), st.integers(1, 6))
def test_owners_are_those_without_which_a_region_is_not_reached(
    seed, num_nodes, num_edges, num_colours
) -> None:
    rng = np.random.default_rng(seed)
    colours = np.concatenate([[-1], rng.integers(-1, num_colours, num_nodes - 1)])
    voxels = rng.integers(1, 9, num_nodes)
    edges = unique_pairs([rng.integers(0, num_nodes, (num_edges, 2))])
    edges = edges[(colours[edges[:, 0]] != colours[edges[:, 1]]) | (edges.min(1) == 0)]
    edges = edges[edges[:, 0] != edges[:, 1]]
    owners = find_owners(edges, colours, num_colours, voxels)
    pairs = [*map(tuple, edges.tolist())]
    for node in sorted(ways(pairs, 0, set())):
        cuts = []
        for colour in range(num_colours):
            closed = set(np.flatnonzero(colours == colour).tolist())
            if node not in closed and node not in ways(pairs, 0, closed):
                cuts.append((voxels[[*ways(pairs, node, closed)]].sum(), colour))
        if colours[node] < 0:
            assert owners[node] == (min(cuts)[1] if cuts else -1)
        else:
            assert owners[node] == -1


def test_gaps_within_a_block_are_settled_there() -> None:
    labels = np.ones((5, 5, 5), int)
    labels[2, 2, 2] = 0
    _, regions = find_regions(labels, offset=(10, 10, 10), shape=(99, 99, 99))
    assert sorted(regions.owners.tolist()) == [0, 1]
    assert regions.voxels.max() == 125
    assert len(regions.contacts) == 0
    labels[2, 2, 3] = 4  # beside two objects: the whole volume decides
    _, regions = find_regions(labels, offset=(10, 10, 10), shape=(99, 99, 99))
    assert not regions.owners.any()
    assert len(regions.contacts) == 3
    assert len(regions.outside) == 0


def test_regions_are_pieces_named_by_their_first_voxels_in_the_volume() -> None:
    labels = np.array([[0, 7, 0, 7]])
    numbers, regions = find_regions(labels, offset=(1, 2), shape=(3, 9))
    assert regions.names[numbers - 1].tolist() == [[11, 12, 13, 14]]
    assert regions.labels[numbers - 1].tolist() == [[0, 7, 0, 7]]
    _, regions = find_regions(labels, offset=(2, 0), shape=(3, 9))
    assert sorted(regions.outside.tolist()) == [18, 19, 20, 21]


def test_facing_planes_link_what_is_equal() -> None:
    _, one = find_regions(np.array([[5, 5, 0]]), offset=(0, 0), shape=(2, 3))
    _, other = find_regions(np.array([[5, 0, 0]]), offset=(1, 0), shape=(2, 3))
    planes = np.array([1, 1, 2], np.uint32), np.array([1, 2, 2], np.uint32)
    links, contacts = face_regions(planes[0], one, planes[1], other)
    assert links.tolist() == [[0, 3], [2, 4]]
    assert contacts.tolist() == [[0, 4]]
    assert unique_pairs([contacts, contacts[:, ::-1]]).tolist() == [[0, 4]]
    with pytest.raises(ShapeError, match="facing planes"):
        face_regions(planes[0], one, planes[1][:1], other)


def test_labels_that_are_too_large_are_refused() -> None:
    with pytest.raises(DtypeError, match="labels reach up to"):
        find_regions(np.full((1, 2), 2**63, np.uint64), offset=(0, 0), shape=(1, 2))
