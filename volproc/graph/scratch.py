"""Folders for what stands between stages of a lazy array, removed when nobody needs them."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from threading import Lock
from typing import Any

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


def use_scratch(scratch: Scratch | _ScratchCopy) -> ScratchUse:
    """Hold a scratch folder in this process; the last hold to go removes the folder."""
    return _use(scratch.folder)


class ScratchUse:
    """Holds a scratch folder while a computation needs it; see `use_scratch`.

    Whatever a task puts into the folder, it gives back a hold with its result, and each task that
    takes such a result hands the hold on. So the folder goes with the last result: at the end of
    a computation, and when it fails. Results that travel to other workers leave a mark first, so
    that the folder is never without one.

    Notes
    -----
    A worker that is killed leaves its marks: then the folder goes with the `Scratch`.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        mark = _leave_mark(folder)
        self._finalizer = weakref.finalize(self, _end_use, folder, mark, os.getpid())

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return _arrive, (self.folder, _leave_mark(self.folder))


_USES: weakref.WeakValueDictionary[str, ScratchUse] = weakref.WeakValueDictionary()
"""The one hold of each folder that this process has."""

_LOCK = Lock()


def _use(folder: str) -> ScratchUse:
    with _LOCK:
        found = _USES.get(folder)
        if found is None:
            _USES[folder] = found = ScratchUse(folder)
        return found


def _arrive(folder: str, mark: str) -> ScratchUse:
    """Take over the hold of a result that came from another worker."""
    use = _use(folder)
    Path(mark).unlink(missing_ok=True)
    return use


def _leave_mark(folder: str) -> str:
    mark = Path(folder) / _MARKS / os.urandom(8).hex()
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    return str(mark)


def _end_use(folder: str, mark: str, process: int) -> None:
    if os.getpid() != process:  # a forked child inherits the finalizer
        return
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
