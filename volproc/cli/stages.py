"""How far the stages of a run are: counted from events, said in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from volproc.core.events import Event


@dataclass
class Stage:
    """How far a stage is, and how fast; of a dataset, its volumes are the blocks."""

    name: str
    total: int
    """Blocks; 0 where nobody knows."""

    begun_s: float
    """When it began."""

    volume: str = ""
    """Name of the volume, where there are many."""

    is_dataset: bool = False
    """Whether it counts volumes."""

    skipped: int = 0
    """Blocks that an earlier run had finished."""

    done: int = 0
    """Blocks of this run."""

    trouble: Counter[str] = field(default_factory=Counter)
    """Blocks that failed, and those that were tried again."""

    facts: str = ""
    """Latest figures, for people."""

    @property
    def title(self) -> str:
        """Volume and stage."""
        return f"{self.volume} {self.name}" if self.volume else self.name

    @property
    def ended(self) -> int:
        """Blocks that this run has ended, well or not."""
        return self.done + self.trouble["failed"]

    @property
    def completed(self) -> int:
        """Blocks that need no further work."""
        return self.skipped + self.ended

    @property
    def count(self) -> str:
        """Blocks finished, of how many."""
        return f"{self.completed}/{self.total}" if self.total else f"{self.completed}"

    def rate(self, now_s: float) -> float:
        """Blocks a second of this run; those found done already do not count."""
        elapsed = now_s - self.begun_s
        return self.ended / elapsed if elapsed > 0 else 0.0

    def left_s(self, now_s: float) -> float | None:
        """Seconds to the end at the present rate; None where that is not known."""
        rate = self.rate(now_s)
        return (self.total - self.completed) / rate if rate and self.total else None

    def take(self, event: Event) -> None:
        """Count an event."""
        kind: str = event.kind
        if kind == "tomogram":
            kind = {"done": "block", "skipped": "skip"}.get(event.facts.get("status", ""), "failed")
        if kind == "skip":
            self.skipped += 1
        elif kind in ("failed", "retry"):
            self.trouble[kind] += 1
        elif kind in ("block", "epoch"):
            self.done += 1
            if kind == "epoch":
                self.facts = format_facts(event.facts)

    def describe(self, now_s: float) -> str:
        """Say rate, time left and figures."""
        parts = []
        if self.ended:
            parts.append(format_rate(self.rate(now_s)))
        left = self.left_s(now_s)
        if left is not None and self.completed < self.total:
            parts.append(f"{format_seconds(left)} left")
        elif self.ended:
            parts.append(f"{format_seconds(now_s - self.begun_s)} in all")
        if self.skipped:
            parts.append(f"{self.skipped} done before")
        if self.trouble["retry"]:
            parts.append(f"{self.trouble['retry']} tried again")
        if self.trouble["failed"]:
            parts.append(f"{self.trouble['failed']} failed")
        return ", ".join([*parts, self.facts] if self.facts else parts)


class Stages:
    """Keeps the stages that are under way.

    A volume of many takes its stages with it when it ends, so that memory does not grow with the
    dataset.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self._stages: dict[str, dict[str, Stage]] = {}

    def take(self, event: Event) -> Stage:
        """Count an event, and return its stage; that of the dataset for one of its volumes."""
        is_dataset = event.kind in ("dataset", "tomogram")
        if event.kind == "tomogram":
            self._stages.pop(event.volume, None)
        volume = "" if is_dataset else event.volume
        stages = self._stages.setdefault(volume, {})
        if event.kind in ("stage", "dataset") or event.stage not in stages:
            begun_s = self.clock()
            stages[event.stage] = Stage(event.stage, event.total, begun_s, volume, is_dataset)
        stage = stages[event.stage]
        stage.take(event)
        return stage


def say_trouble(event: Event) -> str:
    """Sentence about a block or a volume that failed or is tried again; empty where all is well.

    >>> say_trouble(Event("retry", "predict", block=(0, 1, 2), text="its worker died"))
    'predict block (0, 1, 2): its worker died: it is tried again'
    >>> say_trouble(Event("tomogram", "segment", volume="TS_1", facts={"status": "done"}))
    ''
    """
    if event.kind == "tomogram" and event.facts.get("status") == "failed":
        return f"{event.volume} failed: {event.text or 'no cause is known'}"
    if event.kind not in ("retry", "failed"):
        return ""
    where = f" block {event.block}" if event.block is not None else ""
    end = "it is tried again" if event.kind == "retry" else "it is given up"
    cause = f"{event.text.rstrip('. ')}: " if event.text else ""
    name = f"{event.volume} {event.stage}" if event.volume else event.stage
    return f"{name}{where}: {cause}{end}"


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
