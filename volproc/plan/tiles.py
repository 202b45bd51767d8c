"""Tiles of a volume that need no other tile: where each is read, and what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil, prod
from typing import NamedTuple, Protocol

from volproc.core.errors import ShapeError
from volproc.core.types import Index, Region, Shape


class Tile(NamedTuple):
    """One pass through a network."""

    read: Region
    """What the network sees; it may reach beyond the end of the volume."""

    keep: Region
    """What is kept; no voxel is kept by two tiles."""


class Tiles(Protocol):
    """All tiles of a volume."""

    @property
    def shape(self) -> Shape:
        """Size of the volume."""
        ...

    @property
    def full(self) -> Shape:
        """Size of the volume with what is added at its ends."""
        ...

    @property
    def numblocks(self) -> Index:
        """Tiles along each axis."""
        ...

    def __getitem__(self, index: Index) -> Tile:
        """Tile at an index, (z, y, x)."""
        ...


@dataclass(frozen=True, slots=True)
class HaloTiles:
    """Cores beside each other, each read with a halo that ends at the borders of the volume.

    Parameters
    ----------
    shape : tuple of int
        Size of the volume, (z, y, x), voxels.
    core : tuple of int
        Size of what is kept of a tile, a multiple of ``step``.
    halo : int
        Voxels on each side, a multiple of ``step``.
    step : int
        What the places of all cuts are multiples of: the total stride of the network.
    slab : int
        Planes of a tile that are computed at once.

    Raises
    ------
    ShapeError
        If core or halo do not fit the step, or a slab has no plane.

    Examples
    --------
    >>> tiles = HaloTiles((20, 64), (16, 32), 8, 4)
    >>> tiles.full, tiles.numblocks
    ((20, 64), (2, 2))
    >>> tiles[1, 0]
    Tile(read=(slice(8, 20, None), slice(0, 40, None)), keep=(slice(16, 20, None), slice(0, 32, None)))
    """  # noqa: E501

    shape: Shape
    core: Shape
    halo: int
    step: int
    slab: int = 4

    def __post_init__(self) -> None:
        _check_shape(self.shape)
        wrong = [c for c in self.core if c < self.step or c % self.step]
        if wrong or len(self.core) != len(self.shape) or self.halo < 0 or self.halo % self.step:
            msg = (
                f"a tile keeps {self.core} voxels with a halo of {self.halo}; both are multiples "
                f"of {self.step}, one core size an axis. Round them up."
            )
            raise ShapeError(msg)
        if self.slab < 1:
            msg = f"some planes are computed at once, got a slab of {self.slab}. Use 8."
            raise ShapeError(msg)

    @property
    def full(self) -> Shape:
        """Size of the volume: nothing is added."""
        return self.shape

    @property
    def numblocks(self) -> Index:
        """Tiles along each axis."""
        return tuple(ceil(n / c) for n, c in zip(self.shape, self.core, strict=True))

    def __getitem__(self, index: Index) -> Tile:
        """Tile at an index, (z, y, x)."""
        read, keep = [], []
        for number, core, size in zip(index, self.core, self.shape, strict=True):
            begin = number * core
            keep.append(slice(begin, min(size, begin + core)))
            read.append(slice(max(0, begin - self.halo), min(size, begin + core + self.halo)))
        return Tile(tuple(read), tuple(keep))


@dataclass(frozen=True, slots=True)
class QuarterTiles:
    """Patches that overlap by half, of which the middle half is kept, and more at the borders.

    Parameters
    ----------
    shape : tuple of int
        Size of the volume, (z, y, x), voxels.
    patch : tuple of int
        Size of a patch, multiples of 4. A volume that is smaller is continued to it.

    Raises
    ------
    ShapeError
        If a side of the patch is no multiple of 4.

    Notes
    -----
    A patch that would begin in the last quarter of a patch before the end adds nothing, and is
    not there. The others reach beyond the end by up to half a patch.

    Examples
    --------
    >>> tiles = QuarterTiles((20,), (8,))
    >>> [(t.read[0].start, t.keep[0].start, t.keep[0].stop) for t in map(tiles.__getitem__,
    ...     [(0,), (1,), (2,), (3,), (4,)])]
    [(0, 0, 6), (4, 6, 10), (8, 10, 14), (12, 14, 18), (16, 18, 20)]
    >>> tiles.numblocks, QuarterTiles((18,), (8,)).numblocks
    ((5,), (4,))
    """

    shape: Shape
    patch: Shape

    def __post_init__(self) -> None:
        _check_shape(self.shape)
        if len(self.patch) != len(self.shape) or any(p < 4 or p % 4 for p in self.patch):
            msg = (
                f"patches of {self.patch} cannot be cut into quarters. They need sides that are "
                "multiples of 4; use the default mode with this model."
            )
            raise ShapeError(msg)

    @property
    def full(self) -> Shape:
        """Size of the volume, continued to a patch where it is smaller."""
        return tuple(map(max, self.shape, self.patch))

    @property
    def numblocks(self) -> Index:
        """Patches along each axis that keep something."""
        # Patch n begins at n / 2 patches, and what it keeps a quarter later.
        return tuple(
            max(1, ceil((n - p // 4) / (p // 2)))
            for n, p in zip(self.shape, self.patch, strict=True)
        )

    def __getitem__(self, index: Index) -> Tile:
        """Tile at an index, (z, y, x)."""
        read, keep = [], []
        counts = self.numblocks
        for number, count, patch, size in zip(index, counts, self.patch, self.shape, strict=True):
            start = number * (patch // 2)
            read.append(slice(start, start + patch))
            begin = 0 if number == 0 else start + patch // 4
            keep.append(slice(begin, size if number == count - 1 else start + patch // 4 * 3))
        return Tile(tuple(read), tuple(keep))


def iterate_tiles(tiles: Tiles) -> Iterator[Index]:
    """Indices of all tiles, in raster order.

    >>> list(iterate_tiles(QuarterTiles((8, 8), (8, 4))))
    [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]
    """
    yield from product(*map(range, tiles.numblocks))


def network_work(tiles: Tiles) -> float:
    """Voxels that pass through the network, over those of the volume.

    Counts whole patches, also of tiles that compute less of each layer than they see.

    >>> network_work(HaloTiles((64, 64), (32, 64), 16, 8))
    1.5
    """
    passed = 1
    for axis, count in enumerate(tiles.numblocks):
        own = [0] * len(tiles.shape)
        total = 0
        for number in range(count):
            own[axis] = number
            side = tiles[tuple(own)].read[axis]
            total += side.stop - side.start
        passed *= total
    return passed / prod(tiles.shape)


def _check_shape(shape: Shape) -> None:
    if not shape or min(shape) < 1:
        msg = f"there is nothing to cut in a volume of shape {shape}. Check the file."
        raise ShapeError(msg)


def even_core(size: int, most: int, step: int) -> int:
    """Side of cores that cut an axis evenly, no larger than a limit.

    >>> even_core(464, 208, 8), even_core(100, 208, 8)
    (160, 104)
    """
    count = ceil(size / most)
    return -(-ceil(size / count) // step) * step
