"""Events as JSON lines, for programs that watch a run: ``--log-json``."""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import click

from volproc.core.errors import AddressError
from volproc.core.events import Event, Observer, ignore

logger = logging.getLogger(__name__)

STDOUT = "-"
"""Name that stands for standard output."""


@contextmanager
def log_events(path: str | None) -> Iterator[Observer]:
    """Observer that writes each event as a line of JSON, until the end of the ``with`` block.

    Parameters
    ----------
    path : str, optional
        File to add to; ``-`` is standard output. Without one, nothing is written.

    Yields
    ------
    observe : callable
        Takes events.

    Raises
    ------
    AddressError
        If the file cannot be written.

    Notes
    -----
    The first line is of kind ``run`` (command, version, process), the last of kind ``end``
    (``status``: ``done``, ``failed`` or ``interrupted``, with the error; ``failed`` too if a volume
    of many failed). Each line is one write,
    so a file that several runs share stays readable. A line that cannot be written (a full disk)
    is said once and ends the log, not the run.
    """
    if not path:
        yield ignore
        return
    if path == STDOUT:
        with _log_to(lambda line: click.echo(line, nl=False), "standard output") as observe:
            yield observe
        return
    try:
        # Unbuffered: what could not be written must not be tried again when the file is closed.
        file = Path(path).expanduser().open("ab", buffering=0)
    except OSError as error:
        msg = (
            f"the log {path} cannot be written: {error.strerror or error}. Give --log-json a file "
            "in a folder that exists and can be written to."
        )
        raise AddressError(msg) from error
    with file, _log_to(lambda line: file.write(line.encode()), path) as observe:
        yield observe


@contextmanager
def _log_to(write: Callable[[str], object], name: str) -> Iterator[Observer]:
    """Write what happens between the first and the last line."""
    log = _Log(write, name)
    log.write(
        "run",
        command=shlex.join(["volproc", *sys.argv[1:]]),
        version=version("volproc"),
        host=platform.node(),
        pid=os.getpid(),
    )
    status: dict[str, Any] = {"status": "done"}
    try:
        yield log
        if log.num_failed:
            text = f"{log.num_failed} volume{'s' * (log.num_failed > 1)} failed"
            status = {"status": "failed", "text": text}
    except KeyboardInterrupt:
        status = {"status": "interrupted"}
        raise
    except BaseException as error:
        notes = getattr(error, "__notes__", [])
        status = {
            "status": "failed",
            "error": type(error).__name__,
            "text": str(error),
            "notes": [str(note) for note in notes],
        }
        raise
    finally:
        log.write("end", **status)


class _Log:
    """Observer that writes lines."""

    def __init__(self, write: Callable[[str], object], name: str) -> None:
        self._write = write
        self._name = name
        self._lock = Lock()  # volumes under way at the same time may report from their own threads
        self._is_open = True
        self.num_failed = 0
        """Volumes of many that failed."""

    def __call__(self, event: Event) -> None:
        """Write one event."""
        facts = dict(event.facts)
        self.num_failed += event.kind == "tomogram" and facts.get("status") == "failed"
        said = {
            "stage": event.stage,
            "volume": event.volume,
            "block": list(event.block) if event.block is not None else None,
            "total": event.total or None,
            "seconds": facts.pop("time_s", facts.pop("seconds", None)),
            "text": event.text,
            "facts": facts,
        }
        self.write(event.kind, **{key: value for key, value in said.items() if value or value == 0})

    def write(self, kind: str, **said: Any) -> None:
        """Write one line: when, what kind, and what is said of it."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = to_line({"time": now, "kind": kind, **said})
        with self._lock:
            if not self._is_open:
                return
            try:
                self._write(f"{line}\n")
            except OSError as error:
                self._is_open = False
                logger.warning(
                    "the log %s cannot be written any more: %s. The run goes on without it.",
                    self._name,
                    error,
                )


def to_line(values: dict[str, Any]) -> str:
    """Write values as one line of strict JSON.

    >>> to_line({"kind": "epoch", "loss": float("nan"), "path": Path("a")})
    '{"kind": "epoch", "loss": null, "path": "a"}'
    """
    return json.dumps(_plain(values), allow_nan=False)


def _plain(value: Any) -> Any:
    """Value that JSON knows; numbers that are not finite become null, others text."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    # Numbers of NumPy know their plain form.
    return _plain(value.item()) if hasattr(value, "item") and not value.shape else str(value)
