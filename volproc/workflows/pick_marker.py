"""Picks that a run of ours was writing when it was killed: a marker in its work folder."""

from __future__ import annotations

import shutil

from volproc.io.chunk_files import write_bytes
from volproc.workflows.record import make_room, tidy_room, work_path

MARKER = "writing"


def is_being_written(output: str) -> bool:
    """Whether a run was killed after it began to write picks and before their record was there."""
    return (work_path(output) / MARKER).exists()


def begin_writing(output: str) -> None:
    """Say that picks are about to be written: none were there, or they may be replaced."""
    make_room(output)
    folder = work_path(output)
    folder.mkdir(exist_ok=True)
    write_bytes(folder / MARKER, b"")


def end_writing(output: str) -> None:
    """Remove the marker and all tables that the run has left: picks and record are whole."""
    shutil.rmtree(work_path(output), ignore_errors=True)
    tidy_room(output)
