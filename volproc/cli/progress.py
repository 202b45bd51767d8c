"""Shows events on stderr: a bar a stage on a terminal, a line now and then in a log file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from volproc.core.events import Event, Observer, ignore

LINES_A_STAGE = 10
"""Most lines that a stage writes where there is no terminal to draw on."""

LINE_EVERY_S = 2.0
"""Least seconds between two lines of a stage, but for its last."""


@contextmanager
def show_progress(*, quiet: bool = False) -> Iterator[Observer]:
    """Observer for a command, shown until the end of the ``with`` block.

    Parameters
    ----------
    quiet : bool
        Show nothing.
    """
    if quiet:
        yield ignore
        return
    console = Console(stderr=True)
    if console.is_terminal:
        with bars(console) as observe:
            yield observe
    else:
        yield Lines(lambda text: click.echo(text, err=True))


@dataclass
class Stage:
    """How far a stage is, and how fast."""

    name: str
    total: int
    """Blocks; 0 where nobody knows."""

    begun_s: float
    """When it began."""

    skipped: int = 0
    """Blocks that an earlier run had finished."""

    done: int = 0
    """Blocks of this run."""

    facts: str = ""
    """Latest figures, for people."""

    @property
    def completed(self) -> int:
        """Blocks that need no further work."""
        return self.skipped + self.done

    @property
    def count(self) -> str:
        """Blocks finished, of how many."""
        return f"{self.completed}/{self.total}" if self.total else f"{self.completed}"

    def rate(self, now_s: float) -> float:
        """Blocks a second of this run; those found done already do not count."""
        elapsed = now_s - self.begun_s
        return self.done / elapsed if elapsed > 0 else 0.0

    def left_s(self, now_s: float) -> float | None:
        """Seconds to the end at the present rate; None where that is not known."""
        rate = self.rate(now_s)
        return (self.total - self.completed) / rate if rate and self.total else None

    def take(self, event: Event) -> None:
        """Count an event."""
        if event.kind == "skip":
            self.skipped += 1
        elif event.kind in ("block", "epoch"):
            self.done += 1
            if event.kind == "epoch":
                self.facts = format_facts(event.facts)

    def describe(self, now_s: float) -> str:
        """Say rate, time left and figures."""
        parts = []
        if self.done:
            parts.append(format_rate(self.rate(now_s)))
        left = self.left_s(now_s)
        if left is not None and self.completed < self.total:
            parts.append(f"{format_seconds(left)} left")
        elif self.done:
            parts.append(f"{format_seconds(now_s - self.begun_s)} in all")
        if self.skipped:
            parts.append(f"{self.skipped} done before")
        return ", ".join([*parts, self.facts] if self.facts else parts)


class Stages:
    """Keeps the stages that are under way."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self._stages: dict[str, Stage] = {}

    def take(self, event: Event) -> Stage:
        """Count an event, and return its stage."""
        if event.kind == "stage" or event.stage not in self._stages:
            self._stages[event.stage] = Stage(event.stage, event.total, self.clock())
        stage = self._stages[event.stage]
        stage.take(event)
        return stage


@contextmanager
def bars(console: Console, clock: Callable[[], float] = monotonic) -> Iterator[Observer]:
    """Observer that draws a bar for each stage.

    Parameters
    ----------
    console : Console
        Where to draw.
    clock : callable
        Seconds since some time.
    """
    stages = Stages(clock)
    tasks: dict[str, TaskID] = {}
    with Progress(
        TextColumn("{task.description:<12}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[count]:>11}", markup=False),
        TextColumn("{task.fields[text]}", markup=False),
        console=console,
        refresh_per_second=5,
    ) as progress:

        def observe(event: Event) -> None:
            if event.kind == "note":
                progress.console.print(event.text, markup=False, highlight=False)
                return
            stage = stages.take(event)
            fields: dict[str, Any] = {
                "count": f"{stage.completed}/{stage.total}"
                if stage.total
                else f"{stage.completed}",
                "text": stage.describe(clock()),
            }
            total = stage.total or (stage.completed if event.kind == "done" else None)
            if event.kind == "stage" or stage.name not in tasks:
                tasks[stage.name] = progress.add_task(stage.name, total=total, **fields)
            progress.update(tasks[stage.name], total=total, completed=stage.completed, **fields)

        yield observe


class Lines:
    """Observer that writes a few lines a stage.

    Parameters
    ----------
    write : callable
        Takes one line.
    clock : callable
        Seconds since some time.
    """

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float] = monotonic
    ) -> None:
        self._write = write
        self._stages = Stages(clock)
        self._written: dict[str, tuple[int, float]] = {}

    def __call__(self, event: Event) -> None:
        """Write a line, if it is time for one."""
        if event.kind == "note":
            self._write(event.text)
            return
        stage = self._stages.take(event)
        now = self._stages.clock()
        if event.kind == "stage":
            self._written[stage.name] = (0, stage.begun_s)
            return
        tenth = stage.completed * LINES_A_STAGE // stage.total if stage.total else 0
        written, last_s = self._written.get(stage.name, (0, stage.begun_s))
        is_next = tenth > written and event.kind != "skip" and now - last_s >= LINE_EVERY_S
        if is_next or (event.kind == "done" and (written < LINES_A_STAGE or not stage.total)):
            self._written[stage.name] = (tenth, now)
            text = stage.describe(now)
            self._write(f"{stage.name}: {stage.count}{f', {text}' if text else ''}")


def format_rate(rate: float) -> str:
    """Write blocks a second, or seconds a block where that is longer.

    >>> format_rate(12.34), format_rate(0.05)
    ('12.3/s', '20.0 s each')
    """
    return f"{rate:.1f}/s" if rate >= 1 or rate <= 0 else f"{1 / rate:.1f} s each"


def format_seconds(seconds: float) -> str:
    """Write a time for people.

    >>> format_seconds(4.2), format_seconds(75), format_seconds(7384)
    ('4 s', '1:15', '2:03:04')
    """
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if minutes else f"{rest} s"


def format_facts(facts: dict[str, Any]) -> str:
    """Write the figures of an epoch that are single numbers.

    >>> format_facts({"loss": 0.51234, "epoch": 3, "by_class": {}})
    'loss 0.512, epoch 3'
    """
    return ", ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in facts.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    )
