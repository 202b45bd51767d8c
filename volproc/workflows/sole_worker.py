"""One worker at a time on one output, also where one that was given up for lost works on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO
from uuid import uuid4

from volproc.core.errors import ResumeError
from volproc.workflows.record import record_path

WAIT_S = 120.0
"""Longest wait for a worker that was given up to notice it, seconds."""

PAUSE_S = 0.1
"""Pause between two looks at the lock, seconds."""


@contextmanager
def sole_worker(output: str, *, wait_s: float = WAIT_S) -> Iterator[Callable[[], None]]:
    """Take an output over from whoever works on it.

    A scheduler gives a worker up that it cannot reach, and hands its volume to another one; the
    first may work on all the same, and would at last move its half of the work over the whole.

    Parameters
    ----------
    output : str
        Address; its folder is there.
    wait_s : float
        Longest wait for the other one, seconds.

    Yields
    ------
    check : callable
        Raises `ResumeError` once somebody else has taken the output over; to be called often.

    Raises
    ------
    ResumeError
        If the other one does not let go.

    Notes
    -----
    A name in a file beside the output says who works on it: who finds another name there stops.
    The file is locked too, so that the next one begins when the last one has ended; where the disk
    knows no locks, the name alone has to do.
    """
    record = record_path(output)
    place = record.with_name(f".{record.stem}.owner")
    place.parent.mkdir(parents=True, exist_ok=True)
    name = uuid4().hex

    def check() -> None:
        if _read(place) != name:
            msg = (
                f"{output} was taken over by another worker: the scheduler had given this one up. "
                "Nothing is to be done."
            )
            raise ResumeError(msg)

    file = _take(place, name, output, wait_s)
    try:
        yield check
    finally:
        if _read(place) == name:
            place.unlink(missing_ok=True)
        file.close()


def _take(place: Path, name: str, output: str, wait_s: float) -> TextIO:
    """Write a name into the file of the owner and lock it, as soon as the last owner lets go."""
    deadline_s = time.monotonic() + wait_s
    while True:
        file = place.open("a+")
        _write(file, name)
        if not _is_locked_by_others(file) and _is_at(file, place):
            _write(file, name)
            return file
        file.close()
        if time.monotonic() > deadline_s:
            msg = (
                f"another worker writes {output} and does not end, waited {wait_s:g} s. End it, "
                "and run the same command again."
            )
            raise ResumeError(msg)
        time.sleep(PAUSE_S)


def _is_locked_by_others(file: TextIO) -> bool:
    if find_spec("fcntl") is None:
        return False
    import fcntl  # not on every system

    with suppress(OSError):  # a disk without locks
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _is_at(file: TextIO, place: Path) -> bool:
    """Whether a file still has its name, which its last owner may just have removed."""
    try:
        return os.fstat(file.fileno()).st_ino == place.stat().st_ino
    except FileNotFoundError:
        return False


def _write(file: TextIO, name: str) -> None:
    file.truncate(0)
    file.write(name)
    file.flush()


def _read(place: Path) -> str:
    try:
        return place.read_text()
    except FileNotFoundError:
        return ""
