"""Picks beside a membrane, told from all others and turned to face away from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from volproc.core.errors import AddressError, ConfigError, ShapeError, nearest
from volproc.core.events import Event, Observer, ignore
from volproc.core.executor import Executor
from volproc.core.volume import Volume
from volproc.graph.membrane import find_centres, find_nearest, find_normals
from volproc.io.copick_address import check_new_name, picks_address
from volproc.io.copick_project import list_runs, project_objects
from volproc.io.octopi_logs import log_path, logs_folder, write_log
from volproc.io.open import open_
from volproc.io.orientations import face_octopi, face_zyx
from volproc.io.picks_find import find_picks, find_segmentations
from volproc.io.picks_split import (
    Part,
    read_whole_picks,
    refuse_existing_picks,
    write_parts,
)
from volproc.io.xyz import xyz_angstrom_to_zyx
from volproc.reduce.nearest_mask import Nearest
from volproc.workflows.dataset import explain
from volproc.workflows.dataset_outputs import named
from volproc.workflows.dataset_record import Entry

STAGE = "membrane-extract"

Facing: TypeAlias = Literal["surface", "centre", "octopi"]
"""What close picks are turned by."""

Owned: TypeAlias = tuple[str, str | None, str | None]
"""Name, user and session; the last two None where the only one there is is meant."""

RADIUS_VOXELS = 8.0
"""Voxels around the nearest one that the surface is fitted to: more than a membrane is thick."""


@dataclass(frozen=True, slots=True)
class MembraneTask:
    """Which picks are held against which mask.

    Parameters
    ----------
    config : str
        Configuration file of a copick project.
    picks, mask : (str, str or None, str or None)
        Name, user and session of the picks, and of the segmentation.
    save_session : str
        A whole number: session of the close picks. The others go to the next one.
    save_user : str
        Whose they become; by default that of the picks.
    voxel_size : float
        Voxel spacing of the segmentation, Å.
    threshold : (float, float)
        Least and greatest distance of a close pick from the nearest voxel of the mask, both
        included.
    unit : {"voxel", "angstrom"}
        What distances are counted in.
    facing : {"surface", "centre", "octopi"}
        Close picks are turned, where no pick of the run is turned yet: by the surface normal of
        the mask, or by the way from the centre of mass of its label to the pick. The last is the
        second as Octopi's source has it, which takes z for x.
    radius_angstrom : float
        How far around its nearest voxel the surface is fitted; 8 voxels by default.
    runs : tuple of str
        The only runs; all of the project where it is empty.
    overwrite : bool
        Replace picks that are there.
    """

    config: str
    picks: Owned
    mask: Owned
    save_session: str
    save_user: str | None = None
    voxel_size: float = 10.0
    threshold: tuple[float, float] = (1.0, 10.0)
    unit: Literal["voxel", "angstrom"] = "voxel"
    facing: Facing = "surface"
    radius_angstrom: float | None = None
    runs: tuple[str, ...] = ()
    overwrite: bool = False

    def __post_init__(self) -> None:
        low, high = self.threshold
        if not 0 <= low <= high < float("inf"):
            msg = f"threshold must be from 0 on and ascending, got {low:g},{high:g}."
            raise ConfigError(msg)
        if not self.save_session.isdecimal():
            msg = (
                f'the session to save to must be a whole number, got "{self.save_session}": picks '
                "far from the mask go to the next one."
            )
            raise ConfigError(msg)
        if self.facing not in get_args(Facing):
            msg = f'there is no normal "{self.facing}"; {nearest(self.facing, get_args(Facing))}'
            raise ConfigError(msg)
        for name in ("voxel_size", "radius_angstrom"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                msg = f"{name} must be positive and finite, got {value}."
                raise ConfigError(msg)

    @property
    def sessions(self) -> tuple[str, str]:
        """Sessions of the close picks, and of the others."""
        return self.save_session, str(int(self.save_session) + 1)


@dataclass(frozen=True, slots=True)
class RunPicks:
    """What a run has for the work."""

    name: str
    picks: str
    """Address of the picks."""

    mask: str = ""
    """Address of the mask; empty where there is a problem."""

    outputs: tuple[str, str] = ("", "")
    """Addresses of close picks and of others."""

    problem: str = ""
    """Why the run cannot be done."""


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
        If an output is there; before any work.

    Notes
    -----
    Only blocks of the mask that are within the threshold of a pick are read, so that neither
    memory nor, but for ``facing`` by the centre, time follow the size of the volume.
    """
    works = _find_works(task, observe)
    refuse_existing_picks(
        [one for work in works if not work.problem for one in work.outputs],
        overwrite=task.overwrite,
    )
    entries = [Entry(work.name, work.picks, work.outputs[0]) for work in works]
    counts: dict[str, tuple[int, int]] = {}
    observe(Event("dataset", STAGE, total=len(works)))
    for work, entry in zip(works, entries, strict=True):
        begin_s = perf_counter()
        try:
            if work.problem:
                raise AddressError(work.problem)
            counts[work.name] = _split_run(task, work, executor, observe)
            entry.status = "done"
        except Exception as error:  # one of many: it is noted, and the others go on
            entry.status, entry.error = "failed", explain(error)
        entry.seconds = round(perf_counter() - begin_s, 3)
        facts = {"status": entry.status, "time_s": entry.seconds}
        observe(Event("tomogram", STAGE, text=entry.error, volume=work.name, facts=facts))
    observe(Event("done", STAGE))
    log = _write_log(task, works, entries, counts) if counts else None
    return MembraneReport(tuple(entries), counts, log)


def _find_works(task: MembraneTask, observe: Observer) -> list[RunPicks]:
    """What each run has; runs without the picks are left out and named."""
    logs_folder(task.config)  # a project that cannot be written to is refused before any work
    objects, known = project_objects(task.config), list_runs(task.config)
    if task.picks[0] not in objects:
        msg = f'"{task.picks[0]}" is no object of {task.config}; {nearest(task.picks[0], objects)}'
        raise AddressError(msg)
    for run in task.runs:
        if run not in known:
            msg = f'{task.config} has no run "{run}"; {nearest(run, known)}'
            raise AddressError(msg)
    works = [_find_work(task, run) for run in task.runs or known]
    without = [work.name for work in works if not work.picks]
    if without and not task.runs:
        works = [work for work in works if work.picks]
        observe(Event("note", STAGE, text=f"left out, since there are no picks: {named(without)}"))
    if not works:
        msg = (
            f"no run of {task.config} has picks {_said(task.picks)}. Check name, user and session."
        )
        raise AddressError(msg)
    return works


def _find_work(task: MembraneTask, run: str) -> RunPicks:
    """Picks and mask of one run."""
    name, user, session = task.picks
    found = find_picks(task.config, run, name, user=user, session=session)
    if len(found) != 1:
        return RunPicks(
            run, found[0] if found else "", problem=_problem("picks", task.picks, found)
        )
    seg_name, seg_user, seg_session = task.mask
    masks = find_segmentations(
        task.config, run, seg_name, voxel_size=task.voxel_size, user=seg_user, session=seg_session
    )
    if len(masks) != 1:
        what = f"segmentations at {task.voxel_size:g} Å"
        return RunPicks(run, found[0], problem=_problem(what, task.mask, masks))
    owner = found[0].rpartition(":")[2].partition("/")
    save_user = task.save_user or owner[0]
    check_new_name("user", save_user)
    outputs = [
        picks_address(task.config, run, user=save_user, session=one, object_name=name)
        for one in task.sessions
    ]
    if found[0] in outputs:
        msg = (
            f"the picks {found[0]} would be overwritten by what is made of them. Save to other "
            "sessions (--save-session-id), or as another user (--save-user-id)."
        )
        raise ConfigError(msg)
    return RunPicks(run, found[0], masks[0], (outputs[0], outputs[1]))


def _problem(what: str, asked: Owned, found: Sequence[str]) -> str:
    if found:
        return f"several {what} fit {_said(asked)}: {named(list(found))}. Write name,user,session."
    return f"there are no {what} {_said(asked)}. Check name, user and session."


def _said(asked: Owned) -> str:
    name, user, session = asked
    return name if user is None else f"{name}:{user}/{session}"


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
    works: Sequence[RunPicks],
    entries: Sequence[Entry],
    counts: dict[str, tuple[int, int]],
) -> Path:
    """Write the log as Octopi does, but at the end."""
    done = next(work for work in works if work.name in counts)
    user = done.outputs[0].rpartition(":")[2].partition("/")[0]
    path = log_path(task.config, "membrane-extract", user=user, session=task.save_session)
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
