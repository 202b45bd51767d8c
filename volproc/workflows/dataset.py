"""Many volumes: one after another or side by side, none stopped by another's failure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import psutil

from volproc.core.errors import ClusterLostError, ConfigError, VolprocError
from volproc.core.events import Event, Observer, ignore, of_volume
from volproc.core.executor import Executor, SerialExecutor, memory_of_call, pool_of
from volproc.core.refusals import explain_refusal
from volproc.core.types import Index
from volproc.graph.run import run_stage
from volproc.io.copick_address import is_copick, parse_copick
from volproc.workflows.dataset_outputs import (
    input_name,
    named,
    place_key,
    refuse_collisions,
    refuse_existing_outputs,
)
from volproc.workflows.dataset_record import (
    RUN_FILE,
    Entry,
    RunRecord,
    Status,
    goes_on,
    keep_aside,
    read_run,
    shares_outputs,
)
from volproc.workflows.dataset_work import (
    TOO_LARGE,
    Began,
    Task,
    TaskIndex,
    WholeWork,
    is_there,
    known_in_record,
    model_digest,
    outputs_of,
    run_task,
    settings_of,
    story_of,
)
from volproc.workflows.particle_task import LocalizeTask
from volproc.workflows.record import made_so, record_path, work_path
from volproc.workflows.sole_run import sole_run

SMALL_VOXELS = 2**27
"""Voxels up to which a volume is done by one worker, where there are enough volumes for all."""

VARIES = "varies"
"""What stands for a setting that is not the same for all volumes."""


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What became of a dataset."""

    entries: tuple[Entry, ...]
    """One a volume, in the order of the tasks."""

    counts: dict[str, int]
    """``total``, ``done``, ``skipped``, ``failed``, ``pending``."""

    record: Path
    """``run.json``: the same, with settings and versions."""

    problem: str = ""
    """Why the record could not be written at the end, as on a full disk."""


def run_dataset(
    tasks: Iterable[Task],
    *,
    folder: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    observe: Observer = ignore,
    resume: bool = False,
) -> DatasetReport:
    """Segment, or localize in, many volumes.

    A volume that fails is noted, and the others go on. A killed run goes on when the same tasks
    are run again: finished volumes are known by the records beside their outputs, unfinished
    ones go on after their finished blocks.

    Parameters
    ----------
    tasks : iterable of SegmentTask or of LocalizeTask
        One a volume. A task whose input is an output of another is left out.
    folder : path
        Where ``run.json`` goes; by default the folder that all outputs lie in.
    executor : Executor
        Where the work is done; in this thread by default. Small volumes are done whole, each by
        one worker process; large ones are cut into blocks over all workers.
    observe : callable
        Takes events: ``dataset`` at the beginning, ``tomogram`` for each volume that ends, and
        the events of volumes that are cut.
    resume : bool
        Take outputs that exist for results, where their records say that they were made as they
        would be made now. It is so by itself where ``run.json`` is of an unfinished run over
        these outputs with the same settings.

    Returns
    -------
    report : DatasetReport
        Errors of single volumes are in it, and are not raised.

    Raises
    ------
    ConfigError
        If there is no task, if tasks are of both kinds, or if two outputs have one name.
    ExistsError
        If outputs exist that are not to be replaced or gone on with; nothing was done then.
    ResumeError
        If a finished output, or the unfinished run, was made with other settings or weights, or
        if another run over these outputs is under way; nothing was done then.
    ClusterLostError
        If the cluster goes away; the same call goes on.

    Notes
    -----
    At most two volumes a worker are under way, and of each only its outcome is kept.
    """
    runner = executor or SerialExecutor()
    chosen = _choose(list(tasks), observe)
    entries = [
        Entry(name, task.address, task.output)
        for name, task in zip(_names(chosen), chosen, strict=True)
    ]
    facts = {"made_by": f"volproc {story_of(chosen[0])}", "settings": _common_settings(chosen)}
    path = _record_path(folder, chosen)
    overwrite = any(task.overwrite for task in chosen)
    before = read_run(path)
    shares, has_no_others = shares_outputs(before, entries)
    is_own = shares and goes_on(before, facts, overwrite=overwrite)
    begun_ns = int(before["begun_ns"]) if is_own else 0
    _refuse_outputs(chosen, resume=resume or is_own)
    path.parent.mkdir(parents=True, exist_ok=True)
    with sole_run(path):
        if before and not (shares and has_no_others):
            keep_aside(path, before)
        record = RunRecord(path, facts, entries)
        record.begin(begun_ns)
        run = _Run(chosen, record, runner, observe, is_resumed=resume or is_own)
        problem = run.go()
    return DatasetReport(tuple(entries), record.count(), path, problem)


class _Run:
    """One run over a dataset."""

    def __init__(
        self,
        tasks: list[Task],
        record: RunRecord,
        runner: Executor,
        observe: Observer,
        *,
        is_resumed: bool,
    ) -> None:
        self.tasks = tasks
        self.record = record
        self.runner = runner
        self.observe = observe
        self.is_resumed = is_resumed
        self.story = story_of(tasks[0])
        one_each = {t.model_name: t for t in tasks if not isinstance(t, LocalizeTask)}
        models = {name: model_digest(task) for name, task in one_each.items()}
        self.began = Began(models, record.begun_ns)

    def go(self) -> str:
        """Do all volumes, and leave a true record however it ends; return what kept it from it."""
        self.observe(Event("dataset", self.story, total=len(self.tasks)))
        try:
            rest: Iterable[int] = range(len(self.tasks))
            if getattr(self.runner, "has_processes", False):
                rest = self._run_whole()
            for number in rest:
                self._run_cut(number)
        except BaseException:
            self._finish("interrupted")
            raise
        problem = self._finish("failed" if self.record.count()["failed"] else "done")
        self.observe(Event("done", self.story))
        return problem

    def _finish(self, status: Literal["done", "failed", "interrupted"]) -> str:
        try:
            self.record.finish(status)
        except OSError as error:  # a full disk; the outcome is on the screen all the same
            return f"{self.record.path} could not be written: {explain_refusal(error)}"
        return ""

    def _run_whole(self) -> list[int]:
        """Do small volumes, each in one worker; return the numbers of those that are large."""
        large: list[int] = []

        def collect(index: Index, facts: dict[str, Any]) -> None:
            if facts["status"] == TOO_LARGE:
                large.append(index[0])
            else:
                self._end(index[0], facts["status"], seconds=facts["time_s"])

        def fail(index: Index, error: BaseException) -> None:
            self._end(index[0], "failed", error=explain(error, f"in block {index} of {self.story}"))

        pool = pool_of(self.runner, "cpu" if isinstance(self.tasks[0], LocalizeTask) else "gpu")
        num_workers = pool.num_workers
        # With fewer volumes than workers even small ones are cut, or workers would stand idle.
        limit = SMALL_VOXELS * min(1.0, len(self.tasks) / num_workers)
        memory = memory_of_call(pool) or psutil.virtual_memory().available // num_workers
        run_stage(
            self.story,
            self._indices(memory),
            WholeWork(int(limit), self.began),
            executor=pool,
            observe=self._translate,
            collect=collect,
            on_failure=fail,
            total=len(self.tasks),
        )
        return sorted(large)

    def _indices(self, memory: int) -> Iterator[TaskIndex]:
        for number in range(len(self.tasks)):
            task = self._resumed(number)
            if not isinstance(task, LocalizeTask):
                task = replace(task, host_limit=task.host_limit or memory)
            yield TaskIndex.of(number, task)

    def _run_cut(self, number: int) -> None:
        """Do one volume over all workers."""
        begin_s = perf_counter()
        try:
            facts = run_task(
                self._resumed(number),
                self.began,
                executor=self.runner,
                observe=of_volume(self.observe, self.record.entries[number].name),
            )
        except ClusterLostError:
            raise  # no volume is to blame, and none would fare better
        except Exception as error:  # one of many: it is noted, and the others go on
            self._end(number, "failed", seconds=perf_counter() - begin_s, error=explain(error))
        else:
            self._end(number, facts["status"], seconds=facts["time_s"])

    def _resumed(self, number: int) -> Task:
        """Task that takes a finished output for its result, if this run may."""
        task = self.tasks[number]
        # What is to be replaced is taken only if it is newer than the run; `run_task` looks.
        return replace(task, resume=True) if self.is_resumed and not task.overwrite else task

    def _end(self, number: int, status: Status, *, seconds: float = 0.0, error: str = "") -> None:
        entry = self.record.end(number, status, seconds=seconds, error=error)
        facts = {"status": status, "time_s": entry.seconds}
        self.observe(Event("tomogram", self.story, text=error, volume=entry.name, facts=facts))

    def _translate(self, event: Event) -> None:
        """Pass on that a volume is tried again; what else the stage says, `_end` says better."""
        if event.kind == "retry" and event.block is not None:
            name = self.record.entries[event.block[0]].name
            self.observe(replace(event, volume=name, block=None))


def explain(error: BaseException, left_out: str = "") -> str:
    """Write an error and its notes as one text.

    >>> explain(ValueError("no"))
    'ValueError: no'
    """
    if isinstance(error, VolprocError):
        text = str(error)
    elif isinstance(error, OSError):
        text = explain_refusal(error)
    else:
        text = f"{type(error).__name__}: {error}"
    notes = [note for note in getattr(error, "__notes__", []) if note != left_out]
    return "; ".join([text, *notes])


def _choose(tasks: list[Task], observe: Observer) -> list[Task]:
    """Tasks that can be run together."""
    if not tasks:
        msg = "a dataset needs at least one volume, got none. Check the inputs."
        raise ConfigError(msg)
    kinds = sorted({story_of(task) for task in tasks})
    if len(kinds) > 1:
        msg = f"a dataset is of one kind of work, got {' and '.join(kinds)}. Run them in turn."
        raise ConfigError(msg)
    without = [task.address for task in tasks if not task.output]
    if without:
        msg = f"{named(without)} have no output. Give each task of a dataset its output."
        raise ConfigError(msg)
    made = {place_key(output): task for task in tasks for output in outputs_of(task)}
    chosen, left_out = [], []
    for task in tasks:
        maker = made.get(place_key(task.address))
        if maker is None or maker is task:
            chosen.append(task)
        else:
            left_out.append(task.address)
    if left_out:
        # A pattern takes them too once they are there.
        text = f"left out, since they are outputs of other inputs: {named(left_out)}"
        observe(Event("note", story_of(tasks[0]), text=text))
    refuse_collisions((task.address, output) for task in chosen for output in outputs_of(task))
    return chosen


def _names(tasks: list[Task]) -> list[str]:
    """Short names of the inputs, or their addresses where short names are not unique."""
    names = [input_name(task.address) for task in tasks]
    if len(set(names)) == len(names):
        return names
    return [task.address for task in tasks]


def _common_settings(tasks: list[Task]) -> dict[str, Any]:
    """Settings that all tasks share; those that differ are in the record of each output."""
    seen: dict[str, Task] = {}
    for task in tasks:  # most often all have one set of settings: each is looked at once
        seen.setdefault(repr(replace(task, address="", output="")), task)
    settings = [settings_of(task) for task in seen.values()]
    return {
        key: value if all(one[key] == value for one in settings) else VARIES
        for key, value in settings[0].items()
    }


def _record_path(folder: str | os.PathLike[str] | None, tasks: list[Task]) -> Path:
    """Where ``run.json`` goes."""
    if folder is not None:
        return Path(folder) / RUN_FILE
    parents = {_folder_of(task.output) for task in tasks}
    return Path(os.path.commonpath([str(p) for p in parents])) / RUN_FILE


def _folder_of(output: str) -> Path:
    """Folder of an output; of a member of a project, that of its records."""
    if is_copick(output):
        return parse_copick(output).config.absolute().parent / "logs"
    return record_path(output).absolute().parent


def _refuse_outputs(tasks: list[Task], *, resume: bool) -> None:
    """Refuse outputs that exist, or that were made otherwise, before any work."""
    existing = []
    for task in tasks:
        # An unfinished output is not there yet: its own ledger says whether it goes on.
        if task.overwrite or work_path(task.output).exists() or not is_there(task):
            continue
        if not (resume and made_so(task.output, story_of(task), known_in_record(task))):
            existing.append(task.output)
    refuse_existing_outputs(existing)
