"""The files of finished blocks, found without an object or a question to the disk for each."""

from __future__ import annotations

import os
from collections.abc import Iterator

from volproc.core.types import Index

READ_BYTES = 2**16
"""Bytes that are asked for at once; a marker is smaller."""


def list_markers(folder: str, ending: str, row: int | None = None) -> Iterator[tuple[Index, str]]:
    """Find the files of blocks in a folder that has one folder for each first index.

    Parameters
    ----------
    folder : str
        Of a stage; it need not exist.
    ending : str
        Of the files, with its dot. Files with other names are none of blocks.
    row : int
        Only blocks with this first index.

    Yields
    ------
    index, path : tuple of int, str
        In no order.

    Notes
    -----
    Ten microseconds a file, on a disk of this machine; one listing a row.
    """
    rows = [f"{folder}/{row}"] if row is not None else [path for _, path in _entries(folder)]
    for inside in rows:
        for file, path in _entries(inside):
            stem, found, rest = file.rpartition(ending)
            if not found or rest:
                continue
            try:
                index = tuple(map(int, stem.split(".")))
            except ValueError:
                continue  # no marker
            yield index, path


def read_marker(path: str) -> bytes:
    """Read a small file.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        content = os.read(descriptor, READ_BYTES)
        if len(content) < READ_BYTES:
            return content
        parts = [content]
        while part := os.read(descriptor, READ_BYTES):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _entries(folder: str) -> list[tuple[str, str]]:
    """Names and paths of what lies in a folder; nothing where it is none."""
    try:
        with os.scandir(folder) as entries:
            return [(entry.name, entry.path) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
