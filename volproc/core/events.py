"""What work says of itself while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from volproc.core.types import Index


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    A run over many volumes begins with ``dataset`` and ends with ``done`` of the same stage; a
    volume of it ends with ``tomogram``. What happens inside one volume carries its name in
    ``volume``; see `of_volume`.

    Examples
    --------
    >>> Event("dataset", "segment", total=2).total
    2
    >>> ended = Event("tomogram", "segment", volume="TS_1", facts={"status": "failed"}, text="no")
    >>> ended.facts["status"]
    'failed'
    """

    kind: Literal[
        "dataset",
        "tomogram",
        "stage",
        "block",
        "skip",
        "retry",
        "failed",
        "done",
        "note",
        "epoch",
    ]
    """``dataset`` begins (``total`` volumes), ``tomogram``: one of them ended (``status`` in
    ``facts``: ``done``, ``skipped`` or ``failed``; the cause in ``text``). ``stage`` begins
    (``total`` blocks), ``block`` was done, ``skip``: found done already, ``retry``: a block will
    be tried again (why: ``text``), ``failed``: a block was given up (why: ``text``), ``done``: the
    stage or the dataset ended, ``note``: a sentence for people, ``epoch``: training went on."""

    stage: str
    """Name of the stage: ``statistics``, ``predict``, ``label`` …; of a dataset, its work."""

    total: int = 0
    """Blocks of the stage, with ``stage``; volumes, with ``dataset``. 0 where nobody knows."""

    text: str = ""
    """Sentence for people: with ``note``, and a cause with ``retry``, ``failed``, ``tomogram``."""

    facts: dict[str, Any] = field(default_factory=dict)
    """Numbers of a block: bytes, seconds (``_s``), patches, views, peak bytes; ``status`` of a
    tomogram."""

    block: Index | None = None
    """Which block, with ``block``, ``skip``, ``retry`` and ``failed``."""

    volume: str = ""
    """Name of the volume, where there are many."""


Observer: TypeAlias = Callable[[Event], None]
"""Takes events; the CLI shows them, a benchmark sums them, a test counts them."""


def ignore(event: Event) -> None:
    """Observe nothing."""


def of_volume(observe: Observer, volume: str) -> Observer:
    """Observer for the work on one volume of many: it adds the volume's name to each event.

    Parameters
    ----------
    observe : callable
        Takes the named events.
    volume : str
        Name, unique among the volumes that are under way.

    Examples
    --------
    >>> seen = []
    >>> of_volume(seen.append, "TS_1")(Event("done", "predict"))
    >>> seen[0].volume
    'TS_1'
    """

    def named(event: Event) -> None:
        observe(replace(event, volume=volume))

    return named
