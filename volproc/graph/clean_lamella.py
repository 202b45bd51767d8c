"""Lazy cleaning of a lamella."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, TypeVar, get_args

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed

from volproc.core.arrays import Source
from volproc.core.errors import ConfigError, VoxelSizeError, nearest
from volproc.core.volume import Volume
from volproc.graph.chunks import Chunk, iterate_chunks
from volproc.graph.label_and_measure import label_and_measure
from volproc.graph.lamella import CORNERS
from volproc.graph.lamella_body import Lamella, LamellaFiles, RawLamella, refuse_empty
from volproc.graph.lamella_rule import Empty, Hull, LamellaRule, make_lamella_rule
from volproc.graph.layers import (
    Graph,
    array_of,
    new_array,
    new_data,
    new_task,
    ref,
    refs,
    tree,
    unique_name,
)
from volproc.graph.scratch import Scratch
from volproc.graph.stored_input import StoredInput, store_input
from volproc.io.chunk_files import ChunkFiles
from volproc.io.open import VoxelSize, expand_voxel_size

Lazy = TypeVar("Lazy", Volume, da.Array)


def clean_lamella(
    volume: Lazy,
    *,
    threshold: float | None = None,
    class_value: int | None = None,
    smooth_nm: float | None = None,
    min_size_nm3: float | None = None,
    hull: Hull = "slice",
    empty: Empty = "error",
    compat: Literal["cryosiam"] | None = None,
    voxel_size: VoxelSize | None = None,
    scratch: str | os.PathLike[str] | None = None,
) -> Lazy:
    """Make one clean slab of a predicted lamella, lazily.

    The mask is smoothed, its largest connected part (26 neighbours) is kept, and its hull is
    filled. All else is removed.

    Parameters
    ----------
    volume : Volume or dask array, (z, y, x)
        Probabilities (floats), a mask of 0 and 1, or classes.
    threshold : float, optional
        Probability above which a voxel is lamella, 0.5 by default. Where it is given, integers
        without a sign are probabilities too, the greatest of their type for 1.
    class_value : int, optional
        Class that is lamella.
    smooth_nm : float, optional
        Standard deviation of the Gaussian that the mask is smoothed with, nm, 3 by default; cut at
        one half, so that flat faces stay where they are. Slabs thinner than 1.35 of it go.
    min_size_nm3 : float, optional
        Volume that the largest part needs after smoothing, nm³; 0 by default.
    hull : {"slice", "plane", "none", "volume"}
        Fill the convex hull of each slice; or all between two planes, fitted to the first and last
        voxels along z, within the hull of all slices; or nothing. "volume" is CryoSiam's
        ``3d_postprocessing``, only with ``compat``.
    empty : {"error", "keep-empty"}
        What becomes of a map in which no lamella is found.
    compat : {"cryosiam"}, optional
        CryoSiam's ``postprocessing``, voxel by voxel: probabilities are smoothed by 10, 5 and 5
        voxels with zeros around them, and slices without the largest part keep what was above the
        threshold in them. Unlike CryoSiam's, an empty mask does not become the whole volume.
    voxel_size : float or tuple of float, optional
        Å per voxel, where the volume has none.
    scratch : path, optional
        Folder for what stands between the stages, seen by all workers; a temporary one by default.

    Returns
    -------
    mask : Volume or dask array of uint8
        1 in the lamella, 0 elsewhere; the same for every chunking.

    Raises
    ------
    ConfigError
        If numbers or choices cannot be; when computed, if there is no lamella.
    DtypeError, NonFiniteError
        When computed, if voxels are neither probabilities nor those of a mask.
    PlanError
        If the smoothing reaches more than 256 voxels.
    ShapeError
        If the volume has not three axes; when computed, if no planes fit.
    VoxelSizeError
        If there is no voxel size, or it contradicts that of the volume.

    Notes
    -----
    Some five tasks a block. A block is read once, with the halo of the smoothing: four standard
    deviations. Beside blocks, 16 bytes a line along x are in one task's memory.

    Examples
    --------
    >>> slab = np.zeros((12, 9, 10), np.uint8)
    >>> slab[4:9], slab[11, 0, 0], slab[6, 4, 4] = 1, 1, 0  # with a speck and a hole
    >>> mask = clean_lamella(da.from_array(slab, chunks=6), voxel_size=10.0, smooth_nm=1.0)
    >>> mask.compute().sum(axis=(1, 2)).tolist()
    [0, 0, 0, 0, 90, 90, 90, 90, 90, 0, 0, 0]
    """
    if empty not in get_args(Empty):
        msg = f'there is no policy "{empty}"; {nearest(str(empty), get_args(Empty))}'
        raise ConfigError(msg)
    array = array_of(volume)
    rule = make_lamella_rule(
        array.shape,
        None if compat else _voxel_size(volume, voxel_size),
        threshold=threshold,
        class_value=class_value,
        smooth_nm=smooth_nm,
        min_size_nm3=min_size_nm3,
        hull=hull,
        compat=compat,
        name=(volume.address or volume.name) if isinstance(volume, Volume) else "the map",
    )
    cuts = tuple(tuple(c for c in cut if c) for cut in array.chunks)
    mask = _cleaned(volume, array.rechunk(cuts), rule, empty, scratch)
    return volume.with_data(mask) if isinstance(volume, Volume) else mask


def _voxel_size(volume: Volume | da.Array, given: VoxelSize | None) -> tuple[float, ...]:
    """Å per voxel, of the volume or of the call."""
    asked = None if given is None else expand_voxel_size(given, 3)
    if isinstance(volume, Volume):
        if asked is not None and asked != volume.voxel_size:
            msg = (
                f"the volume has a voxel size of {volume.voxel_size} Å, got voxel_size={given}. "
                "Leave it out, or open the volume with another one."
            )
            raise VoxelSizeError(msg)
        return volume.voxel_size
    if asked is None:
        msg = "smoothing in nm needs a voxel size, and an array has none. Give voxel_size= in Å."
        raise VoxelSizeError(msg)
    return asked


def _cleaned(
    volume: Volume | da.Array,
    array: da.Array,
    rule: LamellaRule,
    empty: Empty,
    scratch: str | os.PathLike[str] | None,
) -> da.Array:
    """Tasks: smooth each block; label; keep what is needed of the largest; paint each block."""
    name, store = unique_name("clean-lamella"), Scratch(scratch)
    is_opened = isinstance(volume, Volume) and volume.source is not None
    stored = store_input(volume if is_opened else array, store, f"{name}-input")
    files = LamellaFiles(store.path("lamella"), array.chunks, rule.hull)
    chunks = list(iterate_chunks(array.chunks))
    hold = new_data(f"{name}-scratch", store)
    smooth = _smoothed(array, stored, rule, chunks, hold)
    labels, table = label_and_measure(
        smooth, properties=["label", "area"], connectivity=CORNERS, scratch=scratch
    )
    tasks: Graph = {hold.key: hold}
    chosen = f"{name}-chosen"
    tasks[chosen] = new_task(chosen, partial(_choose, rule=rule, empty=empty), ref(table.key))
    leave = partial(_leave, files)
    kept = [(f"{name}-kept", *chunk.index) for chunk in chunks]
    for key, chunk in zip(kept, chunks, strict=True):
        block = ref((labels.name, *chunk.index))
        tasks[key] = new_task(key, leave, chunk, block, ref(chosen), ref(hold.key))
    merged, ready = tree(f"{name}-ready", kept, _nothing)
    tasks |= merged
    gather, found = partial(_gather, files, stored.source, rule, chunks), f"{name}-found"
    tasks[found] = new_task(found, gather, ref(ready), ref(chosen))
    for chunk in chunks:
        key = (name, *chunk.index)
        before = refs(stored.before(chunk.region))
        tasks[key] = new_task(key, _paint, chunk, ref(found), before, ref(hold.key))
    depends_on: list[da.Array | Delayed] = [labels, table, smooth]
    return new_array(
        name, tasks, cuts=array.chunks, dtype=np.dtype(np.uint8), depends_on=depends_on
    )


def _smoothed(
    array: da.Array, stored: StoredInput, rule: LamellaRule, chunks: list[Chunk], hold: Any
) -> da.Array:
    name = unique_name("smooth-lamella")
    tasks: Graph = {**stored.tasks, hold.key: hold}
    for chunk in chunks:
        key = (name, *chunk.index)
        before = refs(stored.before(rule.widened(chunk.region, array.shape)))
        work = partial(_smooth, stored.source, rule)
        tasks[key] = new_task(key, work, chunk, before, ref(hold.key))
    return new_array(
        name, tasks, cuts=array.chunks, dtype=np.dtype(bool), depends_on=stored.depends_on
    )


def _smooth(
    source: Source | ChunkFiles, rule: LamellaRule, chunk: Chunk, before: Any, hold: Any
) -> npt.NDArray[np.bool_]:
    del before, hold  # what has to be there first
    return rule.smooth(source, chunk.region)


def _choose(table: Any, *, rule: LamellaRule, empty: Empty) -> int:
    """Label of the lamella; 0 where there is none."""
    counts = table["area"].to_numpy().astype(np.int64)
    number = rule.choose(counts)
    if number is None and empty == "error":
        raise rule.nothing(counts)
    return number or 0


def _leave(
    files: LamellaFiles, chunk: Chunk, labels: npt.NDArray[Any], chosen: int, hold: Any
) -> None:
    del hold
    if chosen:
        files.leave(chunk, labels == chosen)


def _nothing(parts: Sequence[Any]) -> None:
    """All are done."""


def _gather(
    files: LamellaFiles,
    source: Source | ChunkFiles,
    rule: LamellaRule,
    chunks: list[Chunk],
    ready: Any,
    chosen: int,
) -> Lamella:
    del ready
    if not chosen:
        return files.nothing()
    raw = RawLamella(source, rule) if rule.is_compatible else None
    return refuse_empty(files.gather(chunks, raw=raw), rule)


def _paint(chunk: Chunk, lamella: Lamella, before: Any, hold: Any) -> npt.NDArray[np.uint8]:
    del before, hold
    return lamella.read(chunk.region)
