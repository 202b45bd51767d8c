"""A volume as a source: opened ones as they are, computed ones by way of scratch."""

from __future__ import annotations

from functools import partial
from typing import Any

import dask.array as da

from volproc.core.arrays import Source
from volproc.core.types import Index
from volproc.core.volume import Volume
from volproc.graph.chunks import iterate_chunks
from volproc.graph.layers import Graph, tree
from volproc.graph.scratch import Scratch
from volproc.io.chunk_files import ChunkFiles


def spool_input(
    volume: Volume, array: da.Array, store: Scratch, name: str, *, folder: str = "input"
) -> tuple[Source, Graph, Any]:
    """Say where the voxels of a volume can be read.

    Parameters
    ----------
    volume : Volume
        Opened or computed.
    array : dask array
        Its voxels.
    store : Scratch
        Where those of a computed one go, in a folder of this name.
    name : str
        Begins the keys of tasks.
    folder : str
        Name of the folder.

    Returns
    -------
    source : Source
        Gives any region.
    tasks : dict
        Tasks that write a computed volume first; none for an opened one.
    after : key or None
        The last of them.
    """
    if volume.source is not None:
        return volume.source, {}, None
    files = ChunkFiles(store.path(folder), array.chunks, array.dtype)
    leaves, tasks = [], {}
    for chunk in iterate_chunks(array.chunks):
        key = (f"{name}-spool", *chunk.index)
        tasks[key] = (partial(_write, files, chunk.index), (array.name, *chunk.index))
        leaves.append(key)
    merged, root = tree(f"{name}-spool-tree", leaves, nothing)
    return files, tasks | merged, root


def nothing(parts: Any) -> None:
    """Come after several tasks."""
    del parts


def _write(files: ChunkFiles, index: Index, block: Any) -> None:
    files.write_chunk(index, block)
