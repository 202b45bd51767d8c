"""A lazy array in storage, so that a block can read its own halo, and each chunk is computed once.

A volume that was opened is read from where it is. A computed array is written to scratch chunk by
chunk; a block waits for those chunks alone that its halo touches.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, product
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.types import Index, Region
from volproc.core.volume import Volume
from volproc.graph.chunks import Cuts, iterate_chunks
from volproc.graph.layers import Graph, array_of
from volproc.graph.scratch import Scratch
from volproc.io.chunk_files import ChunkFiles


@dataclass(frozen=True, slots=True)
class StoredInput:
    """Where the voxels are, and what has to be done before they can be read."""

    source: Source | ChunkFiles
    """Gives any region."""

    tasks: Graph
    """Tasks that write a computed array to scratch; none for an opened volume."""

    prefix: str
    """Begins their keys."""

    cuts: Cuts
    """Chunks of the array."""

    depends_on: tuple[da.Array, ...]
    """Arrays that the tasks take their chunks from."""

    def before(self, region: Region) -> list[Any]:
        """Keys of the tasks after which a region can be read."""
        if not self.tasks:
            return []
        return [(self.prefix, *index) for index in touched_chunks(self.cuts, region)]


def store_input(
    volume: Volume | da.Array, store: Scratch, prefix: str, *, folder: str = "input"
) -> StoredInput:
    """Plan how blocks get at the voxels of a volume or of a dask array.

    Parameters
    ----------
    volume : Volume or dask array
        Opened or computed.
    store : Scratch
        Where a computed one is written to. It has to live as long as the graph.
    prefix : str
        Begins the keys of the tasks.
    folder : str
        Where in it, for an array that is not the only one.
    """
    array = array_of(volume)
    if isinstance(volume, Volume) and volume.source is not None:
        return StoredInput(volume.source, {}, prefix, array.chunks, ())
    files = ChunkFiles(store.path(folder), array.chunks, array.dtype)
    tasks: Graph = {
        (prefix, *chunk.index): (partial(_write, files, chunk.index), (array.name, *chunk.index))
        for chunk in iterate_chunks(array.chunks)
    }
    return StoredInput(files, tasks, prefix, array.chunks, (array,))


def touched_chunks(cuts: Cuts, region: Region) -> list[Index]:
    """Chunks that a region has voxels of.

    >>> touched_chunks(((4, 4, 1), (5,)), (slice(3, 5), slice(0, 5)))
    [(0, 0), (1, 0)]
    """
    spans = []
    for cut, side in zip(cuts, region, strict=True):
        edges = [0, *accumulate(cut)]
        spans.append(range(bisect_right(edges, side.start) - 1, bisect_right(edges, side.stop - 1)))
    return list(product(*spans))


def _write(files: ChunkFiles, index: Index, chunk: npt.NDArray[Any]) -> None:
    files.write_chunk(index, np.asarray(chunk))
