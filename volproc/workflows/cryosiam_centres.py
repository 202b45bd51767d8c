"""CryoSiam's centres: a folder of predictions in, tables of all particles out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from volproc.core.errors import (
    AddressError,
    ExistsError,
    InputChangedError,
    VolprocError,
    VoxelSizeError,
)
from volproc.core.events import Event, Observer, ignore
from volproc.core.executor import Executor, SerialExecutor, pool_of
from volproc.core.types import Shape
from volproc.graph.ledger import work_folder
from volproc.graph.sidecars import Sidecars
from volproc.io.atomic_text import write_texts
from volproc.io.create import refuse_existing
from volproc.io.cryosiam_files import (
    Prediction,
    find_predictions,
    open_labels,
)
from volproc.io.cryosiam_tables import class_texts, empty_centres, relion_text
from volproc.io.formats import Header
from volproc.io.open import inspect
from volproc.workflows.cryosiam_picks import (
    end_tomogram,
    has_picks,
    refuse_tomogram,
    write_tomogram,
)
from volproc.workflows.cryosiam_rule import (
    ALL,
    CentresTask,
    centres_frame,
    open_prediction_maps,
)
from volproc.workflows.dataset_outputs import named
from volproc.workflows.dataset_record import Entry
from volproc.workflows.each_tomogram import do_each_tomogram
from volproc.workflows.particle_stages import TABLES, Stages, find_particles, stage_marks
from volproc.workflows.record import made_so, read_record, record_path, write_record
from volproc.workflows.sole_run import sole_run

STAGE = "centres"

STORY = "cryosiam semantic-to-centers"
"""What records say that made the tables."""


@dataclass(frozen=True, slots=True)
class CentresReport:
    """What became of each tomogram."""

    entries: tuple[Entry, ...]
    counts: dict[str, int]
    """Particles of each class."""

    paths: tuple[Path, ...]
    """Tables."""

    record: Path
    was_finished: bool = False

    @property
    def num_failed(self) -> int:
        """Tomograms that could not be done."""
        return sum(entry.status == "failed" for entry in self.entries)

    @property
    def has_tables(self) -> bool:
        """Whether tables were written: some tomogram could be done."""
        return self.num_failed < len(self.entries)


@dataclass(slots=True)
class _Volumes:
    """What is gathered of the tomograms."""

    frames: list[pd.DataFrame] = field(default_factory=list)
    sizes: dict[str, tuple[tuple[float, ...], Shape]] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)


def find_centres(
    task: CentresTask, *, executor: Executor | None = None, observe: Observer = ignore
) -> CentresReport:
    """Find the particles of all predictions of a folder, as CryoSiam does.

    Each class is eroded once with the cross of seven voxels, beyond the volume everything counting
    as inside; connected voxels, across corners too, are an object, numbered in raster order of
    their first voxels; those with more voxels than ``min_voxels`` are particles, at their mean.

    Parameters
    ----------
    task : CentresTask
        What to do.
    executor, observe
        Where blocks run, and who watches.

    Returns
    -------
    report : CentresReport
        A tomogram that cannot be read fails alone: the tables then hold the others.

    Raises
    ------
    MissingFileError
        If there is no prediction.
    ExistsError
        If a table is there that is not to be replaced; nothing was done then.
    ResumeError
        If the tables were made with other settings, or another run is under way.

    Notes
    -----
    All classes are found in one pass over the blocks, each read once with a halo of one voxel.
    Blocks leave their tables in a hidden folder beside the output until all is done: a killed run
    goes on from there, and so does one of which a tomogram failed.
    """
    is_apart = Path(task.folder).resolve() != Path(task.tomograms).resolve()
    predictions, left_out = find_predictions(task.folder, task.extension if is_apart else "")
    if left_out:
        observe(Event("note", STAGE, text=f"left out, no predictions: {named(left_out)}"))
    if not task.place.parent.exists() or task.place.is_file():
        msg = f"the folder {task.place} cannot be made. Check the output."
        raise AddressError(msg)
    if task.relion:
        refuse_existing(Path(task.relion).absolute(), overwrite=True)  # its folder has to be there
    anchor = str(task.place / ALL)
    if task.resume and (finished := _finished(task, predictions)):
        return finished
    _refuse_existing(task)
    task.place.mkdir(exist_ok=True)
    with sole_run(record_path(anchor)):
        found = _Volumes()
        entries = [Entry(one.name, one.path, anchor) for one in predictions]
        runner = executor or SerialExecutor()
        members = {one.path: one for one in predictions}

        def do_one(entry: Entry, watch: Observer) -> None:
            _do_one(task, members[entry.input], found, runner, watch)

        do_each_tomogram(entries, do_one, stage=STAGE, observe=observe)
        return _write(task, entries, found)


def _do_one(
    task: CentresTask, prediction: Prediction, found: _Volumes, runner: Executor, observe: Observer
) -> None:
    """Find the centres of one tomogram."""
    header = open_labels(prediction)
    source, size = header.source, _voxel_size(task, prediction, header)
    if task.picks:
        refuse_tomogram(task, prediction.name, may_replace=_may_replace(task))
    maps = open_prediction_maps(task, prediction, source.shape)
    rule = task.rule(size)
    folder = work_folder(task.place / ALL) / Path(prediction.path).name
    sidecars = Sidecars(str(folder), stage_marks(source, rule, maps), TABLES)
    stages = Stages(pool_of(runner, "cpu"), observe, sidecars)
    table = find_particles(source, rule, stages, voxel_size=size, maps=maps)
    again = open_prediction_maps(task, prediction, source.shape).identity()
    if open_labels(prediction).source.identity() != source.identity() or again != maps.identity():
        sidecars.remove()
        msg = f"{prediction.path} changed while it was read. Run it again when nobody writes to it."
        raise InputChangedError(msg)
    found.frames.append(centres_frame(table, prediction.name, size))
    found.inputs[prediction.name] = source.identity()
    if size is not None:
        found.sizes[prediction.name] = (size, source.shape)


def _voxel_size(
    task: CentresTask, prediction: Prediction, header: Header
) -> tuple[float, ...] | None:
    """Å per voxel of one tomogram, (z, y, x); None where nobody says it, nor needs it."""
    if task.voxel_size is not None:
        return (task.voxel_size,) * 3
    size = header.voxel_size
    if size is None and task.tomograms:
        try:
            size = inspect(Path(task.tomograms) / f"{prediction.name}{task.extension}").voxel_size
        except VolprocError:
            size = None  # the tomogram may be gone by now
    if size is None and task.needs_size:
        msg = (
            f"neither {prediction.path} nor its tomogram says how large a voxel is, which sizes "
            "in nm³ and RELION's coordinates need. Give it in Å: voxel_size= (--voxel-size)."
        )
        raise VoxelSizeError(msg)
    if size is not None and task.relion and max(size) > min(size) * 1.001:
        msg = (
            f"voxels of {prediction.path} are no cubes, got {size} Å (z, y, x), and RELION knows "
            "one pixel size. Write no STAR file for it."
        )
        raise VoxelSizeError(msg)
    return size


def _wanted(task: CentresTask) -> dict[str, Any]:
    """What the tables depend on beside the inputs; JSON values."""
    left_out = ("folder", "output", "overwrite", "resume", "tomograms", "extension")
    values = {key: value for key, value in asdict(task).items() if key not in left_out}
    return {"folder": str(Path(task.folder).absolute()), **values}


def _finished(task: CentresTask, predictions: Sequence[Prediction]) -> CentresReport | None:
    """The report of an earlier run that did all of this; None if there is none."""
    anchor = str(task.place / ALL)
    record = read_record(anchor)
    if record.get("status") != "done" or not all(path.exists() for path in task.outputs):
        return None
    inputs = {one.name: open_labels(one).source.identity() for one in predictions}
    if not made_so(anchor, STORY, {**_wanted(task), "inputs": inputs}):
        return None
    if task.picks and not all(has_picks(task, one.name) for one in predictions):
        return None
    entries = tuple(Entry(one.name, one.path, anchor, "skipped") for one in predictions)
    paths = tuple(task.outputs)
    return CentresReport(entries, record["counts"], paths, record_path(anchor), was_finished=True)


def _refuse_existing(task: CentresTask) -> None:
    """Refuse tables that are there, but for those of the same run of which a tomogram failed."""
    existing = [str(path) for path in task.outputs if path.exists()]
    if not existing or _may_replace(task):
        return
    msg = (
        f"{named(existing)} exist. Choose another folder, take them if they were made so "
        "(resume=, --resume), or replace them with overwrite= (--overwrite)."
    )
    raise ExistsError(msg)


def _may_replace(task: CentresTask) -> bool:
    """Whether outputs may be replaced: asked for, or of the same run, that failed in part."""
    if task.overwrite:
        return True
    anchor = str(task.place / ALL)
    return read_record(anchor).get("status") == "failed" and made_so(anchor, STORY, _wanted(task))


def _write(task: CentresTask, entries: list[Entry], found: _Volumes) -> CentresReport:
    """Write all tables at once, then the record."""
    centres = _joined(found.frames)
    anchor = str(task.place / ALL)
    counts = {
        name: int((centres["class_value"] == value).sum()) for name, value in task.classes.items()
    }
    num_failed = sum(entry.status == "failed" for entry in entries)
    if num_failed < len(entries):
        texts = class_texts(centres, task.place, task.num_classes, only_cryosiam=task.is_compatible)
        texts[Path(anchor)] = centres.to_csv(index=False, lineterminator="\n")
        if task.relion:
            texts[Path(task.relion).absolute()] = relion_text(centres, found.sizes)
        for name in found.sizes if task.picks else ():
            write_tomogram(task, name, centres[centres["tomo"] == name], *found.sizes[name])
        write_texts(texts)
    facts = {
        "output": anchor,
        "status": "failed" if num_failed else "done",
        "counts": counts,
        "inputs": found.inputs,
        "volumes": [asdict(entry) for entry in entries],
    }
    record = write_record(anchor, STORY, {**facts, **_wanted(task)})
    for name in found.sizes if task.picks else ():
        end_tomogram(task, name)
    if not num_failed:
        Sidecars(str(work_folder(Path(anchor))), {}).remove()
    return CentresReport(tuple(entries), counts, tuple(task.outputs), record)


def _joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Rows of all tomograms; what only some of them know is left out."""
    if not frames:
        return empty_centres()
    known = [set(frame.columns) for frame in frames]
    columns = [name for name in frames[0].columns if all(name in one for one in known)]
    # Types of empty tables would count too.
    filled = [frame[columns] for frame in frames if len(frame)] or [frames[0][columns]]
    return pd.concat(filled, ignore_index=True)
