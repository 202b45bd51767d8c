"""Which picks and which mask each run of a project has for `volproc.workflows.membrane`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from volproc.core.errors import AddressError, ConfigError, nearest
from volproc.core.events import Event, Observer
from volproc.io.copick_address import check_new_name, picks_address
from volproc.io.copick_project import list_runs, project_objects
from volproc.io.octopi_logs import logs_folder
from volproc.io.picks_find import find_picks, find_segmentations
from volproc.workflows.dataset_outputs import named

STAGE: Literal["membrane-extract"] = "membrane-extract"

Facing: TypeAlias = Literal["surface", "centre", "octopi"]
"""What close picks are turned by."""

Owned: TypeAlias = tuple[str, str | None, str | None]
"""Name, user and session; the last two None where the only one there is is meant."""


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


def find_works(task: MembraneTask, observe: Observer) -> list[RunPicks]:
    """What each run has; runs without the picks are left out and named.

    Parameters
    ----------
    task : MembraneTask
        What is wanted.
    observe : callable
        Is told which runs are left out.

    Raises
    ------
    MissingFileError, ConfigError, AddressError
        If the project, an object or a run is not there, a name is none for copick, or no run has
        such picks.
    """
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
