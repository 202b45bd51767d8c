"""Layers slab by slab: each plane is computed once, from what is kept of the ones before it."""

from __future__ import annotations

from collections import Counter
from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from volproc.core.types import Region, Shape, region_shape
from volproc.models.streaming import (
    Convolution,
    Flow,
    Interpolation,
    Layer,
    Place,
    Pooling,
    Same,
    Stream,
    between,
    demand,
    sizes_along,
)

FLOW: Flow = (
    Layer((), 1),
    Layer(((0, Convolution(3, 1, 1, 2)),), 2),
    Layer(((1, Pooling()),), 2),
    Layer(((2, Convolution(3, 2, 2, 2)),), 2),
    Layer(((2, Convolution(1, 1, 2, 3)), (3, Interpolation(2))), 3),
    Layer(((4, Interpolation(0)),), 3),
    Layer(((5, Same()), (1, Same())), 5, is_joined=True),
)
"""Two levels, of which one is interpolated twice, and a connection that waits for them."""


class Ranges:
    """Slabs that know which planes of which channels they are, instead of having voxels."""

    def __init__(self) -> None:
        self.computed: Counter[tuple[int, int]] = Counter()
        self.read_planes: Counter[int] = Counter()
        self.pieces = 0

    def read(self, region: Region) -> Shape:
        self.read_planes.update(range(region[0].start, region[0].stop))
        return region_shape(region)

    def cut(self, piece: Shape, region: Region, *, is_copied: bool) -> Shape:
        self.pieces += is_copied
        sides = tuple(range(*s.indices(n)) for s, n in zip(region, piece, strict=True))
        assert all(sides)
        return tuple(map(len, sides))

    def join(self, pieces: list[Shape], before: Shape, after: Shape) -> Shape:
        assert len({piece[1:] for piece in pieces}) == 1
        depth = sum(piece[0] for piece in pieces)
        inner = (depth, *pieces[0][1:])
        return tuple(b + n + a for b, n, a in zip(before, inner, after, strict=True))

    def compute(self, layer: Layer, inputs: list[Shape], places: list[list[Place]]) -> Shape:
        wanted = [place.wanted for place in places[0]]
        for (_, term), given, at in zip(layer.terms, inputs, places, strict=True):
            seen = [term.sees(p.wanted, p.given, p.size) for p in at]
            assert given == tuple(high - low for low, high in seen)  # each term gets what it sees
            assert [low for low, _ in seen] == [p.begin for p in at]
        self.computed.update((id(layer), plane) for plane in range(*wanted[0]))
        return tuple(high - low for low, high in wanted)


@pytest.mark.parametrize("slab", [1, 3, 8])
@pytest.mark.parametrize("keep", [(slice(0, 61), slice(0, 5), slice(0, 33)),
                                  (slice(17, 18), slice(2, 4), slice(30, 33))])  # fmt: skip
def test_every_plane_is_read_and_computed_once(slab: int, keep: Region) -> None:
    shape, arrays = (61, 5, 33), Ranges()
    stream = Stream(FLOW, shape, keep, arrays, slab=slab)
    planes = []
    for (begin, end), piece in stream:
        assert piece == (end - begin, *region_shape(keep)[1:])
        assert end - begin <= slab
        planes += range(begin, end)
    assert planes == list(range(keep[0].start, keep[0].stop))
    assert set(arrays.computed.values()) == set(arrays.read_planes.values()) == {1}
    wanted = demand(FLOW, sizes_along(FLOW, 61), (keep[0].start, keep[0].stop))
    assert len(arrays.read_planes) == wanted[0][1] - wanted[0][0]
    assert len(arrays.computed) == sum(high - low for low, high in wanted[1:])


def test_a_connection_keeps_no_more_than_it_wants() -> None:
    small = (slice(20, 24), slice(20, 24), slice(20, 24))
    arrays = Ranges()
    list(Stream(FLOW, (61, 61, 61), small, arrays, slab=8))
    assert arrays.pieces > 0
    arrays = Ranges()
    list(Stream(FLOW, (61, 61, 61), (slice(0, 61),) * 3, arrays, slab=8))
    assert arrays.pieces == 0


@pytest.mark.parametrize(("given", "size"), [(1, 1), (1, 2), (3, 5), (7, 13), (8, 16), (9, 9)])
def test_interpolation_is_pytorchs(given: int, size: int) -> None:
    values = torch.from_numpy(np.random.default_rng(0).random(given, np.float32))
    due = functional.interpolate(values[None, None], size=size, mode="linear")[0, 0]
    low, high, part = between((0, size), given, size)
    mixed = torch.lerp(values[low], values[high], torch.from_numpy(part))
    torch.testing.assert_close(mixed, due, rtol=0, atol=1e-6)
    assert [list(map(float, found)) for found in between((size - 1, size), given, size)] == [
        [float(found[-1])] for found in (low, high, part)
    ]


def test_sizes_are_those_of_strides() -> None:
    assert sizes_along(FLOW, 61) == (61, 61, 31, 16, 31, 61, 61)
    assert prod(sizes_along(FLOW, 1)) == 1


def test_outputs_depend_on_no_voxel_that_is_not_read() -> None:
    """Against brute force: a chain of dense matrices, one a layer."""
    length = 23
    sizes = sizes_along(FLOW, length)
    depends: list[Any] = [np.eye(length, dtype=bool)]
    for number, layer in enumerate(FLOW[1:], 1):
        rows = np.zeros((sizes[number], length), bool)
        for source, term in layer.terms:
            for voxel in range(sizes[number]):
                low, high = term.sees((voxel, voxel + 1), sizes[source], sizes[number])
                rows[voxel] |= depends[source][max(0, low) : high].any(0)
        depends.append(rows)
    for keep in ((0, 1), (5, 9), (22, 23), (0, 23)):
        first, stop = demand(FLOW, sizes, keep)[0]
        seen = np.flatnonzero(depends[-1][slice(*keep)].any(0))
        assert (first, stop) == (seen[0], seen[-1] + 1)
