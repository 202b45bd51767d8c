"""Any volume format to any other, block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import lcm
from typing import Any

import numpy.typing as npt

from volproc.core.arrays import Sink, Source
from volproc.core.events import Observer, ignore
from volproc.core.executor import Executor, SerialExecutor, pool_of
from volproc.core.types import Index, Shape, region_shape
from volproc.graph.run import run_stage
from volproc.io.create import create
from volproc.io.formats import Kind
from volproc.io.lazy import lazy_chunks
from volproc.io.open import VoxelSize, open_
from volproc.plan.blocks import ChunkGrid


@dataclass(frozen=True, slots=True)
class CopyWork:
    """Copies one block."""

    source: Source
    sink: Sink
    grid: ChunkGrid

    def __call__(self, index: Index) -> dict[str, Any]:
        """Read one write region and write it."""
        region = self.grid[index].write
        block = self.source.read(region)
        self.sink.write(region, block)
        return {"bytes_read": block.nbytes, "shape": region_shape(region)}


@dataclass(frozen=True, slots=True)
class ReadWork:
    """Reads one block, for another process to write."""

    source: Source
    grid: ChunkGrid

    def __call__(self, index: Index) -> npt.NDArray[Any]:
        """Read one write region."""
        return self.source.read(self.grid[index].write)


def convert(
    address: str,
    output: str,
    *,
    voxel_size: VoxelSize | None = None,
    override_voxel_size: bool = False,
    kind: Kind = "intensity",
    selection: dict[str, Any] | None = None,
    overwrite: bool = False,
    executor: Executor | None = None,
    observe: Observer = ignore,
) -> Sink:
    """Copy a volume into another format.

    Parameters
    ----------
    address, output : str
        Volume to read and to write; see `volproc.open`. The output's ending names its format.
    voxel_size : float or tuple of float
        Å per voxel, where the file gives none or a wrong one.
    override_voxel_size : bool
        Use ``voxel_size`` even where a valid header contradicts it.
    kind : {"intensity", "labels"}
        How a pyramid is made: means, or nearest neighbours.
    selection : dict
        ``t``, ``c``, ``level``, ``dataset`` of the input.
    overwrite : bool
        Replace an output that exists.
    executor, observe
        Where blocks run, and who watches.

    Returns
    -------
    sink : Sink
        The finished output.

    Raises
    ------
    VolprocError
        If the input cannot be read or the output not written; nothing is left behind.
    """
    runner = pool_of(executor or SerialExecutor(), "cpu")
    volume = open_(
        address,
        voxel_size=voxel_size,
        on_conflict="override" if override_voxel_size else "error",
        **(selection or {}),
    )
    source = volume.source
    assert source is not None  # an opened volume has one
    sink = create(
        output,
        shape=volume.shape,
        dtype=volume.dtype,
        voxel_size=volume.voxel_size,
        origin=volume.origin,
        kind=kind,
        overwrite=overwrite,
    )
    try:
        sizes = copy_chunks(source, sink)
        grid = ChunkGrid(volume.shape, sizes)
        work: CopyWork | ReadWork = CopyWork(source, sink, grid)
        collect: Callable[[Index, Any], None] | None = None
        if not sink.is_parallel and getattr(runner, "has_processes", False):
            # HDF5 takes one process only: workers read and decode, this one writes.
            work = ReadWork(source, grid)
            collect = partial(_write_block, sink, grid)
        run_stage(
            "convert",
            grid.indices(),
            work,
            executor=runner,
            observe=observe,
            collect=collect,
            total=len(grid),
        )
        sink.finish()
    except BaseException:
        sink.discard()
        raise
    return sink


def copy_chunks(source: Source, sink: Sink) -> Shape:
    """Blocks that are multiples of what is written and, where that stays small, of what is read.

    Notes
    -----
    Reading a part of a storage chunk decodes all of it; writing a part of one is not possible.
    """
    shape, item = source.shape, source.dtype.itemsize
    both = tuple(
        min(lcm(a, b), n) for a, b, n in zip(source.chunks, sink.chunks, shape, strict=True)
    )
    for sizes in (both, sink.chunks):
        chosen = lazy_chunks(shape, sizes, item)
        volume = item
        for n in chosen:
            volume *= n
        if volume <= 2**28:
            return chosen
    return lazy_chunks(shape, sink.chunks, item)


def _write_block(sink: Sink, grid: ChunkGrid, index: Index, block: npt.NDArray[Any]) -> None:
    """Write what a worker has read."""
    sink.write(grid[index].write, block)
