"""Tiles of one prediction: cut by memory, or those that a killed run has begun."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psutil

from volproc.core.differences import describe_differences
from volproc.core.errors import ResumeError
from volproc.core.events import Event, Observer
from volproc.core.executor import Executor, memory_of_call
from volproc.core.model import ModelSpec
from volproc.core.types import Shape
from volproc.graph.cut_tiles import halo_tiles, planned_bytes, share_of_process
from volproc.graph.ledger import Ledger
from volproc.models.devices import choose_device, device_bytes
from volproc.plan.tiles import HaloTiles, QuarterTiles
from volproc.workflows.cryosiam_task import INPUTS, STAGE, PredictionTask, Tomogram

MOST_DEVICE = 0.8
"""Part of a GPU's memory that a network may take."""


def unfinished_tiles(tomogram: Tomogram) -> dict[str, Any]:
    """What a killed run has begun of a tomogram, with the same settings; empty if nothing.

    Parameters
    ----------
    tomogram : Tomogram
        Which one.

    Raises
    ------
    ResumeError
        If it was begun with other settings.
    """
    before = Ledger.unfinished(tomogram.work)
    if not before:
        return {}
    settings = {key: value for key, value in tomogram.description.items() if key not in INPUTS}
    known = {key: before.get(key) for key in settings}
    if differing := describe_differences(known, settings):
        msg = (
            f"a killed run has begun {tomogram.entry.output} otherwise: {differing}. Use the same "
            "settings to go on, or begin anew with overwrite= (--overwrite)."
        )
        raise ResumeError(msg)
    # Tiles of a file that is not there any more are of no use to anybody.
    is_same = all(before.get(key) == tomogram.description[key] for key in INPUTS)
    return before if is_same else {}


def begin_tiles(
    task: PredictionTask, spec: ModelSpec, tomogram: Tomogram, pool: Executor, observe: Observer
) -> tuple[HaloTiles | QuarterTiles, Ledger]:
    """Cut a tomogram, or go on with the tiles of a killed run where they still fit.

    Parameters
    ----------
    task : PredictionTask
        What is done.
    spec : ModelSpec
        With which network.
    tomogram : Tomogram
        Of which tomogram.
    pool : Executor
        Whose workers have to hold a tile.
    observe : callable
        Is told why tiles begin anew.

    Returns
    -------
    tiles : HaloTiles or QuarterTiles
        The tiles.
    ledger : Ledger
        Which of them are done.

    Raises
    ------
    PlanError
        If not even the smallest tile fits.
    ResumeError
        If a killed run was begun with other settings, and is not to be overwritten.
    """
    try:
        before = unfinished_tiles(tomogram)
    except ResumeError:
        if not task.overwrite:
            raise
        before = {}
    tiles = _cut(task, spec, tomogram.header.source.shape, pool)
    if isinstance(tiles, HaloTiles) and before:
        earlier = replace(tiles, core=tuple(before["core"]))
        largest = max(tiles.core) if task.core else None
        if _fits(task, spec, earlier, pool, largest):
            tiles = earlier
        else:
            text = f"tiles of {earlier.core} voxels do not fit any more: the tomogram begins anew"
            observe(Event("note", STAGE, text=text))
    core = list(tiles.core) if isinstance(tiles, HaloTiles) else None
    description = {**tomogram.description, "core": core}
    # What is there may be of another tomogram of that name.
    restart = not Ledger.is_begun(tomogram.work, description)
    return tiles, Ledger.begin(tomogram.work, description, restart=restart)


def _memory(task: PredictionTask, pool: Executor) -> int:
    """What a tile may take: on a GPU the network alone, bytes."""
    free = device_bytes(choose_device(task.device))
    if free is not None:
        return int(MOST_DEVICE * free)
    shared = psutil.virtual_memory().available // (2 * max(1, pool.num_workers))
    return share_of_process(memory_of_call(pool) or int(shared))


def _cut(
    task: PredictionTask, spec: ModelSpec, shape: Shape, pool: Executor
) -> HaloTiles | QuarterTiles:
    """Tiles of a volume, as large as the memory of a worker allows."""
    if task.is_compatible:
        return QuarterTiles(shape, spec.patch)
    memory = _memory(task, pool)
    return halo_tiles(
        spec,
        shape,
        memory_bytes=memory,
        device=task.device,
        core=task.core,
        has_outputs=task.needs_probabilities,
    )


def _fits(
    task: PredictionTask, spec: ModelSpec, tiles: HaloTiles, pool: Executor, largest: int | None
) -> bool:
    """Whether tiles of an earlier run may be gone on with, under what is given now."""
    if largest is not None and max(tiles.core) > largest:
        return False
    on_device = choose_device(task.device).type == "cuda"
    network, host = planned_bytes(
        spec, tiles, on_device=on_device, has_outputs=task.needs_probabilities
    )
    # Without a limit half of the free memory is taken, which is not the same each time.
    slack = 1 if on_device or memory_of_call(pool) else 2
    return (network if on_device else network + host) <= slack * _memory(task, pool)
