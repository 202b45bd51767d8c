"""Shows events on stderr: a bar a stage on a terminal, a line now and then in a log file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from time import monotonic

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from volproc.cli.stages import Stage, Stages, say_trouble
from volproc.core.events import Event, Observer, ignore

LINES_A_STAGE = 10
"""Lines that a stage writes where there is no terminal to draw on, if it does not last long."""

LINE_EVERY_S = 2.0
"""Least seconds between two lines of a stage, but for its last."""

LINE_WITHIN_S = 600.0
"""Seconds after which a stage that goes on says so, whatever it has done."""


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


@contextmanager
def bars(console: Console, clock: Callable[[], float] = monotonic) -> Iterator[Observer]:
    """Observer that draws a bar for each stage, and one for the volumes where there are many.

    Parameters
    ----------
    console : Console
        Where to draw.
    clock : callable
        Seconds since some time.

    Notes
    -----
    Bars of a volume of many go when their stage ends: those that are left are under way.
    """
    with Progress(
        TextColumn("{task.description:<12}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[count]:>11}", markup=False),
        TextColumn("{task.fields[text]}", markup=False),
        console=console,
        refresh_per_second=5,
    ) as progress:
        yield _Bars(progress, clock)


class _Bars:
    """Observer that keeps the bars of a display."""

    def __init__(self, progress: Progress, clock: Callable[[], float]) -> None:
        self._progress = progress
        self._stages = Stages(clock)
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._lock = Lock()  # volumes under way at the same time may report from their own threads

    def __call__(self, event: Event) -> None:
        """Draw an event."""
        with self._lock:
            text = event.text if event.kind == "note" else say_trouble(event)
            if text:
                self._progress.console.print(text, markup=False, highlight=False)
            if event.kind != "note":
                self._draw(event, self._stages.take(event))

    def _draw(self, event: Event, stage: Stage) -> None:
        if event.kind == "tomogram":
            for key in [key for key in self._tasks if key[0] == event.volume]:
                self._progress.remove_task(self._tasks.pop(key))
        key = (stage.volume, stage.name)
        total = stage.total or (stage.completed if event.kind == "done" else None)
        text = stage.describe(self._stages.clock())
        if key not in self._tasks or event.kind in ("stage", "dataset"):
            self._tasks[key] = self._progress.add_task(
                stage.title, total=total, count=stage.count, text=text
            )
        if event.kind == "done" and stage.volume:
            self._progress.remove_task(self._tasks.pop(key))
            return
        self._progress.update(
            self._tasks[key],
            total=total,
            completed=stage.completed,
            count=stage.count,
            text=text,
        )


class Lines:
    """Observer that writes a few lines a stage.

    Parameters
    ----------
    write : callable
        Takes one line.
    clock : callable
        Seconds since some time.

    Notes
    -----
    A stage of one volume of many is said only when it has ended, or takes long.
    """

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float] = monotonic
    ) -> None:
        self._write = write
        self._stages = Stages(clock)
        self._written: dict[tuple[str, str], tuple[int, float]] = {}
        self._lock = Lock()

    def __call__(self, event: Event) -> None:
        """Write a line, if it is time for one."""
        with self._lock:
            text = event.text if event.kind == "note" else say_trouble(event)
            if text:
                self._write(text)
            if event.kind != "note":
                self._count(event)

    def _count(self, event: Event) -> None:
        stage = self._stages.take(event)
        if event.kind == "tomogram":
            for key in [key for key in self._written if key[0] == event.volume]:
                del self._written[key]
        now = self._stages.clock()
        key = (stage.volume, stage.name)
        if event.kind in ("stage", "dataset"):
            self._written[key] = (0, stage.begun_s)
            return
        tenth = stage.completed * LINES_A_STAGE // stage.total if stage.total else 0
        written, last_s = self._written.get(key, (0, stage.begun_s))
        is_new = event.kind != "skip" and event.facts.get("status") != "skipped"
        is_next = tenth > written and not stage.volume and now - last_s >= LINE_EVERY_S
        is_due = is_new and (is_next or now - last_s >= LINE_WITHIN_S)
        if is_due or (event.kind == "done" and (written < LINES_A_STAGE or not stage.total)):
            self._written[key] = (tenth, now)
            text = stage.describe(now)
            self._write(f"{stage.title}: {stage.count}{f', {text}' if text else ''}")
