"""A network of convolutions on a region of a volume, a slab of planes after the other.

Each layer computes each of its planes once, as soon as the planes that it sees are there, and keeps
them until the last layer that wants them is through::

    volume   ═══════════════▷           each arrow is a front that moves along z;
    layer 1     ▒▒▒▒═════════▷          ▒ is what is kept: few planes for a convolution,
    layer 2   ▒▒▒▒▒▒▒▒════▷             more for a connection that waits for coarser levels
    outputs  ══▷

Along y and x a layer computes what the outputs want of it. Where a layer sees beyond the volume it
sees zeros, as a network that takes the whole volume does; so the outputs are those of the whole
volume. This file knows the order of things and no tensors; see `volproc.models.streaming_tensors`
and `volproc.models.streaming_memory` for both kinds of arrays that it runs on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from torch import nn

from volproc.core.types import Region, Shape

Interval = tuple[int, int]
"""First voxel along an axis, and the one after the last."""

READ_PLANES = 32
"""Planes of the volume that are read at once: storage chunks have as many, or some times that."""

MOST_SPARE = 0.8
"""A connection that wants less than this part of a plane gets a copy, so that the rest can go."""


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """A convolution with an odd kernel and zeros around what it takes, half a kernel a side."""

    kernel: int
    """Side of the kernel, voxels."""

    stride: int
    """Voxels of the input a voxel of the output."""

    inputs: int
    """Channels in."""

    outputs: int
    """Channels out."""

    layer: nn.Module | None = None
    """What computes it, without any zeros around; None where only a plan is made."""

    def sees(self, wanted: Interval, given: int, size: int) -> Interval:
        """Voxels of the input that some of the output depend on; they may lie beyond its ends."""
        del given, size
        reach = self.kernel // 2
        return wanted[0] * self.stride - reach, (wanted[1] - 1) * self.stride + reach + 1


@dataclass(frozen=True, slots=True)
class Pooling:
    """Largest of 3×3×3 voxels that are not negative, every other one."""

    kernel: int = 3
    stride: int = 2

    def sees(self, wanted: Interval, given: int, size: int) -> Interval:
        """Voxels of the input that some of the output depend on; they may lie beyond its ends."""
        del given, size
        return wanted[0] * 2 - 1, (wanted[1] - 1) * 2 + 2


@dataclass(frozen=True, slots=True)
class Same:
    """What is given, unchanged."""

    def sees(self, wanted: Interval, given: int, size: int) -> Interval:
        """Voxels of the input that some of the output depend on."""
        del given, size
        return wanted


@dataclass(frozen=True, slots=True)
class Interpolation:
    """Linear interpolation to the size of another layer."""

    like: int
    """Number of that layer."""

    def sees(self, wanted: Interval, given: int, size: int) -> Interval:
        """Voxels of the input that some of the output depend on."""
        low, high, _ = between(wanted, given, size)
        return int(low[0]), int(high[-1]) + 1


Term = Convolution | Pooling | Same | Interpolation


@dataclass(frozen=True, slots=True)
class Layer:
    """The sum of some terms, or their channels one after the other."""

    terms: tuple[tuple[int, Term], ...]
    """Number of the layer that each takes, and what it does with it; none for the volume."""

    channels: int
    """Channels out."""

    is_rectified: bool = False
    """Whether what is negative becomes zero."""

    is_joined: bool = False
    """Whether channels follow each other, instead of being added."""

    @property
    def multiply_adds(self) -> int:
        """Multiplications of its convolutions, a voxel of its output."""
        found = (term for _, term in self.terms if isinstance(term, Convolution))
        return sum(term.kernel**3 * term.inputs * term.outputs for term in found)


Flow = tuple[Layer, ...]
"""Layers, each after those that it takes: the volume is the first, the outputs are the last."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a term works along one axis."""

    wanted: Interval
    """Voxels of its output."""

    begin: int
    """First voxel of its input that is at hand."""

    given: int
    """Size of its input, in the whole volume."""

    size: int
    """Size of its output, in the whole volume."""


Piece = TypeVar("Piece")
"""A slab of a layer, (z, y, x, c)."""


class Arrays(Protocol[Piece]):
    """What slabs are made of."""

    def read(self, region: Region) -> Piece:
        """Read a region of the volume."""
        ...

    def cut(self, piece: Piece, region: Region, *, is_copied: bool) -> Piece:
        """Take a part of a slab, as a view or as a copy."""
        ...

    def join(self, pieces: list[Piece], before: Shape, after: Shape) -> Piece:
        """Put slabs together along z, with zeros before and after them along each axis."""
        ...

    def compute(self, layer: Layer, inputs: list[Piece], places: list[list[Place]]) -> Piece:
        """Compute a slab of a layer from what each of its terms sees."""
        ...


@dataclass(slots=True)
class _Edge(Generic[Piece]):
    """What a term still wants of the layer that it takes."""

    source: int
    layer: int
    term: Term
    wanted: list[Interval] = field(default_factory=list)
    """Voxels that it wants along each axis, all together."""

    pieces: deque[tuple[int, int, Piece]] = field(default_factory=deque)
    """First plane, the one after the last, and the slab."""


class Stream(Generic[Piece]):
    """Computes a region of a network's outputs, slab by slab.

    Parameters
    ----------
    flow : tuple of Layer
        The network.
    shape : tuple of int
        Size of the whole volume, (z, y, x), voxels.
    keep : region
        Which outputs are wanted.
    arrays : Arrays
        What slabs are made of.
    slab : int
        Planes that are computed at once; of coarser levels fewer, in proportion.

    Notes
    -----
    Iterating gives first and end of planes, with the outputs (z, y, x, c) of ``keep`` along y and
    x. It can be done once.
    """

    def __init__(
        self, flow: Flow, shape: Shape, keep: Region, arrays: Arrays[Piece], *, slab: int
    ) -> None:
        self._flow, self._arrays = flow, arrays
        self._sizes = [sizes_along(flow, length) for length in shape]
        sides = [(side.start, side.stop) for side in keep]
        self._wanted = [demand(flow, *both) for both in zip(self._sizes, sides, strict=True)]
        self._done = [begin for begin, _ in self._wanted[0]]
        self._steps = [max(1, round(slab * size / shape[0])) for size in self._sizes[0]]
        self._taken: list[list[_Edge[Piece]]] = [[] for _ in flow]
        self._given: list[list[_Edge[Piece]]] = [[] for _ in flow]
        for number, layer in enumerate(flow):
            for source, term in layer.terms:
                edge: _Edge[Piece] = _Edge(source, number, term)
                own = [self._wanted[axis][number] for axis in range(3)]
                edge.wanted = self._inside(edge, self._sees(edge, own))
                self._taken[number].append(edge)
                self._given[source].append(edge)

    def __iter__(self) -> Iterator[tuple[Interval, Piece]]:
        last = len(self._flow) - 1
        _, stop = self._wanted[0][last]
        while (begin := self._done[last]) < stop:
            self._done[last] = min(stop, begin + self._steps[last])
            yield (begin, self._done[last]), self._make(last, (begin, self._done[last]))

    def _sees(self, edge: _Edge[Piece], wanted: Sequence[Interval]) -> list[Interval]:
        """Voxels of its input that a term depends on; they may lie beyond its ends."""
        return [
            edge.term.sees(side, sizes[edge.source], sizes[edge.layer])
            for side, sizes in zip(wanted, self._sizes, strict=False)
        ]

    def _inside(self, edge: _Edge[Piece], seen: Sequence[Interval]) -> list[Interval]:
        ends = [sizes[edge.source] for sizes in self._sizes]
        return [(max(0, a), min(end, b)) for (a, b), end in zip(seen, ends, strict=False)]

    def _advance(self, number: int, stop: int) -> None:
        """Compute a layer up to a plane, and hand it to those that want it."""
        while (begin := self._done[number]) < stop:
            end = min(stop, begin + self._steps[number])
            if number == 0:  # whole storage chunks, as far as anybody wants them
                end = max(end, -(-end // READ_PLANES) * READ_PLANES)
                end = min(end, self._wanted[0][0][1])
            piece = self._make(number, (begin, end))
            self._done[number] = end
            for edge in self._given[number]:
                self._hand(edge, piece, (begin, end))

    def _hand(self, edge: _Edge[Piece], piece: Piece, planes: Interval) -> None:
        """Keep what a term wants of a slab."""
        own = [planes, *(sides[edge.source] for sides in self._wanted[1:])]
        wanted = [(max(planes[0], edge.wanted[0][0]), planes[1]), *edge.wanted[1:]]
        if wanted[0][0] >= planes[1]:
            return
        cut = tuple(slice(a - o, b - o) for (a, b), (o, _) in zip(wanted, own, strict=True))
        part = prod((b - a) / (p - o) for (a, b), (o, p) in zip(wanted, own, strict=True))
        if part < 1:
            piece = self._arrays.cut(piece, cut, is_copied=part < MOST_SPARE)
        edge.pieces.append((wanted[0][0], planes[1], piece))

    def _make(self, number: int, planes: Interval) -> Piece:
        """Compute some planes of a layer, after those that they depend on."""
        layer = self._flow[number]
        wanted = [planes, *(sides[number] for sides in self._wanted[1:])]
        if not layer.terms:
            return self._arrays.read(tuple(slice(*side) for side in wanted))
        edges = self._taken[number]
        for edge in edges:  # all of them first: nothing of this layer waits in memory meanwhile
            ((_, stop),) = self._inside(edge, self._sees(edge, wanted[:1]))
            self._advance(edge.source, stop)
        inputs = [self._take(edge, wanted) for edge in edges]
        places = [
            [
                Place(side, begin, sizes[edge.source], sizes[number])
                for side, (begin, _), sizes in zip(
                    wanted, self._sees(edge, wanted), self._sizes, strict=True
                )
            ]
            for edge in edges
        ]
        return self._arrays.compute(layer, inputs, places)

    def _take(self, edge: _Edge[Piece], wanted: Sequence[Interval]) -> Piece:
        """What a term sees, with zeros beyond the volume; what no later plane sees is dropped."""
        seen = self._sees(edge, wanted)
        inside = self._inside(edge, seen)
        low, high = inside[0]
        parts = []
        for first, stop, piece in edge.pieces:
            a, b = max(low, first), min(high, stop)
            if a < b:
                planes = (slice(a - first, b - first), slice(None), slice(None))
                is_all = (a, b) == (first, stop)
                parts.append(piece if is_all else self._arrays.cut(piece, planes, is_copied=False))
        before = tuple(i - s for (s, _), (i, _) in zip(seen, inside, strict=True))
        after = tuple(s - i for (_, s), (_, i) in zip(seen, inside, strict=True))
        joined = self._arrays.join(parts, before, after)
        end = wanted[0][1]
        if end == self._wanted[0][edge.layer][1]:
            edge.pieces.clear()
        else:
            (following,) = self._sees(edge, [(end, end + 1)])
            while edge.pieces and edge.pieces[0][1] <= following[0]:
                edge.pieces.popleft()
        return joined


def sizes_along(flow: Flow, length: int) -> tuple[int, ...]:
    """Size of each layer along an axis of a volume, voxels."""
    sizes = [length]
    for layer in flow[1:]:
        source, term = layer.terms[0]
        if isinstance(term, Interpolation):
            sizes.append(sizes[term.like])
        elif isinstance(term, Same):
            sizes.append(sizes[source])
        else:
            sizes.append((sizes[source] - 1) // term.stride + 1)
    return tuple(sizes)


def demand(flow: Flow, sizes: Sequence[int], keep: Interval) -> tuple[Interval, ...]:
    """Voxels of each layer along an axis that some outputs depend on.

    Parameters
    ----------
    flow : tuple of Layer
        The network.
    sizes : sequence of int
        From `sizes_along`.
    keep : tuple of int
        First of the outputs, and the one after the last.
    """
    wanted = [(size, 0) for size in sizes[:-1]] + [keep]
    for number in range(len(flow) - 1, 0, -1):
        for source, term in flow[number].terms:
            low, high = term.sees(wanted[number], sizes[source], sizes[number])
            first, stop = wanted[source]
            wanted[source] = min(first, max(0, low)), max(stop, min(sizes[source], high))
    return tuple(wanted)


def between(
    wanted: Interval, given: int, size: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Say between which voxels those of a linear interpolation lie.

    Parameters
    ----------
    wanted : tuple of int
        Voxels of the output.
    given, size : int
        Of the input and of the output, voxels; both begin and end at the same places.

    Returns
    -------
    low, high : ndarray of int64
        Voxels of the input beside each of the output.
    part : ndarray of float32
        How much of the way from one to the other, in [0, 1). Rounded as PyTorch rounds it.

    Examples
    --------
    >>> [list(map(float, found)) for found in between((0, 4), 2, 4)]
    [[0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.25, 0.75, 0.25]]
    """
    step = np.float32(given) / np.float32(size)
    at = step * (np.arange(*wanted, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    at = np.maximum(at, np.float32(0))
    low = np.minimum(at.astype(np.int64), given - 1)
    return low, np.minimum(low + 1, given - 1), at - low.astype(np.float32)
