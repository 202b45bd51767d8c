"""Many tables of points from a few words: patterns, lists, folders and runs of copick projects."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from volproc.core.errors import AddressError, FormatError, MissingFileError, nearest
from volproc.core.points import Points
from volproc.core.types import Shape
from volproc.io.copick_address import CopickAddress, is_copick, parse_copick
from volproc.io.copick_config import find_run, open_project
from volproc.io.csv_points import Unit, open_csv
from volproc.io.file_names import natural_key, split_pattern
from volproc.io.formats import is_pattern
from volproc.io.inputs import LIST_SIGN, names_many, read_list
from volproc.io.open import VoxelSize, expand_voxel_size
from volproc.io.points import read_points
from volproc.io.points_table import PointTables, Request
from volproc.io.star import open_star

ENDINGS = (".csv", ".star", ".npy")
"""Endings of files that hold points."""


@dataclass(frozen=True, slots=True)
class PointFormat:
    """What tables of points do not say of themselves; see `volproc.io.points.read_points`."""

    voxel_size: VoxelSize | None = None
    """Å per voxel, one number or (z, y, x)."""

    unit: Unit = "voxel"
    """What ``x, y, z`` of a CSV of others are counted in."""

    shape: Shape | None = None
    """Size of the volume, (z, y, x), voxels, for centred coordinates of RELION 5."""

    pixel_size: float | None = None
    """Å per pixel of a STAR file's corner coordinates."""


class PointReader:
    """Reads points of one volume after another; a table of several volumes is parsed once.

    Parameters
    ----------
    how : PointFormat
        What the tables do not say.

    Notes
    -----
    Only a table that names several volumes is kept in memory.
    """

    def __init__(self, how: PointFormat) -> None:
        self._how = how
        self._kept: dict[str, PointTables] = {}

    def names(self, address: str) -> tuple[str, ...]:
        """Volumes that a table names, sorted; none for picks of a project and for ``.npy``.

        Raises
        ------
        VolprocError
            If there is no such table, or if it is damaged.
        """
        tables = self._open(address)
        return tables.names if tables is not None else ()

    def read(self, address: str, volume: str = "") -> Points:
        """Read the points of one volume.

        Parameters
        ----------
        address : str
            As in `volproc.io.points.read_points`.
        volume : str
            Which one, where the table names volumes; needed if it names several.

        Returns
        -------
        points : Points
            What is known in Å alone, such as picks, comes in voxels of 1 Å where no voxel size
            was given.

        Raises
        ------
        VolprocError
            As `volproc.io.points.read_points` does.
        """
        tables = self._open(address)
        if tables is None:
            size = self._how.voxel_size
            if size is None and is_copick(address):
                size = 1.0  # picks are in Å, whatever tomograms their run has
            return read_points(address, voxel_size=size, shape=self._how.shape)
        if not volume and len(tables.names) > 1:
            listed = ", ".join(tables.names[:8]) + (" …" if len(tables.names) > 8 else "")
            msg = (
                f"{address} holds points of {len(tables.names)} volumes ({listed}). Choose one of "
                "them."
            )
            raise AddressError(msg)
        return tables.read(volume or (tables.names[0] if tables.names else ""))

    def _open(self, address: str) -> PointTables | None:
        """Tables by volume; None where an address is one volume by itself."""
        if address in self._kept:
            return self._kept[address]
        ending = "" if is_copick(address) else Path(address).suffix.lower()
        if ending not in (".csv", ".star"):
            return None
        how = self._how
        size = None if how.voxel_size is None else expand_voxel_size(how.voxel_size, 3)
        request = Request(size, how.shape)
        if ending == ".csv":
            tables = open_csv(address, request, unit=how.unit)
        else:
            tables = open_star(address, request, pixel_size=how.pixel_size)
        if len(tables.names) > 1:
            self._kept[address] = tables
        return tables


def expand_points(words: Iterable[str]) -> Iterator[str]:
    """Yield the addresses of points that words of a command line stand for, each once.

    Parameters
    ----------
    words : iterable of str
        Addresses as `volproc.read_points` takes them; folders and patterns, of which files ending
        in ``.csv``, ``.star`` and ``.npy`` are taken; ``@list.txt``, a file with one word a line.
        A pattern of runs of a project is yielded as it is; see `picks_of_runs`.

    Raises
    ------
    MissingFileError
        If a list does not exist, or if nothing fits a pattern.
    FormatError
        If a list is no text, empty, or names another list.
    """
    seen: set[str] = set()
    for word in words:
        is_list = word.startswith(LIST_SIGN) and not Path(word).exists()
        for inner in read_list(word[1:]) if is_list else (word,):
            if is_list and inner.startswith(LIST_SIGN) and not Path(inner).exists():
                msg = f"the list {word[1:]} names another list, {inner[1:]}. Write one list."
                raise FormatError(msg)
            for address in _expand(inner):
                key = address if is_copick(address) else str(Path(address).absolute())
                if key not in seen:
                    seen.add(key)
                    yield address


def is_run_pattern(address: str) -> bool:
    """Whether an address means all runs of a project whose names fit.

    >>> is_run_pattern("c.json:TS_*/:me/1"), is_run_pattern("c.json:TS_1/:me/1")
    (True, False)
    """
    return is_copick(address) and names_many(address)


def picks_of_runs(address: str, runs: Collection[str] = ()) -> dict[str, bool]:
    """Runs of a project that fit a pattern, in natural order, and whether each has such picks.

    Parameters
    ----------
    address : str
        ``config.json:RUN*/OBJECT:USER/SESSION``; with ``OBJECT`` left out, picks of any object.
    runs : collection of str
        The only runs to look at.

    Raises
    ------
    AddressError
        If no run fits, or if one of ``runs`` is not in the project.
    """
    found = parse_copick(address)
    root = open_project(found.config)
    names = [run.name for run in root.runs]
    for name in runs:
        find_run(root, replace(found, run=name))  # says which ones there are
    fitting = [n for n in names if fnmatchcase(n, found.run) and (not runs or n in runs)]
    if not fitting:
        known = nearest(found.run, names) if names else "the project has no runs."
        msg = f'no run of {found.config} fits "{found.run}"; {known}'
        raise AddressError(msg)
    by_name = {run.name: run for run in root.runs}
    return {
        name: any(_is_wanted(picks, found) for picks in by_name[name].picks)
        for name in sorted(fitting, key=natural_key)
    }


def _is_wanted(picks: object, address: CopickAddress) -> bool:
    wanted = {
        "pickable_object_name": address.name or None,
        "user_id": address.user,
        "session_id": address.session,
    }
    return all(
        value is None or getattr(picks, attribute) == value for attribute, value in wanted.items()
    )


def _expand(word: str) -> Iterator[str]:
    """Files of one word that is no list."""
    if is_copick(word):
        yield word
        return
    is_folder = Path(word).is_dir()
    if not is_folder and not is_pattern(word):
        yield word
        return
    folder, rest = (Path(word), "*") if is_folder else split_pattern(Path(word))
    below = (path.relative_to(folder) for path in folder.glob(rest))
    seen = [path for path in below if not any(part.startswith(".") for part in path.parts)]
    paths = sorted((os.fspath(folder / path) for path in seen), key=natural_key)
    tables = [path for path in paths if path.lower().endswith(ENDINGS) and Path(path).is_file()]
    if not tables:
        found = f"{len(paths)} files fit {word}, none of which holds points"
        msg = f"{found if paths else f'nothing fits {word}'}. Points end in {', '.join(ENDINGS)}."
        raise MissingFileError(msg)
    yield from tables
