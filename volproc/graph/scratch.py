"""Folders for what stands between stages of a lazy array, removed when nobody needs them."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import weakref
from pathlib import Path


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
