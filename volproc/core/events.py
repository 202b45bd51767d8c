"""What work says of itself while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    kind: Literal["stage", "block", "skip", "done", "note", "epoch"]
    """``stage`` begins (``total`` blocks), ``block`` was done, ``skip``: found done already,
    ``done``: the stage ended, ``note``: a sentence for people, ``epoch``: training went on."""

    stage: str
    """Name of the stage: ``statistics``, ``predict``, ``label`` …"""

    total: int = 0
    """Blocks of the stage, with ``stage``."""

    text: str = ""
    """Sentence for people, with ``note``."""

    facts: dict[str, Any] = field(default_factory=dict)
    """Numbers of a block: bytes, seconds (``_s``), patches, views, peak bytes."""


Observer: TypeAlias = Callable[[Event], None]
"""Takes events; the CLI shows them, a benchmark sums them, a test counts them."""


def ignore(event: Event) -> None:
    """Observe nothing."""
