"""What a dataset will take: the head of each volume is read once, each kind is planned once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from math import prod
from typing import TYPE_CHECKING

from volproc.core.errors import VolprocError
from volproc.graph.predict import check_input
from volproc.io.open import agree_voxel_size, inspect
from volproc.plan.memory import format_bytes
from volproc.workflows.ahead import NUM_THREADS, map_ahead
from volproc.workflows.plan import Head, Rate, SegmentPlan, describe_time, plan_run

if TYPE_CHECKING:
    from volproc.core.model import ModelSpec
    from volproc.workflows.segment import SegmentTask

SHOWN = 20
"""Kinds of volumes, and volumes that cannot be opened, that are shown one by one."""


@dataclass
class Kind:
    """Volumes of one shape, one type and one way of storage."""

    plan: SegmentPlan
    """Of each of them."""

    task: SegmentTask
    """The first of them."""

    num_volumes: int = 0
    """How many there are."""

    error: str = ""
    """Why they cannot be segmented; empty if they can."""


@dataclass
class DatasetPlan:
    """What many segmentations take together."""

    kinds: list[Kind] = field(default_factory=list)
    """In the order in which they were met."""

    num_volumes: int = 0
    """Inputs, those that cannot be opened included."""

    num_broken: int = 0
    """Inputs that cannot be opened, or that the network cannot take."""

    broken: list[tuple[str, str]] = field(default_factory=list)
    """Address and error of the first of these."""

    @property
    def largest(self) -> Kind:
        """Kind that the most passes are for."""
        return max(self.kinds, key=lambda kind: kind.num_volumes * kind.plan.plan.num_passes)

    @property
    def is_possible(self) -> bool:
        """Whether all of it can be done."""
        return not self.num_broken and not any(kind.error for kind in self.kinds)

    def explain(self, rate: Rate | None = None) -> str:
        """Lines for people: a table of the kinds, sums, and the kind that takes most in full.

        Parameters
        ----------
        rate : Rate
            Where it was measured; without one no time is given.
        """
        lines = [
            f"inputs    {self.num_volumes} volumes of {len(self.kinds)} "
            f"kind{'s' * (len(self.kinds) != 1)}"
            + (f", {self.num_broken} of them broken" if self.num_broken else "")
        ]
        lines += [f"broken    {address}: {error}" for address, error in self.broken]
        if self.kinds:
            lines += ["", *self._table(), "", *self._sums(rate), "", "the kind that takes most:"]
            lines += [f"  {line}" for line in self.largest.plan.explain(rate).splitlines()]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        header = ("volumes", "shape", "type", "blocks", "passes", "read", "written", "memory")
        rows = [header]
        for kind in self.kinds[:SHOWN]:
            found = kind.plan.plan
            rows.append(
                (
                    str(kind.num_volumes),
                    " × ".join(map(str, kind.plan.head.shape)),
                    kind.plan.head.dtype.name,
                    str(len(found.grid)),
                    str(found.num_passes),
                    format_bytes(kind.plan.read_bytes),
                    format_bytes(found.output_bytes),
                    "cannot be done" if kind.error else format_bytes(found.host_bytes),
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        ]
        if len(self.kinds) > SHOWN:
            lines.append(f"and {len(self.kinds) - SHOWN} kinds more")
        lines += [f"{kind.task.address}: {kind.error}" for kind in self.kinds if kind.error][:SHOWN]
        return lines

    def _sums(self, rate: Rate | None) -> list[str]:
        """What all volumes take together."""

        def total(name: str) -> int:
            return sum(k.num_volumes * getattr(k.plan.plan, name) for k in self.kinds)

        tasks = sum(k.num_volumes * k.plan.num_tasks for k in self.kinds)
        voxels = sum(k.num_volumes * prod(k.plan.head.shape) for k in self.kinds)
        read = sum(k.num_volumes * k.plan.read_bytes for k in self.kinds)
        scratch = max(k.plan.plan.scratch_bytes for k in self.kinds)
        memory = max(k.plan.plan.host_bytes for k in self.kinds)
        num_workers = self.kinds[0].plan.num_workers
        time = "not known; --calibrate runs a few blocks to find out"
        if rate is not None:
            # Workers share the volumes: none waits for the last block of each.
            work = sum(k.num_volumes * k.plan.work_s(rate) for k in self.kinds)
            time = describe_time(work / num_workers, rate, num_workers)
        return [
            f"together  {voxels} voxels, {total('num_passes')} passes, {tasks} tasks",
            f"reads     {format_bytes(read)}",
            f"memory    up to {format_bytes(memory)} per worker on the host",
            f"scratch   up to {format_bytes(scratch)} on disk for each volume under way",
            f"output    {format_bytes(total('output_bytes'))} before compression",
            f"time      {time}",
        ]


def plan_dataset(
    tasks: Iterable[SegmentTask], *, num_workers: int = 1, num_threads: int = NUM_THREADS
) -> DatasetPlan:
    """Plan many segmentations that differ in their inputs only.

    Parameters
    ----------
    tasks : iterable of SegmentTask
        With one model and the same settings.
    num_workers : int
        Workers that share them.
    num_threads : int
        Heads that are read at the same time.

    Returns
    -------
    found : DatasetPlan
        What cannot be opened or done is named there.

    Raises
    ------
    VolprocError
        If the model cannot be read.

    Notes
    -----
    The head of each input is read once. Time grows with the inputs, memory with the kinds.
    """
    found, kinds = DatasetPlan(), dict[Head, Kind | Exception]()
    tasks = iter(tasks)
    first = next(tasks, None)
    if first is None:
        return found
    specs = first.read_models()
    for task, head in map_ahead(_read_head, chain([first], tasks), num_threads=num_threads):
        found.num_volumes += 1
        if isinstance(head, Head) and head not in kinds:
            kinds[head] = _plan_kind(task, specs, head, num_workers)
        kind = kinds[head] if isinstance(head, Head) else head
        if isinstance(kind, Kind):
            kind.num_volumes += 1
            continue
        found.num_broken += 1
        if len(found.broken) < SHOWN:
            found.broken.append((task.address, str(kind)))
    found.kinds = [kind for kind in kinds.values() if isinstance(kind, Kind)]
    return found


def _plan_kind(
    task: SegmentTask, specs: tuple[ModelSpec, ...], head: Head, num_workers: int
) -> Kind | Exception:
    """Plan volumes with this head, of which one is opened; or why the network cannot take it."""
    try:
        check_input(task.open(), specs[0])
        planned = plan_run(task, specs, head, num_workers=num_workers)
    except (VolprocError, OSError) as error:
        return error
    try:
        planned.validate()
    except VolprocError as error:
        return Kind(planned, task, error=str(error))
    return Kind(planned, task)


def _read_head(task: SegmentTask) -> Head | Exception:
    """Head of an input, or why it has none; no lazy array is made of it."""
    try:
        header = inspect(task.address, **task.selection)
        agree_voxel_size(
            header, task.voxel_size, "override" if task.override_voxel_size else "error"
        )
        return Head.of_source(header.source)
    except (VolprocError, OSError) as error:
        return error
