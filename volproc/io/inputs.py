"""Many inputs from a few words: patterns, list files and runs of copick projects."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from volproc.core.errors import (
    AddressError,
    FormatError,
    MissingFileError,
    SeveralError,
    VolprocError,
    nearest,
)
from volproc.io.copick_address import CopickAddress, is_copick, parse_copick
from volproc.io.copick_config import find_run, open_project
from volproc.io.copick_members import find_segmentation, find_tomogram
from volproc.io.file_names import natural_key, split_pattern
from volproc.io.formats import GLOB_SIGNS, Selection, find_format, is_pattern
from volproc.io.open import inspect

logger = logging.getLogger(__name__)

LIST_SIGN = "@"
"""Before the name of a file that lists inputs."""

NUM_LOOKED_AT = 16
"""Files of a pattern that are tried to find out whether it means slices of one volume."""


def names_many(word: str) -> bool:
    """Whether a word stands for any number of inputs, by its look.

    A pattern may still turn out to be one volume, kept as a slice a file.

    >>> [names_many(w) for w in ("a.mrc", "data/*.mrc", "@list.txt", "c.json:TS_*/wbp@10")]
    [False, True, True, True]
    """
    if is_copick(word):
        return _is_run_pattern(word)
    return (word.startswith(LIST_SIGN) and not Path(word).exists()) or is_pattern(word)


def expand_inputs(words: Iterable[str], *, runs: Collection[str] = ()) -> Iterator[str]:
    """Yield the addresses that words of a command line stand for, each once.

    Parameters
    ----------
    words : iterable of str
        Addresses as `volproc.open` takes them; patterns such as ``"data/*.mrc"`` (``**`` takes
        folders below, hidden files are left out); ``@list.txt``, a file with one word a line;
        ``config.json:RUN*/TOMOGRAM@VOXEL``, all runs of a copick project whose names fit and
        that have this tomogram or segmentation.
    runs : collection of str
        Names of the only runs to take for a pattern of runs.

    Yields
    ------
    address : str
        In the order of the words; what a pattern takes comes in natural order (2 before 10).

    Raises
    ------
    MissingFileError
        If a list does not exist, or if nothing fits a pattern.
    FormatError
        If a list is no text, or empty.
    AddressError
        If there is no such run, or if runs are given and no word takes them from a project.

    Notes
    -----
    A pattern of images of two dimensions is one volume, kept as a slice a file, and is yielded as
    it is: one head is read to find out. In a list, ``#`` at the beginning of a line or after a
    space begins a comment, and paths count from the current folder, as on the command line.
    """
    seen: set[str] = set()
    takes_runs = False
    for word in _unlisted(words):
        takes_runs = takes_runs or _is_run_pattern(word)
        for address in _expand(word, runs):
            key = address if is_copick(address) else str(Path(address).absolute())
            if key not in seen:
                seen.add(key)
                yield address
    if runs and not takes_runs:
        msg = (
            f"runs are given ({', '.join(sorted(runs)[:5])}), but no input takes runs from a "
            'project. Give one as "config.json:*/TOMOGRAM@VOXEL".'
        )
        raise AddressError(msg)


def read_list(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield the words of a list file, one a line, without comments.

    Raises
    ------
    MissingFileError, FormatError
        As in `expand_inputs`.
    """
    num_words = 0
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            for line in file:
                word = _without_comment(line)
                if word:
                    num_words += 1
                    yield word
    except FileNotFoundError:
        msg = f"the list {os.fspath(path)} does not exist. Check the path."
        raise MissingFileError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        name = os.fspath(path)
        msg = f"the list {name} cannot be read: {error}. Give a text file with one input a line."
        raise FormatError(msg) from error
    if not num_words:
        msg = f"the list {os.fspath(path)} names no input. Write one address a line."
        raise FormatError(msg)


def _unlisted(words: Iterable[str]) -> Iterator[str]:
    """Words, with lists replaced by what is in them."""
    for word in words:
        if not word.startswith(LIST_SIGN) or Path(word).exists():
            yield word
            continue
        for inner in read_list(word[1:]):
            if inner.startswith(LIST_SIGN) and not Path(inner).exists():
                msg = (
                    f"the list {word[1:]} names another list, {inner[1:]}. Write the inputs into "
                    "one list."
                )
                raise FormatError(msg)
            yield inner


def _without_comment(line: str) -> str:
    """Text of a line before its comment."""
    if line.lstrip().startswith("#"):
        return ""
    for sign in (" #", "\t#"):
        line = line.split(sign, 1)[0]
    return line.strip()


def _expand(word: str, runs: Collection[str]) -> Iterator[str]:
    """Addresses of one word that is no list."""
    if _is_run_pattern(word):
        yield from _expand_runs(parse_copick(word), runs)
    elif not is_copick(word) and is_pattern(word):
        yield from _expand_pattern(word)
    else:
        yield word


def _is_run_pattern(word: str) -> bool:
    """Whether a word is a member of all runs of a project whose names fit a pattern."""
    if not is_copick(word):
        return False
    _, _, rest = word.lower().partition(".json:")
    return bool(GLOB_SIGNS & set(rest.partition("/")[0]))


def _expand_pattern(pattern: str) -> Iterator[str]:
    """Volumes that fit a pattern; the pattern itself where it means slices of one volume."""
    files, colon, dataset = pattern.partition(":/")  # as in runs/*.h5:/raw
    folder, rest = split_pattern(Path(files))
    below = (path.relative_to(folder) for path in folder.glob(rest))
    seen = (path for path in below if not any(part.startswith(".") for part in path.parts))
    found = sorted((str(folder / path) for path in seen), key=natural_key)
    volumes = [path for path in found if _is_volume(path)]
    if not volumes:
        what = f"{len(found)} files fit {pattern}, none of which is a volume"
        msg = f"{what if found else f'nothing fits {pattern}'}. Check the path."
        raise MissingFileError(msg)
    if len(volumes) < len(found):
        logger.info("%s: %d of %d are volumes", pattern, len(volumes), len(found))
    if not colon and _are_slices(volumes):
        yield pattern
        return
    for path in volumes:
        yield f"{path}{colon}{dataset}"


def _is_volume(path: str) -> bool:
    """Whether a file or folder looks like a volume or a slice, by its name.

    Of a folder that is no zarr store, the head of one file is read.
    """
    if is_copick(path):
        return False  # the records that lie beside outputs end in .json too
    try:
        found = find_format(path)
        if Path(path).is_dir() and found.name == "slices":
            from volproc.io.slices import find_slices, slice_header  # and readers of all formats

            slice_header(find_slices(path)[0][0], Selection())
    except VolprocError:
        return False
    return True


def _are_slices(paths: list[str]) -> bool:
    """Whether the first file whose head can be read has two dimensions."""
    for path in paths[:NUM_LOOKED_AT]:
        if Path(path).is_dir():
            return False
        try:
            return len(inspect(path).source.shape) == 2
        except (VolprocError, OSError):
            continue  # damaged, or of several arrays: the next one tells
    return False


def _expand_runs(address: CopickAddress, runs: Collection[str]) -> Iterator[str]:
    """Members of one name in the runs of a project."""
    root = open_project(address.config)
    by_name = {run.name: run for run in root.runs}
    for name in runs:
        if name not in by_name:
            find_run(root, replace(address, run=name))  # says which ones there are
    fitting = [n for n in by_name if fnmatchcase(n, address.run) and (not runs or n in runs)]
    if not fitting:
        msg = f'no run of {address.config} fits "{address.run}"; {nearest(address.run, by_name)}'
        raise AddressError(msg)
    lacking, num_found = [], 0
    for name in sorted(fitting, key=natural_key):
        member = replace(address, run=name)
        # A run that was asked for by its name is not left out in silence: it will fail.
        if not runs and not _has_member(by_name[name], member):
            lacking.append(name)
            continue
        num_found += 1
        yield str(member)
    if lacking:
        what = str(replace(address, run="")).partition(":/")[2]
        listed = ", ".join(lacking[:5]) + (" …" if len(lacking) > 5 else "")
        if not num_found:
            msg = f"no run of {address.config} has {what}, looked at {listed}. Check the name."
            raise AddressError(msg)
        logger.warning("%d runs of %s have no %s: %s", len(lacking), address.config, what, listed)


def _has_member(run: object, address: CopickAddress) -> bool:
    """Whether a run has a tomogram or segmentation; one of several spacings is an error."""
    find = find_segmentation if address.has_owner else find_tomogram
    try:
        find(run, address)
    except SeveralError:
        raise
    except AddressError:
        return False
    return True
