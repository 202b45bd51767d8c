"""Localization with a record beside the picks, by which finished ones are known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volproc.core.errors import ConfigError, ExistsError, MissingFileError, VolprocError
from volproc.core.events import Observer, ignore
from volproc.core.executor import Executor
from volproc.core.points import Points
from volproc.core.volume import Volume
from volproc.io.copick_address import is_copick
from volproc.io.points import refuse_points
from volproc.workflows.dataset_outputs import input_name
from volproc.workflows.particle_task import RULE_OPTIONS, LocalizeTask
from volproc.workflows.particles import localize, open_task_maps
from volproc.workflows.pick_marker import end_writing
from volproc.workflows.record import made_so, read_record, record_path, write_record

STORY = "localize"
"""What records say that made the picks."""


@dataclass(frozen=True, slots=True)
class PickReport:
    """What a localization left behind."""

    output: str
    """Address of the picks."""

    paths: tuple[str, ...]
    """Files of the picks, absolute."""

    counts: dict[str, int]
    """Particles of each class that was found, by name."""

    record: Path
    """Settings, versions and input."""

    was_finished: bool = False
    """Whether an earlier run had done all of it."""


def pick(
    task: LocalizeTask,
    *,
    executor: Executor | None = None,
    observe: Observer = ignore,
) -> PickReport:
    """Find particle centres in a class map and write them, with a record.

    Parameters
    ----------
    task : LocalizeTask
        What is to be done; it has an output. With ``resume``, picks that are there are taken for
        the result, where their record says that they were made as they would be made now.
    executor, observe
        As in `volproc.workflows.particles.localize`.

    Raises
    ------
    ConfigError
        If the task has no output.
    ResumeError
        If there are picks that were made otherwise.
    VolprocError
        As `volproc.workflows.particles.localize` does.
    """
    if not task.output:
        msg = "a localization that is recorded needs an output. Give one, as picks.csv."
        raise ConfigError(msg)
    record = record_path(task.output)
    wanted = _wanted(task, task.open())
    before = read_record(task.output)
    # Where a project's run has no particles there is no file, but the record all the same.
    is_whole = "paths" in before and all(Path(path).exists() for path in before["paths"])
    if task.resume and is_whole and made_so(task.output, STORY, wanted):
        end_writing(task.output)  # a run may have been killed just before it did so
        paths = tuple(map(str, before["paths"]))
        return PickReport(task.output, paths, before.get("counts", {}), record, was_finished=True)
    facts: dict[str, Any] = {"address": task.address, "output": task.output}

    def write(points: Points, written: list[Path]) -> None:
        facts["paths"] = tuple(str(path.absolute()) for path in written)
        facts["tomogram"], facts["shape"] = points.name, points.shape
        facts["counts"] = dict(sorted(Counter(map(str, points.table["class_name"])).items()))
        write_record(task.output, STORY, {**facts, **wanted})

    localize(task, executor=executor, observe=observe, record=write)
    return PickReport(task.output, facts["paths"], facts["counts"], record)


def map_name(address: str) -> str:
    """What to call the picks of a class map: as the volume that it was made of.

    >>> map_name("runs/a_classes.ome.zarr"), map_name("c.json:TS_1/classes:me/1@10")
    ('a', 'TS_1')
    >>> map_name("particle/TS_1_preds.h5:/labels")
    'TS_1'
    """
    name = input_name(address)
    for ending in ("_probabilities", "_classes", "_preds"):
        name = name.removesuffix(ending)
    return name


def picks_are_there(task: LocalizeTask) -> bool:
    """Whether there are picks where a task would write its own."""
    try:
        # Which classes that are matters in a project only, where each has a file of its own.
        classes = tuple(task.find_classes()[0]) if is_copick(task.output) else None
    except VolprocError:
        classes = None  # the task itself says what is wrong
    try:
        refuse_points(task.output, classes=classes)
    except ExistsError:
        return True
    except MissingFileError:
        return False  # not even their folder is there
    return False


def rule_of(task: LocalizeTask) -> dict[str, Any]:
    """What says which particles are found and how they are written; JSON values."""
    return {
        "rule": {name: getattr(task, name) for name in RULE_OPTIONS},
        "selection": task.selection,
        "format": task.options,
        "asked_for": {
            "objects": task.objects,
            "label": task.label,
            "probabilities": task.probabilities,
            "variance": task.variance,
            "weight_by": task.weight_by,
        },
    }


def _wanted(task: LocalizeTask, volume: Volume) -> dict[str, Any]:
    """Everything that the picks depend on, as it stands in their record."""
    radii, values = task.find_classes()
    maps = open_task_maps(task, {n: values[n] for n in radii if n in values}, volume)
    return {
        **rule_of(task),
        **({"maps": maps.identity()} if maps.by_name else {}),
        "input": volume.source.identity() if volume.source else "",
        "voxel_size_angstrom": volume.voxel_size,
        "radii_angstrom": radii,
        "classes": values,
    }
