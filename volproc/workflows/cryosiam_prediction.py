"""CryoSiam's semantic prediction: a folder of tomograms becomes a folder of predictions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from volproc.core.arrays import Source
from volproc.core.differences import describe_differences
from volproc.core.errors import (
    ClusterError,
    ConfigError,
    ExistsError,
    InputChangedError,
    MissingFileError,
    OutOfMemoryError,
    ResumeError,
    VolprocError,
)
from volproc.core.events import Event, Observer, ignore
from volproc.core.executor import Executor, SerialExecutor, memory_of_call, pool_of
from volproc.core.model import ModelSpec
from volproc.core.types import Shape
from volproc.graph.cut_tiles import describe_tiles, halo_tiles, planned_bytes
from volproc.graph.kept_tiles import KeptTiles, Part, keep_tiles, revoke_missing
from volproc.graph.ledger import Ledger
from volproc.graph.run import run_stage
from volproc.graph.tile_predict import TileJob
from volproc.io.cryosiam_files import tomogram_names
from volproc.io.open import inspect
from volproc.models.devices import choose_device, device_bytes
from volproc.models.views import find_views
from volproc.plan.tiles import HaloTiles, QuarterTiles
from volproc.workflows.cryosiam_outputs import needed_size, write_prediction
from volproc.workflows.cryosiam_task import PredictionTask, Tomogram, open_tomogram
from volproc.workflows.dataset_outputs import named
from volproc.workflows.dataset_record import Entry
from volproc.workflows.each_tomogram import do_each_tomogram
from volproc.workflows.record import read_record, record_path, work_path, write_record
from volproc.workflows.sole_run import sole_run

STAGE = "semantic-predict"

STORY = "cryosiam semantic-predict"
"""What records say that made predictions."""

INPUTS = ("input", "mask")
"""What of the description of a prediction is of files, and not of settings."""

TILES = "tiles"
"""Folder of the tiles of an unfinished prediction, in its work folder."""

SLACK = 0.01
"""Part of the range by which the contrast may lie outside it before that is said."""

MOST_DEVICE = 0.8
"""Part of a GPU's memory that a network may take."""


class TileCount(NamedTuple):
    """Tiles of one tomogram."""

    computed: int
    """Now."""

    outside: int
    """Left out, since the mask is empty there."""

    kept: int = 0
    """Computed by an earlier run that was killed."""


@dataclass(frozen=True, slots=True)
class PredictionReport:
    """What became of each tomogram."""

    entries: tuple[Entry, ...]
    num_tiles: dict[str, TileCount]
    """By tomogram, of those that were done now."""


def predict_tomograms(
    task: PredictionTask, *, executor: Executor | None = None, observe: Observer = ignore
) -> PredictionReport:
    """Predict the classes of tomograms, each by itself.

    Parameters
    ----------
    task : PredictionTask
        What to do.
    executor, observe
        Where tiles are computed, and who watches.

    Returns
    -------
    report : PredictionReport
        A tomogram that is damaged, or has no mask, fails alone. One that an earlier run has
        predicted with the same settings is ``skipped``.

    Raises
    ------
    ConfigError, MissingFileError, ModelError
        If the model, the masks or the names of tomograms are not to be had.
    ExistsError
        If there are predictions of other settings; nothing was done then.
    ResumeError
        If a killed run has begun one with other settings; nothing was done then.

    Notes
    -----
    One tile a worker is in memory. What tiles gave stays on disk, in a hidden folder beside the
    output, until the tomogram is whole: a killed run goes on after its finished tiles. That takes
    a byte a voxel, and eight for each channel where probabilities and distances are kept.
    """
    spec = task.read_model()
    find_views(task.views)
    _check_folders(task)
    names = tomogram_names(task.data_folder, task.extension, task.files)
    entries = [
        Entry(name, f"{task.data_folder}/{name}{task.extension}", str(task.outputs(name).labels))
        for name in names
    ]
    for entry in entries:
        task.outputs(entry.name).refuse_input(entry.input)
    _refuse_others(task, spec, entries)
    Path(task.folder).mkdir(parents=True, exist_ok=True)
    num_tiles: dict[str, TileCount] = {}
    runner = executor or SerialExecutor()

    def do_one(entry: Entry, watch: Observer) -> None:
        tomogram = open_tomogram(task, spec, entry)
        with sole_run(record_path(entry.output)):
            num_tiles[entry.name] = _predict(task, spec, tomogram, runner, watch)

    do_each_tomogram(entries, do_one, stage=STAGE, observe=observe)
    return PredictionReport(tuple(entries), num_tiles)


def _check_folders(task: PredictionTask) -> None:
    """Refuse folders that cannot be what they are for."""
    if task.mask_folder and not Path(task.mask_folder).is_dir():
        msg = (
            f"the mask folder {task.mask_folder} does not exist. Check mask_folder, or leave it "
            "out to predict without masks."
        )
        raise MissingFileError(msg)
    if Path(task.folder).exists() and not Path(task.folder).is_dir():
        msg = f"the prediction folder {task.folder} is a file. Choose another prediction_folder."
        raise ConfigError(msg)


def _refuse_others(task: PredictionTask, spec: ModelSpec, entries: list[Entry]) -> None:
    """Mark what is done already, and refuse predictions that are others."""
    others, why = [], ""
    for entry in entries:
        exists, is_begun = _exists(task, entry), work_path(entry.output).exists()
        if task.overwrite or not (exists or is_begun):
            continue
        try:
            tomogram = open_tomogram(task, spec, entry)
        except Exception as error:  # said again, with its cause, when its turn comes
            differing = str(error)
        else:
            record = read_record(entry.output)
            known = {key: record.get(key) for key in tomogram.description}
            differing = describe_differences(known, tomogram.description)
            if exists and record.get("made_by") == f"volproc {STORY}" and not differing:
                entry.status = "skipped"
                shutil.rmtree(tomogram.work, ignore_errors=True)  # of a run killed at its very end
                continue
            if is_begun:  # what is there may be a part of what the killed run has written
                _unfinished(tomogram)
                continue
        if exists:
            others.append(entry.output)
            why = why or f" ({differing})"
    if others:
        msg = (
            f"{named(others)} exist, and are not of these settings{why}. Choose another "
            "prediction_folder, or replace them with overwrite= (--overwrite)."
        )
        raise ExistsError(msg)


def _exists(task: PredictionTask, entry: Entry) -> bool:
    return any(path.exists() for path in task.outputs(entry.name).all)


def _unfinished(tomogram: Tomogram) -> dict[str, Any]:
    """What a killed run has begun of a tomogram, with the same settings; empty if nothing.

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


def _begin(
    task: PredictionTask, spec: ModelSpec, tomogram: Tomogram, pool: Executor, observe: Observer
) -> tuple[HaloTiles | QuarterTiles, Ledger]:
    """Tiles of a tomogram, and what is done of them: those of a killed run where they still fit."""
    try:
        before = _unfinished(tomogram)
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


def _predict(
    task: PredictionTask, spec: ModelSpec, tomogram: Tomogram, runner: Executor, observe: Observer
) -> TileCount:
    """Predict one tomogram."""
    header, entry = tomogram.header, tomogram.entry
    if task.form != "h5":
        needed_size(task.outputs(entry.name), tomogram.voxel_size)
    pool = pool_of(runner, "gpu")
    tiles, ledger = _begin(task, spec, tomogram, pool, observe)
    try:
        parts: tuple[Part, ...] = ("labels",)
        if task.has_outputs:
            parts = ("labels", "probabilities", "distances")
        job = TileJob(
            header.source,
            spec,
            tiles,
            task.threshold,
            task.device,
            tomogram.laid_mask,
            find_views(task.views),
            has_outputs=len(parts) > 1,
        )
        work = keep_tiles(job, tomogram.work / TILES, parts)
        num_kept = _run(task, work, ledger, pool, observe)
        facts = [found for _, found in ledger.finished(STAGE)]
        count = sum(found["tiles"] for found in facts)
        if not count:
            msg = f"the mask of {entry.name} is empty: nothing is left to predict. Look at it."
            raise ConfigError(msg)
        if inspect(entry.input).source.identity() != header.source.identity():
            msg = f"{entry.input} changed while it was read. Run it again."
            raise InputChangedError(msg)
        _write(task, spec, tomogram, work.arrays)
    except (ClusterError, OutOfMemoryError):
        raise  # what is done is of use to the next run
    except VolprocError:
        ledger.remove()
        raise
    place = {"output": entry.output, "address": entry.input, "status": "done"}
    counts = TileCount(count - num_kept, sum(found["outside"] for found in facts), num_kept)
    record = {**place, **tomogram.description, "tiles": counts._asdict(), "task": asdict(task)}
    write_record(entry.output, STORY, record)
    ledger.remove()
    _warn_of_contrast(task, facts, observe)
    return counts


def _run(
    task: PredictionTask, work: KeptTiles, ledger: Ledger, pool: Executor, observe: Observer
) -> int:
    """Compute the tiles that are not there yet; return how many were."""
    if gone := revoke_missing(work, ledger, STAGE):
        text = f"tiles of {len(gone)} passes are gone: they are computed again"
        observe(Event("note", STAGE, text=text))
    num_kept = sum(facts["tiles"] for _, facts in ledger.finished(STAGE))
    on_device = choose_device(task.device).type == "cuda"
    text = describe_tiles(work.job.spec, work.job.tiles, on_device=on_device)
    if num_kept:
        text += f"; {num_kept} tiles are there already"
    observe(Event("note", STAGE, text=text))
    run_stage(
        STAGE,
        list(work.job.indices()),
        work,
        executor=pool,
        observe=observe,
        ledger=ledger,
        total=prod(work.job.numblocks),
    )
    return num_kept


def _write(
    task: PredictionTask,
    spec: ModelSpec,
    tomogram: Tomogram,
    arrays: Mapping[Part, Source],
) -> None:
    """Put tiles together; the record of what stood there goes first, since it speaks for it."""
    files = task.outputs(tomogram.entry.name)
    record_path(tomogram.entry.output).unlink(missing_ok=True)
    is_signed = task.is_compatible and task.has_outputs and tomogram.mask is not None
    write_prediction(files, arrays, spec, voxel_size=tomogram.voxel_size, is_signed=is_signed)


def _memory(task: PredictionTask, pool: Executor) -> int:
    """What a tile may take: on a GPU the network alone, bytes."""
    free = device_bytes(choose_device(task.device))
    if free is not None:
        return int(MOST_DEVICE * free)
    shared = psutil.virtual_memory().available // (2 * max(1, pool.num_workers))
    return memory_of_call(pool) or int(shared)


def _cut(
    task: PredictionTask, spec: ModelSpec, shape: Shape, pool: Executor
) -> HaloTiles | QuarterTiles:
    """Tiles of a volume, as large as the memory of a worker allows."""
    if task.is_compatible:
        return QuarterTiles(shape, spec.patch)
    memory = _memory(task, pool)
    return halo_tiles(spec, shape, memory_bytes=memory, device=task.device, core=task.core)


def _fits(
    task: PredictionTask, spec: ModelSpec, tiles: HaloTiles, pool: Executor, largest: int | None
) -> bool:
    """Whether tiles of an earlier run may be gone on with, under what is given now."""
    if largest is not None and max(tiles.core) > largest:
        return False
    on_device = choose_device(task.device).type == "cuda"
    network, host = planned_bytes(spec, tiles, on_device=on_device)
    # Without a limit half of the free memory is taken, which is not the same each time.
    slack = 1 if on_device or memory_of_call(pool) else 2
    return (network if on_device else network + host) <= slack * _memory(task, pool)


def _warn_of_contrast(
    task: PredictionTask, facts: Sequence[Mapping[str, Any]], observe: Observer
) -> None:
    """Say where voxels were clipped: the tomogram may not be scaled as the model wants it."""
    low, high, *_ = task.intensity
    slack = SLACK * (high - low)
    lowest = min(found["lowest"] for found in facts)
    highest = max(found["highest"] for found in facts)
    if lowest < low - slack or highest > high + slack:
        text = (
            f"the contrast is {lowest:.4g}…{highest:.4g}, and the model wants "
            f"{low:g}…{high:g}: what is outside was clipped. Denoise and scale the tomogram first, "
            "white on black."
        )
        observe(Event("note", STAGE, text=text))
