"""One run at a time over an output, or over the outputs of a dataset."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

from volproc.core.errors import ResumeError

WAIT_S = 30.0
"""Longest wait for another process that writes the same output, seconds."""

PAUSE_S = 0.1
"""Pause between two looks at a lock that others hold, seconds."""


@contextmanager
def sole_run(path: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of a run's record, so that no second run writes to the same outputs.

    Parameters
    ----------
    path : Path
        Its record: ``run.json`` of a dataset.
    wait_s : float
        Longest wait for the other run to end, seconds: workers of one that was killed may live
        on for a while.

    Raises
    ------
    ResumeError
        If another run is under way; the message names it.

    Notes
    -----
    The system lets go of the lock when its process ends, however that ends. Where the system or
    the disk knows no locks or lets nobody write, there is none; who writes then says so.
    """
    place = path.with_name(f".{path.name}.lock")
    file = _lock(place, path, time.monotonic() + wait_s) if find_spec("fcntl") else None
    try:
        yield
    finally:
        if file is not None:
            Path(file.name).unlink(missing_ok=True)
            file.close()


def _lock(place: Path, path: Path, deadline_s: float) -> TextIO | None:
    import fcntl  # not on every system

    while True:
        try:
            file = place.open("a+")
        except OSError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            file.close()
            if time.monotonic() < deadline_s:
                time.sleep(PAUSE_S)
                continue
            msg = (
                f"{path} belongs to a run that is under way ({owner}). Wait until it has ended, "
                "or end it: the same command goes on then."
            )
            raise ResumeError(msg) from None
        except OSError:
            file.close()
            return None
        try:
            is_current = os.fstat(file.fileno()).st_ino == place.stat().st_ino
        except FileNotFoundError:
            is_current = False
        if is_current:  # not one that its last owner has just removed
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
            return file
        file.close()
