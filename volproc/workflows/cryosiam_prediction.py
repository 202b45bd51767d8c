"""CryoSiam's semantic prediction: a folder of tomograms becomes a folder of predictions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from volproc.core.arrays import Source
from volproc.core.differences import describe_differences
from volproc.core.errors import (
    ClusterError,
    ConfigError,
    ExistsError,
    InputChangedError,
    MissingFileError,
    OutOfMemoryError,
    VolprocError,
)
from volproc.core.events import Event, Observer, ignore
from volproc.core.executor import Executor, SerialExecutor, pool_of
from volproc.core.model import ModelSpec
from volproc.core.types import Shape
from volproc.graph.cut_tiles import describe_tiles
from volproc.graph.kept_tiles import KeptTiles, Part, keep_tiles, revoke_missing
from volproc.graph.lamella_rule import LamellaRule
from volproc.graph.ledger import Ledger
from volproc.graph.run import run_stage
from volproc.graph.tile_predict import TileJob
from volproc.io.cryosiam_files import tomogram_names
from volproc.io.open import inspect
from volproc.models.cryosiam_options import num_channels
from volproc.models.devices import choose_device
from volproc.models.same_numbers import limit_instructions
from volproc.models.views import find_views
from volproc.workflows.contrast import contrast_outside
from volproc.workflows.cryosiam_lamella import lamella_labels, lamella_rule
from volproc.workflows.cryosiam_outputs import needed_size, write_prediction
from volproc.workflows.cryosiam_task import STAGE, PredictionTask, Tomogram, open_tomogram
from volproc.workflows.cryosiam_tiles import begin_tiles, unfinished_tiles
from volproc.workflows.dataset_outputs import named
from volproc.workflows.dataset_record import Entry
from volproc.workflows.each_tomogram import do_each_tomogram
from volproc.workflows.record import read_record, record_path, work_path, write_record
from volproc.workflows.sole_run import sole_run

STORY = "cryosiam semantic-predict"
"""What records say that made predictions."""

TILES, LAMELLA = "tiles", "lamella"
"""Folders of an unfinished prediction, in its work folder."""


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
    if task.is_compatible:
        limit_instructions()  # the plan counts a convolution's memory, and so is one
    spec = task.read_model()
    choose_device(task.device)
    if task.is_compatible and len(find_views(task.views)) > 1:
        msg = f"CryoSiam turns nothing, got the views {task.views}. Leave them out (--tta none)."
        raise ConfigError(msg)
    _rule(task, spec, spec.patch, (1.0, 1.0, 1.0), task.model)  # says it of a model of many classes
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
            differing = _differing(tomogram)
            if exists and not differing:
                entry.status = "skipped"
                shutil.rmtree(tomogram.work, ignore_errors=True)  # of a run killed at its very end
                continue
            if is_begun:  # what is there may be a part of what the killed run has written
                unfinished_tiles(tomogram)
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


def _differing(tomogram: Tomogram) -> str:
    """How a prediction was made otherwise than it would be now; empty where it was not."""
    record = read_record(tomogram.entry.output)
    if record.get("made_by") != f"volproc {STORY}":
        return "no record says that volproc made it so"
    known = {key: record.get(key) for key in tomogram.description}
    return describe_differences(known, tomogram.description)


def _exists(task: PredictionTask, entry: Entry) -> bool:
    return any(path.exists() for path in task.outputs(entry.name).all)


def _predict(
    task: PredictionTask, spec: ModelSpec, tomogram: Tomogram, runner: Executor, observe: Observer
) -> TileCount:
    """Predict one tomogram."""
    header, entry = tomogram.header, tomogram.entry
    rule = _rule(task, spec, header.source.shape, tomogram.voxel_size, entry.name)
    if task.form != "h5":
        needed_size(task.outputs(entry.name), tomogram.voxel_size)
    pool = pool_of(runner, "gpu")
    tiles, ledger = begin_tiles(task, spec, tomogram, pool, observe)
    try:
        parts = _parts(task)
        job = TileJob(
            header.source,
            spec,
            tiles,
            task.threshold,
            task.device,
            tomogram.laid_mask,
            find_views(task.views),
            has_outputs=len(parts) > 1,
            batch=task.batch_size,
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
        arrays: dict[Part, Source] = {
            part: array for part, array in work.arrays.items() if part != "foreground"
        }
        if rule is not None:
            arrays["labels"] = lamella_labels(
                work.arrays["labels"],
                work.arrays.get("foreground"),
                folder=str(tomogram.work / LAMELLA),
                rule=rule,
                executor=pool_of(runner, "cpu"),
                observe=observe,
            )
        _write(task, spec, tomogram, arrays)
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
    text = describe_tiles(
        work.job.spec,
        work.job.tiles,
        on_device=on_device,
        has_outputs=task.needs_probabilities,
    )
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


def _parts(task: PredictionTask) -> tuple[Part, ...]:
    """What is kept of tiles."""
    parts: tuple[Part, ...] = ("labels",)
    if task.has_outputs:
        parts += ("probabilities", "distances")
    if task.has_postprocessing and task.is_compatible:
        parts += ("foreground",)
    return parts


def _rule(
    task: PredictionTask,
    spec: ModelSpec,
    shape: Shape,
    voxel_size: tuple[float, ...] | None,
    name: str,
) -> LamellaRule | None:
    """What is done with the mask of a lamella model; None where nothing is."""
    if not task.has_postprocessing:
        return None
    return lamella_rule(
        shape,
        threshold=task.threshold,
        num_classes=num_channels(spec),
        voxel_size=voxel_size,
        is_compatible=task.is_compatible,
        has_3d=task.has_hull_3d,
        name=name,
    )


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


def _warn_of_contrast(
    task: PredictionTask, facts: Sequence[Mapping[str, Any]], observe: Observer
) -> None:
    """Say where voxels were clipped: the tomogram may not be scaled as the model wants it."""
    lowest = min(found["lowest"] for found in facts)
    highest = max(found["highest"] for found in facts)
    if text := contrast_outside(lowest, highest, task.intensity):
        text += " was clipped. Denoise and scale the tomogram first, white on black."
        observe(Event("note", STAGE, text=text))
