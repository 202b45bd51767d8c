"""``run.json``: what became of each volume of a dataset, true whenever the run is killed."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from volproc.core.differences import describe_differences
from volproc.core.errors import ExistsError, ResumeError
from volproc.io.chunk_files import write_bytes
from volproc.workflows.dataset_outputs import place_key
from volproc.workflows.record import versions

Status = Literal["pending", "done", "skipped", "failed"]

RUN_FILE = "run.json"

PAUSE_S = 0.5
"""Least seconds between two versions of the file, but for the last."""

PAUSE_TIMES = 20
"""The same, as so many times what writing it took: a large dataset is not slowed by its record."""


@dataclass(slots=True)
class Entry:
    """What became of one volume."""

    name: str
    """What people call it, unique in the dataset."""

    input: str
    """Address."""

    output: str
    """Where the result goes, or went."""

    status: Status = "pending"
    """``done`` now, ``skipped`` since an earlier run had done it, or ``failed``."""

    seconds: float = 0.0
    """What it took, on the worker."""

    error: str = ""
    """Why it failed."""


class RunRecord:
    """The file of one run over a dataset.

    Parameters
    ----------
    path : Path
        The file; it is replaced as a whole.
    facts : dict
        What is written beside the volumes: workflow, settings, versions; JSON values.
    entries : list of Entry
        The volumes; changed by `end`.
    """

    def __init__(self, path: Path, facts: dict[str, Any], entries: list[Entry]) -> None:
        self.path = path
        self.entries = entries
        self.begun_ns = 0
        self._facts = facts
        self._next_s = 0.0

    def begin(self, begun_ns: int = 0) -> None:
        """Write the file for the first time.

        Parameters
        ----------
        begun_ns : int
            When the run that this one goes on with began, as its `begun_ns`.

        Raises
        ------
        OSError
            If it cannot be written: nothing was computed yet.
        """
        self.begun_ns = begun_ns
        self._write("running")
        if not begun_ns:
            # The clock that says what is older is that of the disk, not of this machine.
            self.begun_ns = self.path.stat().st_mtime_ns
            self._write("running")

    def end(self, index: int, status: Status, *, seconds: float = 0.0, error: str = "") -> Entry:
        """Note what became of a volume; the file follows within moments.

        Notes
        -----
        The file may be a moment late: what is done is known by the records beside the outputs. A
        disk that is full must not stop the other volumes: `finish` says whether it still is.
        """
        entry = self.entries[index]
        entry.status, entry.seconds, entry.error = status, round(seconds, 3), error
        if perf_counter() >= self._next_s:
            with suppress(OSError):
                self._write("running")
        return entry

    def finish(self, status: Literal["done", "failed", "interrupted"]) -> None:
        """Write the last version of the file.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        self._write(status)

    def count(self) -> dict[str, int]:
        """Volumes by what became of them, and ``total``."""
        counts = dict.fromkeys(("total", "done", "skipped", "failed", "pending"), 0)
        for entry in self.entries:
            counts[entry.status] += 1
        return counts | {"total": len(self.entries)}

    def _write(self, status: str) -> None:
        begin_s = perf_counter()
        content = {
            **self._facts,
            "status": status,
            "begun_ns": self.begun_ns,
            "written": datetime.now().astimezone().isoformat(timespec="seconds"),
            "counts": self.count(),
            "versions": versions(),
            "tomograms": [
                # Places count from the root: the run may go on from another folder.
                {
                    **asdict(entry),
                    "input": place_key(entry.input),
                    "output": place_key(entry.output),
                }
                for entry in self.entries
            ],
        }
        write_bytes(self.path, json.dumps(content, indent=1, default=str).encode() + b"\n")
        took_s = perf_counter() - begin_s
        self._next_s = perf_counter() + max(PAUSE_S, PAUSE_TIMES * took_s)


def read_run(path: Path) -> dict[str, Any]:
    """Read the file of an earlier run; empty where there is none.

    Raises
    ------
    ExistsError
        If the file is of another kind.
    """
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        found = None
    known = {"made_by", "settings", "status", "begun_ns", "tomograms"}
    if not isinstance(found, dict) or not known <= set(found):
        msg = (
            f"{path}, where the record of the run would go, is none of volproc's. Move it, or "
            "write to another folder."
        )
        raise ExistsError(msg)
    return found


def goes_on(before: dict[str, Any], facts: dict[str, Any], *, overwrite: bool) -> bool:
    """Whether an earlier run over the same outputs is unfinished, and this one goes on with it.

    Parameters
    ----------
    before : dict
        As `read_run` gives it, of a run that shares outputs with this one.
    facts : dict
        ``made_by`` and ``settings`` of this run.
    overwrite : bool
        Begin anew where the settings differ.

    Raises
    ------
    ResumeError
        If the earlier run is unfinished and its settings differ; the message names them.
    """
    if before.get("status") in (None, "done") or before["made_by"] != facts["made_by"]:
        return False
    differing = describe_differences(before["settings"], facts["settings"])
    if not differing:
        return True
    if overwrite:
        return False
    msg = (
        f"an unfinished run wrote to the same outputs with other settings: {differing}. Use "
        "the same settings to go on, write to another place, or begin anew with overwrite= "
        "(--overwrite)."
    )
    raise ResumeError(msg)


def keep_aside(path: Path, before: dict[str, Any]) -> Path:
    """Give the file of an earlier run over other volumes a name of its own, by its time."""
    stamp = datetime.fromtimestamp(before["begun_ns"] / 1e9).strftime("%Y%m%d-%H%M%S")
    number, kept = 1, path.with_name(f"{path.stem}-{stamp}{path.suffix}")
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.stem}-{stamp}-{number}{path.suffix}")
    path.rename(kept)
    return kept


def shares_outputs(before: dict[str, Any], entries: list[Entry]) -> tuple[bool, bool]:
    """Whether an earlier run has outputs of this one, and whether it has no others."""
    now = {place_key(entry.output) for entry in entries}
    then = {place_key(str(one["output"])) for one in before.get("tomograms", [])}
    return bool(now & then), then <= now
