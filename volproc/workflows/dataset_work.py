"""What is done to one volume of a dataset, here or inside a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from volproc.core.errors import ModelError, VolprocError
from volproc.core.events import Observer, ignore
from volproc.core.executor import Executor, SerialExecutor
from volproc.core.types import Index
from volproc.io.formats import find_format
from volproc.io.open import expand_voxel_size, inspect
from volproc.workflows.dataset_outputs import make_folders
from volproc.workflows.particle_task import LocalizeTask
from volproc.workflows.picking import STORY as LOCALIZE_STORY
from volproc.workflows.picking import pick, picks_are_there, rule_of
from volproc.workflows.record import read_record, record_path
from volproc.workflows.sole_worker import sole_worker

if TYPE_CHECKING:
    from volproc.workflows.segment import SegmentTask

Task: TypeAlias = "SegmentTask | LocalizeTask"
"""Work on one volume. What segments is imported where it is needed: a network takes seconds to
import, and a localization needs none."""

TOO_LARGE = "too large"
"""What a worker answers for a volume that is to be cut over all workers."""


class TaskIndex(tuple[int, ...]):
    """Number of a volume in its dataset, with the task.

    A worker gets this one, and not the tasks of all.
    """

    task: Task

    @classmethod
    def of(cls, number: int, task: Task) -> TaskIndex:
        """Give a number its task."""
        index = cls((number,))
        index.task = task
        return index


@dataclass(frozen=True, slots=True)
class Began:
    """What was when a run over a dataset began."""

    models: Mapping[str, str]
    """Hash of each model file."""

    time_ns: int = 0
    """Time by the clock of the disk: what is newer was made by this run."""


@dataclass(frozen=True, slots=True)
class WholeWork:
    """Does whole volumes inside one worker, one after another, with a model that stays warm.

    Parameters
    ----------
    max_voxels : int
        Larger volumes are left for all workers together.
    began : Began
        What was when the run began.
    """

    max_voxels: int
    began: Began

    def __call__(self, index: Index) -> dict[str, Any]:
        """Do one volume, or say that it is too large."""
        assert isinstance(index, TaskIndex)
        if prod(index.task.open().shape) > self.max_voxels:
            return {"status": TOO_LARGE}
        if isinstance(index.task, LocalizeTask):
            return run_task(index.task, self.began, executor=SerialExecutor())
        make_folders(*outputs_of(index.task))
        with sole_worker(index.task.output) as check:
            return run_task(
                index.task, self.began, executor=SerialExecutor(), observe=lambda event: check()
            )

    def smaller(self) -> WholeWork | None:
        """The same for no volume: one that takes a worker's memory is cut over all workers.

        There its blocks are tried again with smaller batches.
        """
        return replace(self, max_voxels=0) if self.max_voxels else None

    def place(self, index: Index) -> str:
        """Address of a volume, for people."""
        return index.task.address if isinstance(index, TaskIndex) else ""


def run_task(
    task: Task,
    began: Began,
    *,
    executor: Executor,
    observe: Observer = ignore,
) -> dict[str, Any]:
    """Do one volume, or find that it is done.

    Parameters
    ----------
    task : SegmentTask or LocalizeTask
        What is to be done.
    began : Began
        What was when the run began. An output that is newer is one of this run, whose worker died
        before it could say so.
    executor, observe
        Where its blocks run, and who watches.

    Returns
    -------
    facts : dict
        ``status``, ``done`` or ``skipped``; ``time_s``.

    Raises
    ------
    ModelError
        If the model file has changed since the run began.
    VolprocError
        As `segment` and `localize` do.
    """
    begin_s = perf_counter()
    make_folders(*outputs_of(task))
    if _is_newer(task, began.time_ns):
        task = replace(task, resume=True)
    if not isinstance(task, LocalizeTask):
        from volproc.workflows.segment import segment

        _check_model(task, began.models)
        was_finished = segment(task, executor=executor, observe=observe).was_finished
    else:
        was_finished = pick(task, executor=executor, observe=observe).was_finished
    return {
        "status": "skipped" if was_finished else "done",
        "time_s": perf_counter() - begin_s,
    }


def settings_of(task: Task) -> dict[str, Any]:
    """What a run over a dataset has in common, of one of its tasks; JSON values.

    Raises
    ------
    VolprocError
        If the model cannot be read.
    """
    given = {
        "voxel_size": task.voxel_size,
        "override_voxel_size": task.override_voxel_size,
        "selection": task.selection,
    }
    if not isinstance(task, LocalizeTask):
        from volproc.workflows.segment_record import describe_settings, model_files

        specs = task.read_models()
        return {**describe_settings(task, specs), **given, "model_file": model_files(specs)}
    known = {"radii_angstrom": dict(task.radii), "classes": dict(task.class_values)}
    return {**rule_of(task), **known, **given}


def known_in_record(task: Task) -> dict[str, Any]:
    """What the record of a finished output has to say, as far as the input need not be opened."""
    wanted = rule_of(task) if isinstance(task, LocalizeTask) else _settings_in_record(task)
    if task.voxel_size is None:
        return wanted
    ndim = len(read_record(task.output).get("voxel_size_angstrom") or (0, 0, 0))
    return {**wanted, "voxel_size_angstrom": expand_voxel_size(task.voxel_size, ndim)}


def _settings_in_record(task: SegmentTask) -> dict[str, Any]:
    from volproc.workflows.segment_record import describe_settings

    return describe_settings(task, task.read_models())


def story_of(task: Task) -> str:
    """Workflow that a task belongs to, as records name it."""
    if isinstance(task, LocalizeTask):
        return LOCALIZE_STORY
    from volproc.workflows.outputs import STORY

    return STORY


def outputs_of(task: Task) -> tuple[str, ...]:
    """Addresses that a task writes to, the one that has the record first."""
    return (task.output,) if isinstance(task, LocalizeTask) else tuple(task.addresses.values())


def is_there(task: Task) -> bool:
    """Whether any output of a task exists already."""
    if isinstance(task, LocalizeTask):
        return picks_are_there(task)
    return any(map(_volume_is_there, outputs_of(task)))


def _volume_is_there(address: str) -> bool:
    found = find_format(address)
    if not found.checks_outputs:
        return found.path(address).exists()
    try:
        inspect(address)
    except VolprocError:
        return False
    return True


def _is_newer(task: Task, time_ns: int) -> bool:
    """Whether the record of an output was written after a time."""
    try:
        return record_path(task.output).stat().st_mtime_ns >= time_ns
    except OSError:
        return False


def model_digest(task: SegmentTask) -> str:
    """Hash of the weights of a task; of several models those of all, joined by a plus."""
    return "+".join(spec.sha256 for spec in task.read_models())


def _check_model(task: SegmentTask, models: Mapping[str, str]) -> None:
    """Refuse weights that are not those with which the run began."""
    before, now = models[task.model_name].split("+"), model_digest(task).split("+")
    for old, new in zip(before, now, strict=True):
        if old != new:
            msg = (
                f"the model {task.model_name} has changed since the run began: its sha256 was "
                f"{old[:16]}…, is {new[:16]}…. Put the old one back and go on, or begin anew with "
                "another output."
            )
            raise ModelError(msg)
