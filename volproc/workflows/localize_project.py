"""Localization in the runs of a copick project, as Octopi's users ask for it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from volproc.core.errors import AddressError, nearest
from volproc.io.copick_address import check_new_name, picks_address, segmentation_address
from volproc.io.copick_project import list_runs, project_objects
from volproc.io.octopi_logs import log_path, write_log
from volproc.reduce.particle_rule import RADIUS_MAX_SCALES
from volproc.workflows.dataset_outputs import named
from volproc.workflows.dataset_record import Entry
from volproc.workflows.particle_task import LocalizeTask
from volproc.workflows.record import read_record

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProjectPicking:
    """Which segmentations of a project are localized, and whose the picks are."""

    config: str
    """Configuration file of the project."""

    name: str = "predict"
    """Name of the segmentations."""

    user: str = "octopi"
    """Who made them."""

    session: str = "1"
    """Session of that user."""

    voxel_size: float = 10.0
    """Voxel spacing of the segmentations, Å."""

    pick_user: str = "octopi"
    """Whose the picks are."""

    pick_session: str = "1"
    """Session of that user."""

    runs: tuple[str, ...] = ()
    """The only runs; all of the project where it is empty."""


def project_tasks(common: LocalizeTask, picking: ProjectPicking) -> list[LocalizeTask]:
    """One task a run; those whose run has no segmentation fail, and say so.

    Parameters
    ----------
    common : LocalizeTask
        What all have in common. ``{name}`` in its probabilities is the run; peaks are those of
        the probabilities, not of a segmentation.
    picking : ProjectPicking
        What of the project is wanted.

    Raises
    ------
    MissingFileError, ConfigError
        If there is no such project, or a particle in it has no radius.
    AddressError
        If a run is not in the project, or a name is none that copick can read back.
    """
    known = list_runs(picking.config)
    for run in picking.runs:
        if run not in known:
            msg = f'{picking.config} has no run "{run}"; {nearest(run, known)}'
            raise AddressError(msg)
    if not known:
        msg = f"{picking.config} has no runs. Give a project with segmentations."
        raise AddressError(msg)
    check_new_name("user", picking.pick_user)
    check_new_name("session", picking.pick_session)
    tasks = [_task(common, picking, run) for run in picking.runs or known]
    radii, values = tasks[0].find_classes()  # what the project lacks is said before any work
    objects = {*project_objects(picking.config), *radii}
    strangers = [name for name, value in values.items() if value and name not in objects]
    if strangers and common.label is None:
        logger.warning(
            "classes of the segmentation are no objects of %s and are not looked for: %s",
            picking.config,
            named(strangers),
        )
    return tasks


def log_picking(
    picking: ProjectPicking, tasks: Sequence[LocalizeTask], entries: Sequence[Entry]
) -> dict[str, int]:
    """Write the log of a localization into the project, as Octopi does, once the picks are there.

    Parameters
    ----------
    picking : ProjectPicking
        What was asked for.
    tasks : sequence of LocalizeTask
        What was done.
    entries : sequence of Entry
        What became of each.

    Returns
    -------
    counts : dict
        Picks of each class in all runs. Without a run that was done nothing is written.
    """
    done = [e for e in entries if e.status in ("done", "skipped")]
    counts: Counter[str] = Counter()
    for entry in done:
        counts.update(read_record(entry.output).get("counts", {}))
    radii, values = tasks[0].find_classes()
    found = {name: counts[name] for name in radii}
    if not done:
        return found
    task = tasks[0]
    largest = task.radius_max_scale
    owner = {"user": picking.pick_user, "session": picking.pick_session}
    content = {
        "input": {
            "config": picking.config,
            "seg_name": picking.name,
            "seg_user_id": picking.user,
            "seg_session_id": picking.session,
            "voxel_size": picking.voxel_size,
        },
        "output": {"pick_session_id": picking.pick_session, "pick_user_id": picking.pick_user},
        "parameters": {
            "method": task.method,
            "radius_min_scale": task.radius_min_scale,
            "radius_max_scale": RADIUS_MAX_SCALES[task.method] if largest is None else largest,
            "filter_size": task.filter_size,
            **_peak_parameters(task),
        },
        "labels": {name: values[name] for name in radii},
        "radii_angstrom": radii,
        "picks": found,
        "runs": {
            "done": [e.name for e in done],
            "failed": [e.name for e in entries if e.status == "failed"],
        },
        "made_by": f"volproc {version('volproc')}",
    }
    write_log(log_path(picking.config, "localize", **owner), content)
    return found


def _peak_parameters(task: LocalizeTask) -> dict[str, float | bool]:
    if task.method != "peaks":
        return {}
    names = ("threshold", "distance_scale", "smooth_scale", "refine")
    return {name: getattr(task, name) for name in names}


def _task(common: LocalizeTask, picking: ProjectPicking, run: str) -> LocalizeTask:
    """What is done in one run."""
    maps = {
        name: getattr(common, name).replace("{name}", run)
        for name in ("probabilities", "variance", "weight_by")
    }
    if common.method == "peaks":
        address, maps["probabilities"] = maps["probabilities"], ""
        return replace(common, address=address, output=_output(picking, run), **maps)
    address = segmentation_address(
        Path(picking.config),
        run,
        picking.name,
        user=picking.user,
        session=picking.session,
        voxel_size=picking.voxel_size,
    )
    return replace(common, address=address, output=_output(picking, run), **maps)


def _output(picking: ProjectPicking, run: str) -> str:
    return picks_address(
        Path(picking.config), run, user=picking.pick_user, session=picking.pick_session
    )
