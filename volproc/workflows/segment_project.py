"""Segmentation of the runs of a copick project, as Octopi's users ask for it, and its log."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from volproc.core.errors import AddressError, ConfigError, nearest
from volproc.io.copick_address import (
    CopickAddress,
    check_new_name,
    is_copick,
    parse_copick,
    segmentation_address,
    tomogram_address,
)
from volproc.io.copick_project import list_runs, project_objects
from volproc.io.octopi_logs import log_path, write_log
from volproc.models.weights import hash_file
from volproc.workflows.dataset_outputs import named
from volproc.workflows.record import versions
from volproc.workflows.segment_record import describe_settings
from volproc.workflows.segment_task import SegmentTask

logger = logging.getLogger(__name__)

DONE = ("done", "skipped")
"""What becomes of a run that has its segmentation."""


@dataclass(frozen=True, slots=True)
class ProjectSegmenting:
    """Which tomograms of a project are segmented, and what the segmentations are called."""

    config: str
    """Configuration file of the project."""

    tomogram: str = "wbp"
    """Type of the tomograms."""

    voxel_size: float = 10.0
    """Their voxel spacing, Å."""

    name: str = "predict"
    """Name of the segmentations."""

    user: str = "octopi"
    """Who makes them."""

    session: str = "1"
    """Session of that user."""

    runs: tuple[str, ...] = ()
    """The only runs; all of the project where it is empty."""


def project_tasks(common: SegmentTask, segmenting: ProjectSegmenting) -> list[SegmentTask]:
    """One task a run; those whose run lacks the tomogram fail, and say so.

    Parameters
    ----------
    common : SegmentTask
        What all have in common.
    segmenting : ProjectSegmenting
        What of the project is wanted.

    Returns
    -------
    tasks : list of SegmentTask
        Of the runs that were named; else of all, but those that have tomograms at other spacings
        only: they are named in a warning.

    Raises
    ------
    MissingFileError, ConfigError
        If there is no such project, or it has no object that the models know; those that know
        some others too are named in a warning.
    AddressError
        If a run is not in the project, no run has the spacing, a name is none that copick can read
        back, or the project is not kept on the local disk.
    """
    config, spacing = segmenting.config, segmenting.voxel_size
    for what in ("name", "user", "session"):
        check_new_name(what.replace("name", "segmentation"), getattr(segmenting, what))
    log_path(config, "segment", user=segmenting.user, session=segmenting.session, name="x")
    known = list_runs(config)
    for run in segmenting.runs:
        if run not in known:
            msg = f'{config} has no run "{run}"; {nearest(run, known)}'
            raise AddressError(msg)
    runs = list(segmenting.runs)
    if not runs:
        fitting = set(list_runs(config, voxel_size=spacing))
        if not fitting:
            msg = (
                f"{config} has no run with tomograms at {spacing:g} Å per voxel. Choose another "
                "spacing with --voxel-size, or name the runs with --run-ids."
            )
            raise AddressError(msg)
        others = sorted(set(list_runs(config, has_tomograms=True)) - fitting)
        if others:
            logger.warning(
                "left out, since their tomograms have other voxel spacings than %g Å: %s",
                spacing,
                named(others),
            )
        runs = [run for run in known if run not in others]
    _check_classes(common, config)
    return [
        replace(common, address=_input(segmenting, run), output=_output(segmenting, run))
        for run in runs
    ]


def _check_classes(common: SegmentTask, config: str) -> None:
    """Refuse models that know no object of the project; name classes that are none of it."""
    classes, objects = common.read_models()[0].classes[1:], project_objects(config)
    strangers = [name for name in classes if name not in objects]
    if not strangers:
        return
    there = f"it has {', '.join(objects) or 'none'}"
    if len(strangers) == len(classes):
        msg = (
            f"the classes of the model ({', '.join(classes)}) are no objects of {config}: {there}. "
            "Say which channel is what with --labels NAME=CHANNEL, add the objects to the project, "
            "or take another model."
        )
        raise ConfigError(msg)
    logger.warning(
        "classes of the model are no objects of %s (%s), so that nothing will be picked of them: "
        "%s. --labels NAME=CHANNEL says which channel is what",
        config,
        there,
        named(strangers),
    )


def log_segmenting(
    tasks: Sequence[SegmentTask], outcomes: Sequence[str], *, preset: str = ""
) -> list[Path]:
    """Write Octopi's log of segmentations into their projects, once they are there.

    Octopi's ``localize`` reads it: without the log it knows no class.

    Parameters
    ----------
    tasks : sequence of SegmentTask
        What was asked for; those whose outputs are no segmentations of a project have no log.
    outcomes : sequence of str
        What became of each: ``done``, ``skipped``, ``failed`` …
    preset : str
        What the settings were called.

    Returns
    -------
    paths : list of Path
        One log for each user, session and name. Where no run was done there is none, and an
        earlier one stays as it was.
    """
    groups: dict[tuple[Any, ...], list[tuple[SegmentTask, CopickAddress, str]]] = {}
    for task, outcome in zip(tasks, outcomes, strict=True):
        if is_copick(task.output):
            place = parse_copick(task.output)
            if place.has_owner:
                key = (place.config, place.user, place.session, place.name)
                groups.setdefault(key, []).append((task, place, outcome))
    paths = []
    for (config, user, session, name), members in groups.items():
        if any(outcome in DONE for _, _, outcome in members):
            path = log_path(config, "segment", user=user, session=session, name=name)
            write_log(path, _content(members, preset))
            paths.append(path)
    return paths


def _content(
    members: Sequence[tuple[SegmentTask, CopickAddress, str]], preset: str
) -> dict[str, Any]:
    """What the log says: first what Octopi's says, then how it was made."""
    task, place, _ = next(member for member in members if member[2] in DONE)
    specs = task.read_models()
    source = parse_copick(task.address) if is_copick(task.address) else None
    settings = describe_settings(task, specs)["settings"]
    configs = [Path(spec.config) for spec in specs if spec.config]
    runs = [(where.run, outcome in DONE) for _, where, outcome in members]
    return {
        "inputs": {
            "config": str(place.config),
            "tomo_alg": source.name if source else task.address,
            "voxel_size": float(place.voxel or task.open().voxel_size[0]),
        },
        "labels": {name: value for value, name in enumerate(specs[0].classes) if value},
        "model": {
            "configs": [str(path) for path in configs],
            "weights": [spec.weights for spec in specs],
        },
        "parameters": {
            "sw_bs": task.settings.batch_size,
            "overlap": task.settings.overlap,
            "ntta": len(task.settings.views),
        },
        "outputs": {
            "seg_name": place.name,
            "seg_user_id": place.user,
            "seg_session_id": place.session,
        },
        "settings": {"preset": preset, **settings},
        "hashes": {
            "configs": [hash_file(path) for path in configs],
            "weights": [spec.sha256 for spec in specs],
        },
        "runs": {
            "done": [run for run, is_done in runs if is_done],
            "failed": [run for run, is_done in runs if not is_done],
        },
        "versions": versions(),
    }


def preset_for(task: SegmentTask) -> str:
    """Preset that is usual for the models of a task: Octopi's for models of Octopi.

    >>> preset_for(SegmentTask("", "", model="phantom-unet"))
    'volproc'
    """
    return "octopi" if all(spec.config for spec in task.read_models()) else "volproc"


def _input(segmenting: ProjectSegmenting, run: str) -> str:
    return tomogram_address(segmenting.config, run, segmenting.tomogram, segmenting.voxel_size)


def _output(segmenting: ProjectSegmenting, run: str) -> str:
    return segmentation_address(
        Path(segmenting.config),
        run,
        segmenting.name,
        user=segmenting.user,
        session=segmenting.session,
        voxel_size=segmenting.voxel_size,
    )
