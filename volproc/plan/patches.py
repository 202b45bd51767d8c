"""The one grid of patches that a volume has, however it is cut into blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

from volproc.core.errors import ShapeError
from volproc.core.types import Index, Region, Shape, axis_names
from volproc.plan.blocks import ChunkGrid

Reaches = list[list[int]]
"""Numbers of chunks, a list an axis."""


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
    mirrored : tuple of bool
        Axes along which the patches are laid from the far end, as on a volume that is flipped: the
        first patch is moved on until it is flush with voxel 0. Empty means none.

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
    >>> PatchGrid((10, 16, 21), (8, 8, 8), 0.5, mirrored=(False, False, True)).starts[2]
    (0, 1, 5, 9, 13)
    """

    shape: Shape
    patch: Shape
    overlap: float = 0.25
    mirrored: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        if not self.mirrored:
            object.__setattr__(self, "mirrored", (False,) * len(self.shape))
        if not 0 <= self.overlap < 1:
            msg = (
                f"overlap {self.overlap} is outside [0, 1): the patches would not advance. "
                "Use 0.25 or 0.5."
            )
            raise ShapeError(msg)
        has_axes = len(self.shape) == len(self.patch) == len(self.mirrored)
        if not has_axes or min(self.shape) < 1 or min(self.patch) < 1:
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
            _starts(n, p, s, m)
            for n, p, s, m in zip(self.shape, self.patch, self.stride, self.mirrored, strict=True)
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
        """Blocks that exchange spill with one block; see `neighbours`."""
        return neighbours((self,), grid, index)

    def _reaches(self, grid: ChunkGrid, index: Index) -> tuple[Reaches, Reaches]:
        """Chunks that give to the block, and those that it gives to, axis by axis."""
        givers: Reaches = []
        takers: Reaches = []
        for axis, i in enumerate(index):
            reach = _reach(self.starts[axis], self.patch[axis], grid, axis)
            if reach[i] < 0:
                takers.append([])  # no patch starts here: there is nothing to give
            else:
                takers.append(list(range(i, reach[i] + 1)))
            givers.append([j for j, last in enumerate(reach[: i + 1]) if last >= i])
        return givers, takers


def neighbours(
    grids: Sequence[PatchGrid], grid: ChunkGrid, index: Index
) -> tuple[list[Index], list[Index]]:
    """Blocks that exchange spill with one block, where patches of several grids are summed.

    Parameters
    ----------
    grids : sequence of PatchGrid
        Of one volume.
    grid : ChunkGrid
        The blocks.
    index : tuple of int
        Which block.

    Returns
    -------
    givers, takers : list of index
        Blocks whose patches reach into this block's write region, and blocks into whose
        write regions this block's patches reach; the block itself is in neither list.
        Givers come before the block in raster order, takers after it.
    """
    givers: set[Index] = set()
    takers: set[Index] = set()
    for patches in grids:
        giving, taking = patches._reaches(grid, index)
        givers.update(product(*giving))
        takers.update(product(*taking))
    return sorted(givers - {index}), sorted(takers - {index})


@lru_cache(maxsize=192)
def _starts(n: int, patch: int, stride: int, is_mirrored: bool) -> tuple[int, ...]:
    if is_mirrored:
        return tuple(n - patch - a for a in reversed(_starts(n, patch, stride, False)))
    if patch > n:
        return (-((patch - n) // 2),)
    return (*range(0, n - patch, stride), n - patch)


# Three axes of each of 64 grids: the views of eight models.
@lru_cache(maxsize=192)
def _reach(starts: tuple[int, ...], patch: int, grid: ChunkGrid, axis: int) -> tuple[int, ...]:
    """Last chunk that the patches starting in each chunk of an axis reach, or -1."""
    chunk, size = grid.chunks[axis], grid.shape[axis]
    last = [-1] * grid.numblocks[axis]
    for start in starts:
        last[max(start, 0) // chunk] = (min(start + patch, size) - 1) // chunk
    return tuple(last)
