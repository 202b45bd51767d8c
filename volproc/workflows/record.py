"""What is written beside every output: settings, versions, hashes."""

from __future__ import annotations

import json
import platform
import re
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from volproc.core.differences import describe_differences
from volproc.core.errors import ResumeError
from volproc.graph.ledger import work_folder
from volproc.io.chunk_files import write_bytes
from volproc.io.create import partial_path
from volproc.io.formats import find_format

PACKAGES = ("volproc", "numpy", "dask", "torch", "zarr", "mrcfile", "tifffile", "copick", "numba")
"""Packages whose versions are recorded."""

POINT_ENDINGS = (".csv", ".star")
"""Endings of files of points, which are of no format of volumes."""


def record_path(address: str) -> Path:
    """File beside an output that says how it was made.

    >>> record_path("out/classes.zarr").as_posix()
    'out/classes.zarr.json'
    """
    place = _place(address)
    return place.with_name(f"{place.name}.json")


def work_path(address: str) -> Path:
    """Folder of the markers and the scratch of an unfinished output."""
    return work_folder(_place(address))


def named_beside(address: str, ending: str) -> Path:
    """Path beside an output, with its name but another ending.

    >>> named_beside("out/TS_1.2.zarr", "_probabilities.zarr").as_posix()
    'out/TS_1.2_probabilities.zarr'
    """
    place = _place(address)
    suffixes = [s for s in find_format(address).suffixes if place.name.lower().endswith(s)]
    stem = place.name[: len(place.name) - max(map(len, suffixes), default=0)]
    return place.with_name(f"{stem}{ending}")


def make_room(address: str) -> None:
    """Make the folder that a project's member has its record and its work in."""
    if _is_member(address):
        _place(address).parent.mkdir(exist_ok=True)


def tidy_room(address: str) -> None:
    """Remove that folder again, if nothing is in it."""
    if _is_member(address):
        with suppress(OSError):  # as an error says if there is something in it
            _place(address).parent.rmdir()


def is_gone(address: str) -> bool:
    """Whether an unfinished output is not there any more; False where that is not known."""
    found = find_format(address)
    if found.checks_outputs:
        return False
    return not partial_path(found.path(address)).exists()


def file_number(address: str, *, is_partial: bool = False) -> list[int] | None:
    """What the file system calls an output, whatever its name; None where that is not known.

    Parameters
    ----------
    address : str
        The output.
    is_partial : bool
        Look at the unfinished one.
    """
    found = find_format(address)
    if found.checks_outputs:
        return None
    path = found.path(address)
    try:
        status = (partial_path(path) if is_partial else path).stat()
    except FileNotFoundError:
        return None
    return [status.st_dev, status.st_ino]


def write_record(address: str, story: str, facts: dict[str, Any]) -> Path:
    """Write the record of an output; it appears only when it is whole.

    Parameters
    ----------
    address : str
        The output.
    story : str
        Which workflow made it.
    facts : dict
        Resolved settings and what was found; JSON values.
    """
    path = record_path(address)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"made_by": f"volproc {story}", **facts, "versions": versions()}
    write_bytes(path, json.dumps(content, indent=2, default=str).encode() + b"\n")
    return path


def read_record(address: str) -> dict[str, Any]:
    """Read the record of an output; empty where there is none, or a file of another kind."""
    path = record_path(address)
    try:
        record = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def made_so(address: str, story: str, wanted: dict[str, Any]) -> bool:
    """Whether the record of an output says that it was made as it would be made now.

    Parameters
    ----------
    address : str
        The output; that it is there is for the caller to know.
    story : str
        Which workflow would make it.
    wanted : dict
        What the result depends on, as it would stand in the record; JSON values.

    Returns
    -------
    is_so : bool
        False where there is no record, or that of another workflow: what is there is foreign.

    Raises
    ------
    ResumeError
        If it was made otherwise; the message names what differs.
    """
    record = read_record(address)
    if record.get("made_by") != f"volproc {story}":
        return False
    if differing := describe_differences({key: record.get(key) for key in wanted}, wanted):
        msg = (
            f"{address} is finished, but was made otherwise: {differing}. Use the same "
            "settings, write to another place, or make it again with overwrite= (--overwrite)."
        )
        raise ResumeError(msg)
    return True


def recorded_output(record: Path, made_by: str) -> str:
    """Address of the output that a record lies beside, also where both were moved.

    Empty if the file is no record, or one of other makers.
    """
    if record.suffix != ".json":
        return ""  # what records end in: a volume is not read to find that it is none
    try:
        content = json.loads(record.read_text())
    except ValueError:
        return ""
    if not isinstance(content, dict) or content.get("made_by") != made_by:
        return ""
    written = str(content.get("output", ""))
    if written and record_path(written).resolve() == record.resolve():
        return written
    _, is_member, dataset = written.partition(":/")
    return f"{record.with_suffix('')}{is_member}{dataset}"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    """Find them once: looking into the files of packages takes as long as a small volume."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def _is_member(address: str) -> bool:
    """Whether an output is a member of a project, and no file of its own."""
    return not address.lower().endswith(POINT_ENDINGS) and find_format(address).checks_outputs


def _place(address: str) -> Path:
    """Path that an output is named by on disk; a member of a project gets one in its logs."""
    if address.lower().endswith(POINT_ENDINGS):
        return Path(address)
    found = find_format(address)
    path = found.path(address)
    if not found.checks_outputs:
        return path
    member = re.sub(r"[^\w.-]+", "_", address[len(str(path)) :]).strip("_")
    return path.parent / "logs" / member
