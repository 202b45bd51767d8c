"""A volume as a source that is whole before it is read, where blocks read wherever they like."""

from __future__ import annotations

from typing import Any

import dask.array as da

from volproc.core.arrays import Source
from volproc.core.volume import Volume
from volproc.graph.layers import Graph, tree
from volproc.graph.scratch import Scratch
from volproc.graph.stored_input import store_input


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
    given = array if volume.source is None else volume
    stored = store_input(given, store, f"{name}-spool", folder=folder)
    if not stored.tasks:
        return stored.source, {}, None
    merged, root = tree(f"{name}-spool-tree", list(stored.tasks), nothing)
    return stored.source, stored.tasks | merged, root


def nothing(parts: Any) -> None:
    """Come after several tasks."""
    del parts
