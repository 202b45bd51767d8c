"""Picks beside a membrane, told from all others and turned to face away from it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Literal

import numpy as np
import numpy.typing as npt

from volproc.core.errors import AddressError, ShapeError
from volproc.core.events import Event, Observer, ignore
from volproc.core.executor import Executor
from volproc.core.volume import Volume
from volproc.graph.membrane import find_centres, find_nearest, find_normals
from volproc.io.octopi_logs import log_path, write_log
from volproc.io.open import open_
from volproc.io.orientations import face_octopi, face_zyx
from volproc.io.picks_split import (
    Part,
    read_whole_picks,
    refuse_existing_picks,
    write_parts,
)
from volproc.io.xyz import xyz_angstrom_to_zyx
from volproc.reduce.nearest_mask import Nearest
from volproc.workflows.dataset import explain
from volproc.workflows.dataset_record import Entry, RunRecord, Status, goes_on, read_run
from volproc.workflows.membrane_finished import FinishedRuns
from volproc.workflows.membrane_runs import STAGE, MembraneTask, RunPicks, find_works

RADIUS_VOXELS = 8.0
"""Voxels around the nearest one that the surface is fitted to: more than a membrane is thick."""


@dataclass(frozen=True, slots=True)
class MembraneReport:
    """What became of each run."""

    entries: tuple[Entry, ...]
    """One a run that has picks."""

    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Close picks and others of each run that was done."""

    log: Path | None = None
    """Octopi's log; None where no run was done."""

    @property
    def num_failed(self) -> int:
        """Runs that could not be done."""
        return sum(entry.status == "failed" for entry in self.entries)


def extract_membrane(
    task: MembraneTask, *, executor: Executor | None = None, observe: Observer = ignore
) -> MembraneReport:
    """Tell picks beside a mask from all others, run by run, and turn them to face away from it.

    Parameters
    ----------
    task : MembraneTask
        What to do.
    executor : Executor
        Where blocks of the masks are read.
    observe : callable
        Takes events.

    Returns
    -------
    report : MembraneReport
        A run that lacks the mask, or cannot be read, fails alone; one that lacks the picks is
        named in a note, and fails if it was asked for.

    Raises
    ------
    MissingFileError, ConfigError, AddressError
        If the project, an object or a run is not there, or a name is none for copick.
    ExistsError
        If an output is there; before any work. Of the same command that was killed, or in which
        runs failed, what is finished is kept and the rest replaced.
    ResumeError
        If an unfinished run with other settings wrote to the same session.

    Notes
    -----
    Only blocks of the mask that are within the threshold of a pick are read, so that neither
    memory nor, but for ``facing`` by the centre, time follow the size of the volume.
    """
    works = find_works(task, observe)
    entries = [Entry(work.name, work.picks, work.outputs[0]) for work in works]
    record, finished = _begin(task, works, entries)
    counts: dict[str, tuple[int, int]] = {}
    status: Literal["done", "failed", "interrupted"] = "interrupted"
    try:
        observe(Event("dataset", STAGE, total=len(works)))
        for number, (work, entry) in enumerate(zip(works, entries, strict=True)):
            begin_s = perf_counter()
            error = ""
            became: Status = "done"
            try:
                if work.problem:
                    raise AddressError(work.problem)
                before = finished.find(work)
                counts[work.name] = before or _split_run(task, work, executor, observe)
                if before is None:
                    finished.keep(work, counts[work.name])
                else:
                    became = "skipped"
            except Exception as problem:  # one of many: it is noted, and the others go on
                error, became = explain(problem), "failed"
            record.end(number, became, seconds=perf_counter() - begin_s, error=error)
            facts = {"status": entry.status, "time_s": entry.seconds}
            observe(Event("tomogram", STAGE, text=error, volume=work.name, facts=facts))
        observe(Event("done", STAGE))
        log = _write_log(task, _owner(works), entries, counts) if counts else None
        status = "done" if len(counts) == len(works) else "failed"
        if status == "done":
            finished.remove()
    finally:
        with suppress(OSError):  # what ended the run is what has to be said
            record.finish(status)
    return MembraneReport(tuple(entries), counts, log)


def _begin(
    task: MembraneTask, works: Sequence[RunPicks], entries: list[Entry]
) -> tuple[RunRecord, FinishedRuns]:
    """Refuse outputs that are there, but for those of this run when it was killed or failed."""
    path = log_path(task.config, STAGE, user=_owner(works), session=task.save_session)
    path = path.with_suffix(".run.json")
    settings = {key: value for key, value in asdict(task).items() if key != "overwrite"}
    facts = {"made_by": f"volproc {STAGE}", "settings": settings}
    is_own = goes_on(read_run(path), facts, overwrite=task.overwrite)
    outputs = [one for work in works if not work.problem for one in work.outputs]
    refuse_existing_picks(outputs, overwrite=task.overwrite or is_own)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = RunRecord(path, facts, entries)
    record.begin()
    finished = FinishedRuns(path.with_name(f".{path.name.removesuffix('.run.json')}.finished"))
    finished.begin(goes_on=is_own)
    return record, finished


def _owner(works: Sequence[RunPicks]) -> str:
    """Whose the picks become, for the names of the log and the record."""
    for work in works:
        if not work.problem:
            return work.outputs[0].rpartition(":")[2].partition("/")[0]
    msg = f"no run can be done; {works[0].name}: {works[0].problem}"
    raise AddressError(msg)


def _split_run(
    task: MembraneTask, work: RunPicks, executor: Executor | None, observe: Observer
) -> tuple[int, int]:
    """Do one run, and count its close picks and the others."""
    picks = read_whole_picks(work.picks)
    mask = open_(work.mask)
    source = mask.source
    if source is None or len(mask.shape) != 3:
        msg = f"{work.mask} has shape {mask.shape}. A mask is one volume, (z, y, x)."
        raise ShapeError(msg)
    points = xyz_angstrom_to_zyx(picks.centres_xyz, mask.voxel_size)
    unit = mask.voxel_size if task.unit == "angstrom" else (1.0, 1.0, 1.0)
    low, high = task.threshold
    found = find_nearest(source, points, unit=unit, reach=high, executor=executor, observe=observe)
    rows = np.flatnonzero((found.distance >= low) & (found.distance <= high))
    close = Nearest(found.point[rows], found.square[rows], found.label[rows], found.voxel[rows])
    far = np.setdiff1d(np.arange(len(points)), close.point)
    rotations = None
    is_turned = bool(len(points)) and not (picks.rotations == np.eye(3)).all()
    if len(rows) and not is_turned:
        rotations = _face(task, mask, points, close, executor, observe)
    write_parts(
        picks,
        {work.outputs[0]: Part(close.point, rotations), work.outputs[1]: Part(far)},
    )
    return len(rows), len(far)


def _face(
    task: MembraneTask,
    mask: Volume,
    points: npt.NDArray[np.float64],
    close: Nearest,
    executor: Executor | None,
    observe: Observer,
) -> npt.NDArray[np.float64]:
    """Matrices of the close picks."""
    source = mask.source
    assert source is not None
    if task.facing == "surface":
        radius = task.radius_angstrom or RADIUS_VOXELS * min(mask.voxel_size)
        normals = find_normals(
            source, points, close, unit=mask.voxel_size, radius=radius, executor=executor,
            observe=observe,
        )  # fmt: skip
        return face_zyx(normals)
    centres = find_centres(source, executor=executor, observe=observe)
    middle = np.array([centres[label] for label in close.label.tolist()])
    ways = (points[close.point] - middle) * np.asarray(mask.voxel_size)
    return face_octopi(ways) if task.facing == "octopi" else face_zyx(ways)


def _write_log(
    task: MembraneTask,
    user: str,
    entries: Sequence[Entry],
    counts: dict[str, tuple[int, int]],
) -> Path:
    """Write the log as Octopi does, but at the end."""
    path = log_path(task.config, STAGE, user=user, session=task.save_session)
    values = asdict(task)
    write_log(
        path,
        {
            "input": {
                "config": task.config,
                "voxel_size": task.voxel_size,
                "picks_info": list(task.picks),
                "seg_info": list(task.mask),
            },
            "output": {"save_user_id": user, "save_session_id": task.save_session},
            "parameters": {
                "distance_threshold": list(task.threshold),
                "runIDs": list(task.runs) or None,
                **{key: values[key] for key in ("unit", "facing", "radius_angstrom")},
            },
            "picks": {run: {"close": near, "far": far} for run, (near, far) in counts.items()},
            "runs": {
                "done": list(counts),
                "failed": [entry.name for entry in entries if entry.status == "failed"],
            },
            "made_by": f"volproc {version('volproc')}",
        },
    )
    return path
