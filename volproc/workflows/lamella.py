"""A predicted lamella becomes one clean slab: find it, paint it block by block, record it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Sink, Source
from volproc.core.errors import AddressError
from volproc.core.events import Event, Observer, ignore
from volproc.core.executor import Executor, SerialExecutor, pool_of
from volproc.core.types import Index, region_shape
from volproc.core.volume import Volume
from volproc.graph.lamella import find_lamella
from volproc.graph.lamella_body import Lamella
from volproc.graph.lamella_rule import Empty, Hull, LamellaRule, make_lamella_rule
from volproc.graph.run import run_stage
from volproc.io.create import create
from volproc.io.open import VoxelSize, inspect, open_
from volproc.plan.blocks import ChunkGrid
from volproc.workflows.convert import copy_chunks
from volproc.workflows.record import (
    made_so,
    make_room,
    record_path,
    tidy_room,
    work_path,
    write_record,
)
from volproc.workflows.sole_run import WAIT_S, sole_run
from volproc.workflows.unchanged import refuse_changed

STORY = "lamella"
"""What records say that made such masks."""

PAINT = "paint"
"""Stage that writes the mask."""

CRYOSIAM_DATASET = ":/labels"
"""Dataset of a mask in HDF5: where ``mask_folder`` of CryoSiam's yaml looks for it."""


@dataclass(frozen=True, slots=True)
class LamellaTask:
    """Which map, and what becomes of it.

    Parameters
    ----------
    address, output : str
        Map to read, mask to write; see `volproc.open`. A mask in HDF5 is the dataset ``labels``
        where none is named.
    threshold, class_value, smooth_nm, min_size_nm3, hull, empty, compat
        As in `volproc.clean_lamella`.
    voxel_size, override_voxel_size, selection
        As in `volproc.workflows.convert.convert`.
    overwrite : bool
        Replace a mask that exists.
    resume : bool
        Take a finished mask that was made so for the result.
    """

    address: str
    output: str
    threshold: float | None = None
    class_value: int | None = None
    smooth_nm: float | None = None
    min_size_nm3: float | None = None
    hull: Hull = "slice"
    empty: Empty = "error"
    compat: Literal["cryosiam"] | None = None
    voxel_size: VoxelSize | None = None
    override_voxel_size: bool = False
    selection: dict[str, Any] = field(default_factory=dict)
    overwrite: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        if self.output.lower().endswith((".h5", ".hdf5", ".hdf", ".he5")):
            object.__setattr__(self, "output", f"{self.output}{CRYOSIAM_DATASET}")

    def open(self) -> Volume:
        """Open the map."""
        return open_(
            self.address,
            voxel_size=self.voxel_size,
            on_conflict="override" if self.override_voxel_size else "error",
            **self.selection,
        )

    def rule(self, volume: Volume) -> LamellaRule:
        """The same numbers in voxels."""
        return make_lamella_rule(
            volume.shape if not volume.channels else volume.data.shape,
            volume.voxel_size,
            threshold=self.threshold,
            class_value=self.class_value,
            smooth_nm=self.smooth_nm,
            min_size_nm3=self.min_size_nm3,
            hull=self.hull,
            compat=self.compat,
            name=self.address,
        )


@dataclass(frozen=True, slots=True)
class LamellaReport:
    """What a run left behind."""

    output: str
    """The mask."""

    record: Path
    """Settings and versions."""

    num_voxels: int | None
    """Voxels of the lamella; None where an earlier run had finished it."""

    part: float | None
    """The same as a part of the volume."""


@dataclass(frozen=True, slots=True)
class PaintWork:
    """Paints one block of a mask, and writes it where any process may."""

    lamella: Lamella
    grid: ChunkGrid
    sink: Sink | None

    def __call__(self, index: Index) -> dict[str, Any]:
        """Do one block."""
        region = self.grid[index].write
        mask = self.lamella.read(region)
        if self.sink is not None:
            self.sink.write(region, mask)
        return {
            "shape": region_shape(region),
            "num_voxels": int(np.count_nonzero(mask)),
            "mask": None if self.sink is not None else mask,
        }


@dataclass(slots=True)
class _Taker:
    """Counts voxels of blocks, and writes what one process alone may write."""

    sink: Sink
    grid: ChunkGrid
    num_voxels: int = 0

    def add(self, index: Index, result: dict[str, Any]) -> None:
        """Take one block; its voxels go no further."""
        self.num_voxels += result["num_voxels"]
        mask: npt.NDArray[np.uint8] | None = result.pop("mask")
        if mask is not None:
            self.sink.write(self.grid[index].write, mask)


def clean_map(
    task: LamellaTask, *, executor: Executor | None = None, observe: Observer = ignore
) -> LamellaReport:
    """Clean one map of a lamella and write the mask.

    Parameters
    ----------
    task : LamellaTask
        What to do.
    executor, observe
        Where blocks run, and who watches.

    Returns
    -------
    report : LamellaReport

    Raises
    ------
    ExistsError
        If the mask is there; before any work.
    ResumeError
        If it was made otherwise and ``resume`` was asked for, or another run is at it.
    VolprocError
        What `volproc.clean_lamella` raises; nothing is left behind then.

    Notes
    -----
    The mask appears when it is whole: a run that was killed is given again and begins anew. It
    writes over what the other one left in scratch, which goes at the end.
    """
    runner = pool_of(executor or SerialExecutor(), "cpu")
    volume = task.open()
    wanted = _wanted(task, volume)
    with sole_run(record_path(task.output), wait_s=WAIT_S):
        if task.resume and _is_there(task, volume) and made_so(task.output, STORY, wanted):
            return LamellaReport(task.output, record_path(task.output), None, None)
        num_voxels = _make_mask(task, volume, runner, observe)
        part = num_voxels / prod(volume.shape)
        if part == 1:
            text = "the lamella is the whole volume: it masks nothing. Look at the map's threshold"
            observe(Event("note", STORY, text=text))
        facts = {**wanted, "output": task.output, "num_voxels": num_voxels, "part": part}
        record = write_record(task.output, STORY, facts)
    return LamellaReport(task.output, record, num_voxels, part)


def _make_mask(task: LamellaTask, volume: Volume, runner: Executor, observe: Observer) -> int:
    """Write the mask; return the voxels of the lamella."""
    rule, source, scratch = task.rule(volume), _source(volume), work_path(task.output)
    make_room(task.output)
    try:
        sink = create(
            task.output,
            shape=volume.shape,
            dtype=np.uint8,
            voxel_size=volume.voxel_size,
            origin=volume.origin,
            kind="labels",
            overwrite=task.overwrite,
        )
        try:
            lamella = find_lamella(
                source,
                rule,
                folder=str(scratch),
                empty=task.empty,
                executor=runner,
                observe=observe,
            )
            num_voxels = _paint(lamella, sink, runner, observe)
            refuse_changed(task.open, source)
            record_path(task.output).unlink(missing_ok=True)  # it would speak for the new mask
            sink.finish()
        except BaseException:
            sink.discard()
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        tidy_room(task.output)
    return num_voxels


def _source(volume: Volume) -> Source:
    assert volume.source is not None  # an opened volume has one
    return volume.source


def _wanted(task: LamellaTask, volume: Volume) -> dict[str, Any]:
    """What the result depends on; JSON values."""
    names = (
        "threshold", "class_value", "smooth_nm", "min_size_nm3", "hull", "empty", "compat",
    )  # fmt: skip
    settings = {name: getattr(task, name) for name in names}
    identity = _source(volume).identity()
    return {"input": identity, "voxel_size": list(volume.voxel_size), "settings": settings}


def _is_there(task: LamellaTask, volume: Volume) -> bool:
    try:
        return inspect(task.output).source.shape == volume.shape
    except AddressError:
        return False


def _paint(lamella: Lamella, sink: Sink, runner: Executor, observe: Observer) -> int:
    """Write all blocks; return the voxels of the lamella."""
    grid = ChunkGrid(lamella.shape, copy_chunks(lamella, sink))
    is_here = not sink.is_parallel and getattr(runner, "has_processes", False)
    work, taker = PaintWork(lamella, grid, None if is_here else sink), _Taker(sink, grid)
    run_stage(
        PAINT,
        grid.indices(),
        work,
        executor=runner,
        observe=observe,
        collect=taker.add,
        total=len(grid),
    )
    return taker.num_voxels
