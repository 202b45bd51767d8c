"""Coarser copies of an array: means of intensities, nearest neighbours of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import PyramidPart
from volproc.core.types import Shape
from volproc.io.formats import Kind

SMALLEST = 64
"""An axis of at most this many voxels is not halved any more."""

COARSEST = 128
"""Levels are added until no axis is longer than this."""

_BLOCK_VOXELS = 2**22


@dataclass(frozen=True, slots=True)
class PyramidLevel:
    """Size and place of one level."""

    shape: Shape
    """Voxels, (z, y, x) or (y, x)."""

    factors: tuple[int, ...]
    """Voxels of level 0 per voxel of this one, an axis."""

    voxel_size: tuple[float, ...]
    """Å."""

    origin: tuple[float, ...]
    """Position of the centre of the first voxel, Å."""


def plan_levels(
    shape: Shape, voxel_size: tuple[float, ...], origin: tuple[float, ...], kind: Kind
) -> list[PyramidLevel]:
    """Choose the levels of a pyramid.

    Each level halves the axes that are longer than 64 voxels, until none is longer than 128. An
    axis with voxels twice as large as the smallest ones waits until the others have caught up.

    Parameters
    ----------
    shape : tuple of int
        Level 0, voxels.
    voxel_size, origin : tuple of float
        Level 0, Å.
    kind : {"intensity", "labels"}
        A mean lies between the voxels that it is made of, half a (coarse) voxel minus half a
        (fine) one further on; a nearest neighbour lies where it was.

    Returns
    -------
    levels : list of PyramidLevel
        Level 0 first. A size that is odd is rounded up: no voxel is lost.

    Examples
    --------
    >>> [level.shape for level in plan_levels((65, 300, 301), (10.0,) * 3, (0.0,) * 3, "labels")]
    [(65, 300, 301), (33, 150, 151), (33, 75, 76)]
    """
    levels = [PyramidLevel(shape, (1,) * len(shape), voxel_size, origin)]
    while max(levels[-1].shape) > COARSEST:
        last = levels[-1]
        long = [a for a, n in enumerate(last.shape) if n > SMALLEST]
        finest = min(last.voxel_size[a] for a in long)
        steps = tuple(
            2 if a in long and last.voxel_size[a] < 1.99 * finest else 1 for a in range(len(shape))
        )
        factors = tuple(f * s for f, s in zip(last.factors, steps, strict=True))
        size = tuple(v * f for v, f in zip(voxel_size, factors, strict=True))
        shift = [0.0 if kind == "labels" else (f - 1) / 2 for f in factors]
        levels.append(
            PyramidLevel(
                tuple(-(-n // s) for n, s in zip(last.shape, steps, strict=True)),
                factors,
                size,
                tuple(o + v * s for o, v, s in zip(origin, voxel_size, shift, strict=True)),
            )
        )
    return levels


def shrink(block: npt.NDArray[Any], steps: Shape, kind: Kind) -> npt.NDArray[Any]:
    """Make a block coarser along some axes.

    Parameters
    ----------
    block : ndarray
        Voxels; it begins at an even position along each halved axis.
    steps : tuple of int
        1 or 2 an axis: 2 halves it. An odd axis ends in a mean over what is there.
    kind : {"intensity", "labels"}
        Mean, or the first voxel of each group.

    Returns
    -------
    coarse : ndarray
        Of the same type; integers are rounded to the nearest (halves to even).

    Examples
    --------
    >>> shrink(np.array([[1, 3, 8]]), (1, 2), "intensity")
    array([[2, 8]])
    >>> shrink(np.array([[1, 3, 8]]), (1, 2), "labels")
    array([[1, 8]])
    """
    if kind == "labels" or block.dtype == bool:
        return block[tuple(slice(None, None, s) for s in steps)].copy()
    sums = block.astype(np.float64 if block.dtype.itemsize > 4 else np.float32)
    if block.dtype.kind in "iu" and block.dtype.itemsize > 2:
        sums = block.astype(np.float64)  # float32 has 24 bits
    for axis, step in enumerate(steps):
        if step == 2:
            sums = _halve(sums, axis)
    return (
        np.rint(sums).astype(block.dtype) if block.dtype.kind in "iu" else sums.astype(block.dtype)
    )


def _halve(array: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    moved = np.moveaxis(array, axis, 0)
    half = moved[::2] * moved.dtype.type(0.5)
    pairs = moved[1::2] * moved.dtype.type(0.5)
    half[: len(pairs)] += pairs
    if len(half) > len(pairs):
        half[-1] = moved[-1]
    return np.moveaxis(half, 0, axis)


@dataclass(frozen=True)
class LevelParts(Sequence[PyramidPart]):
    """One level cut into parts that are made by themselves, of some 500,000 voxels.

    Parameters
    ----------
    fine, coarse : PyramidLevel
        The level below, and the one that is made from it. The parts tile both.
    chunks : tuple of int
        Storage chunks of the coarser level; parts are multiples of them.

    Notes
    -----
    A part is made when it is asked for: memory does not grow with their number.
    """

    fine: PyramidLevel
    coarse: PyramidLevel
    chunks: Shape

    @cached_property
    def sizes(self) -> Shape:
        """Voxels of a part: several chunks along x."""
        sizes = list(self.chunks)
        while sizes[-1] < self.coarse.shape[-1] and 2 * prod(sizes) <= _BLOCK_VOXELS // 8:
            sizes[-1] *= 2
        return tuple(sizes)

    @cached_property
    def counts(self) -> Shape:
        """Number of parts along each axis."""
        return tuple(-(-n // size) for n, size in zip(self.coarse.shape, self.sizes, strict=True))

    def __len__(self) -> int:
        return prod(self.counts)

    @overload
    def __getitem__(self, place: int) -> PyramidPart: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[PyramidPart, ...]: ...
    def __getitem__(self, place: int | slice) -> PyramidPart | tuple[PyramidPart, ...]:
        if isinstance(place, slice):
            return tuple(self[number] for number in range(*place.indices(len(self))))
        number = range(len(self))[place]
        starts = []
        for count, size in zip(reversed(self.counts), reversed(self.sizes), strict=True):
            number, along = divmod(number, count)
            starts.append(along * size)
        region = tuple(
            slice(start, min(start + size, n))
            for start, size, n in zip(reversed(starts), self.sizes, self.coarse.shape, strict=True)
        )
        steps = level_steps(self.fine, self.coarse)
        source = tuple(
            slice(r.start * s, min(r.stop * s, n))
            for r, s, n in zip(region, steps, self.fine.shape, strict=True)
        )
        return PyramidPart(region, source)


def level_steps(fine: PyramidLevel, coarse: PyramidLevel) -> Shape:
    """Voxels of the finer level per voxel of the coarser one: 1 or 2 an axis."""
    return tuple(c // f for c, f in zip(coarse.factors, fine.factors, strict=True))
