"""The one grid of patches that a volume has, however it is cut into blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

from volproc.core.errors import ShapeError
from volproc.core.types import Index, Region, Shape, axis_names
from volproc.plan.blocks import ChunkGrid


@dataclass(frozen=True, slots=True)
class PatchGrid:
    """Positions of patches over a whole volume.

    Along an axis of ``n`` voxels the patches start at 0, s, 2 s, … and the last one is moved
    back until it is flush with the edge, as in MONAI's sliding window. The patches depend on
    the volume alone, never on its chunks: that is why a prediction does not either.

    Parameters
    ----------
    shape : tuple of int
        Size of the volume, (z, y, x), in voxels.
    patch : tuple of int
        Size of a patch.
    overlap : float
        Part of a patch that it shares with the next one, in [0, 1).

    Raises
    ------
    ShapeError
        If the overlap is outside [0, 1), or a size is not positive.

    Notes
    -----
    Where a patch is larger than the volume along an axis, there is one patch, centred on the
    volume: it starts before 0 and hangs over both edges, as in MONAI; whoever reads it pads.

    Examples
    --------
    >>> grid = PatchGrid(shape=(10, 16, 21), patch=(8, 8, 8), overlap=0.5)
    >>> grid.starts
    ((0, 2), (0, 4, 8), (0, 4, 8, 12, 13))
    >>> len(grid)
    30
    """

    shape: Shape
    patch: Shape
    overlap: float = 0.25

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            msg = (
                f"overlap {self.overlap} is outside [0, 1): the patches would not advance. "
                "Use 0.25 or 0.5."
            )
            raise ShapeError(msg)
        if len(self.shape) != len(self.patch) or min(self.shape) < 1 or min(self.patch) < 1:
            msg = f"shape {self.shape} and patch {self.patch} need the same axes, all positive."
            raise ShapeError(msg)

    @property
    def stride(self) -> Shape:
        """Distance of neighbouring patches, in voxels."""
        return tuple(max(1, int(p * (1 - self.overlap))) for p in self.patch)

    @property
    def starts(self) -> tuple[tuple[int, ...], ...]:
        """First voxels of the patches along each axis, ascending."""
        return tuple(
            _starts(n, p, s) for n, p, s in zip(self.shape, self.patch, self.stride, strict=True)
        )

    @property
    def is_padded(self) -> bool:
        """Whether a patch hangs over the edge of the volume."""
        return any(p > n for n, p in zip(self.shape, self.patch, strict=True))

    @property
    def small_axes(self) -> str:
        """Letters of the axes along which the volume is smaller than a patch."""
        names = axis_names(len(self.shape))
        return "".join(a for a, n, p in zip(names, self.shape, self.patch, strict=True) if p > n)

    def __len__(self) -> int:
        return prod(map(len, self.starts))

    def __iter__(self) -> Iterator[Index]:
        """First voxels of all patches, in raster order."""
        yield from product(*self.starts)

    def owned(self, region: Region) -> list[Index]:
        """Patches that start inside a region, in raster order.

        Every patch starts in exactly one write region of a chunk grid: that block owns it.
        """
        axes = (
            [a for a in starts if s.start <= max(a, 0) < s.stop]
            for starts, s in zip(self.starts, region, strict=True)
        )
        return list(product(*axes))

    def extent(self, starts: list[Index]) -> Region:
        """Smallest region that holds all the given patches, clipped to the volume."""
        return tuple(
            slice(max(min(axis), 0), min(max(axis) + p, n))
            for axis, p, n in zip(zip(*starts, strict=True), self.patch, self.shape, strict=True)
        )

    def neighbours(self, grid: ChunkGrid, index: Index) -> tuple[list[Index], list[Index]]:
        """Blocks that exchange spill with one block.

        Returns
        -------
        givers, takers : list of index
            Blocks whose patches reach into this block's write region, and blocks into whose
            write regions this block's patches reach; the block itself is in neither list.
            Givers come before the block in raster order, takers after it.
        """
        givers: list[list[int]] = []
        takers: list[list[int]] = []
        for axis, i in enumerate(index):
            reach = _reach(self.starts[axis], self.patch[axis], grid, axis)
            if reach[i] < 0:
                takers.append([])  # no patch starts here: there is nothing to give
            else:
                takers.append(list(range(i, reach[i] + 1)))
            givers.append([j for j, last in enumerate(reach[: i + 1]) if last >= i])
        return (
            [j for j in product(*givers) if j != index],
            [j for j in product(*takers) if j != index],
        )


@lru_cache(maxsize=64)
def _starts(n: int, patch: int, stride: int) -> tuple[int, ...]:
    if patch > n:
        return (-((patch - n) // 2),)
    return (*range(0, n - patch, stride), n - patch)


@lru_cache(maxsize=64)
def _reach(starts: tuple[int, ...], patch: int, grid: ChunkGrid, axis: int) -> tuple[int, ...]:
    """Last chunk that the patches starting in each chunk of an axis reach, or -1."""
    chunk, size = grid.chunks[axis], grid.shape[axis]
    last = [-1] * grid.numblocks[axis]
    for start in starts:
        last[max(start, 0) // chunk] = (min(start + patch, size) - 1) // chunk
    return tuple(last)
