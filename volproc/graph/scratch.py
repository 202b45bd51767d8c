"""Folders for what stands between stages of a lazy array, removed when nobody needs them."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import weakref
from pathlib import Path

_MARKS = ".in-use"


class Scratch:
    """A folder that lives as long as the arrays that use it.

    A lazy array keeps its scratch in its graph. When the last such array is gone, or the process
    ends, the folder is removed. Copies that travel to workers only know the path; they may be at
    work when the array is gone, as with ``client.compute(array)``, so that the folder of a scratch
    that has travelled is removed at the end of the process.

    Parameters
    ----------
    parent : str or path or None
        Folder to make it in, which every worker must see; None takes the system's temporary
        folder, which is right on one machine.

    Notes
    -----
    Nothing is made before the first block is written.
    """

    def __init__(self, parent: str | os.PathLike[str] | None = None) -> None:
        base = Path(parent) if parent is not None else Path(tempfile.gettempdir())
        self.folder = str(base.absolute() / f"volproc-{os.urandom(8).hex()}")
        self._finalizer = weakref.finalize(self, _remove_from, self.folder, os.getpid())

    def path(self, name: str) -> str:
        """Path of a folder inside."""
        return str(Path(self.folder) / name)

    def __reduce__(self) -> tuple[type[_ScratchCopy], tuple[str]]:
        if self._finalizer.detach():
            atexit.register(_remove_from, self.folder, os.getpid())
        return _ScratchCopy, (self.folder,)


def use_scratch(scratch: Scratch | _ScratchCopy | None) -> ScratchUse | None:
    """Begin the use of a scratch: the first task of a computation that writes to it."""
    return None if scratch is None else ScratchUse(scratch.folder)


class ScratchUse:
    """Holds a scratch folder while a computation needs it; the last to go removes the folder.

    The result of a task that all others of the computation take, so that it lives from before the
    first write to after the last read, and goes when a computation fails too. Workers get copies;
    each holds the folder by a mark of its own, made before the copy travels.

    Notes
    -----
    A worker that is killed leaves its mark: then the folder goes with the `Scratch`.
    """

    def __init__(self, folder: str, sent: str = "") -> None:
        self.folder = folder
        marks = [_leave_mark(folder), *([sent] if sent else [])]
        self._finalizer = weakref.finalize(self, _end_use, folder, marks, os.getpid())

    def __reduce__(self) -> tuple[type[ScratchUse], tuple[str, str]]:
        return ScratchUse, (self.folder, _leave_mark(self.folder))


def _leave_mark(folder: str) -> str:
    mark = Path(folder) / _MARKS / os.urandom(8).hex()
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    return str(mark)


def _end_use(folder: str, marks: list[str], process: int) -> None:
    if os.getpid() != process:
        return
    for mark in marks:
        Path(mark).unlink(missing_ok=True)
    try:  # only an empty folder can be removed: whoever does it was the last
        (Path(folder) / _MARKS).rmdir()
    except OSError:
        return
    shutil.rmtree(folder, ignore_errors=True)


class _ScratchCopy:
    """What a worker sees of a scratch: the path, without the duty to remove it."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def path(self, name: str) -> str:
        return str(Path(self.folder) / name)


def _remove_from(folder: str, process: int) -> None:
    # A forked child inherits the finalizer, but the folder is not its to remove.
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
