"""A changed copy of an HDF5 file, which takes its place at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile, copymode

import h5py

from volproc.core.errors import FormatError
from volproc.io.create import partial_path, remove


@contextmanager
def changed_copy(path: str, target: str, dataset: str) -> Iterator[h5py.Dataset]:
    """Copy a file, let one dataset of the copy be changed, and give the copy its name.

    Parameters
    ----------
    path : str
        The file; all that it holds is copied.
    target : str
        Name of the copy, which may be that of the file.
    dataset : str
        Path of the dataset in it.

    Yields
    ------
    dataset : h5py.Dataset
        Regions of it may be written.

    Raises
    ------
    FormatError
        If the copy cannot be opened.

    Notes
    -----
    If something fails on the way, or the process is killed, the file stays what it was.
    """
    partial = partial_path(Path(target))
    try:
        copyfile(path, partial)
        copymode(path, partial)
        try:
            file = h5py.File(partial, "r+")
        except OSError as error:
            msg = f"{path} cannot be opened as HDF5 ({error}). Copy it again."
            raise FormatError(msg) from error
        with file:
            yield file[dataset]
        partial.replace(target)
    finally:
        remove(partial)
