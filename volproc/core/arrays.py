"""What reads a volume and what takes one: the protocols between rooms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from volproc.core.types import Region, Shape


@runtime_checkable
class Source(Protocol):
    """Something on disk that gives any region of one array.

    A source holds an address and the facts of a header, never an open handle: it is pickled to
    workers, which open the file themselves.
    """

    @property
    def shape(self) -> Shape:
        """Size in voxels, (z, y, x) or (y, x)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels that ``read`` returns."""
        ...

    @property
    def chunks(self) -> Shape:
        """Region that storage reads at once, in voxels an axis."""
        ...

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Voxels of one region, as a new array of exactly that shape."""
        ...

    def identity(self) -> str:
        """Text that changes when the content may have changed: path, size, time of change."""
        ...


def decoded_chunks(source: Source) -> Shape:
    """Region that a source has to decode at once: its chunks, or one voxel of a memory map.

    A source says so by an attribute ``decoded_chunks`` beside ``chunks``; plans count with it.
    """
    return tuple(getattr(source, "decoded_chunks", source.chunks))


@runtime_checkable
class Sink(Protocol):
    """An array on disk in the making: written region by region, seen only when finished.

    Everything is written under a temporary name beside the final one, so that a killed run never
    leaves a file that looks whole. A sink is pickled to workers.
    """

    @property
    def address(self) -> str:
        """Where the finished array will be."""
        ...

    @property
    def shape(self) -> Shape:
        """Size in voxels."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels on disk."""
        ...

    @property
    def chunks(self) -> Shape:
        """Regions written at the same time must be multiples of this."""
        ...

    @property
    def is_parallel(self) -> bool:
        """Whether several processes may write different regions at the same time."""
        ...

    def write(self, region: Region, block: npt.NDArray[Any]) -> None:
        """Write one region."""
        ...

    def finish(self) -> None:
        """Complete what needs the whole (pyramid, statistics) and move to the final name."""
        ...

    def discard(self) -> None:
        """Remove everything that was written."""
        ...


class PyramidPart(NamedTuple):
    """A part of a coarser copy of an array, made by itself."""

    region: Region
    """Voxels of the coarser level."""

    source: Region
    """Voxels of the level below that it is made from."""


@runtime_checkable
class PyramidSink(Sink, Protocol):
    """An array with coarser copies, its levels, that any number of processes can make.

    The first levels may be written with the blocks (`depth`, `write_through`), the others are
    built part by part from the level below, and then `seal` ends it. `finish` alone does all.
    """

    def depth(self, cuts: tuple[tuple[int, ...], ...]) -> int:
        """Levels that blocks of a grid can fill by themselves: no two share a storage chunk.

        Parameters
        ----------
        cuts : tuple of tuple of int
            Sizes of the blocks along each axis, as Dask gives them.
        """
        ...

    def write_through(self, region: Region, block: npt.NDArray[Any], depth: int) -> None:
        """Write one region, and what it is in the first ``depth`` coarser levels."""
        ...

    def coarsened(self, region: Region, level: int) -> Region:
        """Voxels of a coarser level that a region which `depth` allows is in it."""
        ...

    def pyramid(self) -> list[Sequence[PyramidPart]]:
        """Parts of each coarser level, from the finest on, made as they are asked for."""
        ...

    def build(self, level: int, part: PyramidPart) -> None:
        """Make a part of a level, from 1, when what it is made from is written."""
        ...

    def seal(self) -> None:
        """Move to the final name: all levels are made."""
        ...
