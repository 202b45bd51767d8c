"""What is done: one marker a block, written last."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from volproc.core.differences import describe_differences
from volproc.core.errors import ResumeError
from volproc.core.types import Index
from volproc.graph.marker_files import list_markers, read_marker
from volproc.io.chunk_files import write_bytes

RUN_FILE = "run.json"
"""File of a work folder that says which run it belongs to."""

ENDING = ".json"
"""Of markers."""


def fingerprint(description: dict[str, Any]) -> str:
    """Hash of everything that a result depends on.

    >>> fingerprint({"overlap": 0.25}) == fingerprint({"overlap": 0.5})
    False
    """
    return sha256(json.dumps(description, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Ledger:
    """Markers of finished blocks, in the work folder of a run.

    A block is finished when its marker is there: the marker is written after the block's data,
    under a temporary name, and moved. Chunks on disk alone prove nothing.

    Parameters
    ----------
    folder : str
        Work folder, beside the output.
    mark : str
        Fingerprint of config, weights and input; a marker with another one counts for nothing.
    """

    folder: str
    mark: str

    @classmethod
    def begin(cls, folder: Path, description: dict[str, Any], *, restart: bool = False) -> Ledger:
        """Begin a run, or go on with the same one.

        Parameters
        ----------
        folder : Path
            Work folder; made where it is missing.
        description : dict
            What the result depends on; JSON values.
        restart : bool
            Throw an unfinished run away where it was begun with another description, instead of
            refusing.

        Raises
        ------
        ResumeError
            If an unfinished run in the folder was begun with another description; the message
            names what differs.
        """
        mark = fingerprint(description)
        path = folder / RUN_FILE
        if restart and not cls.is_begun(folder, description):
            shutil.rmtree(folder, ignore_errors=True)
        if path.exists():
            before = _read_run(path)
            if before["fingerprint"] != mark:
                differing = describe_differences(before["description"], description)
                msg = (
                    f"{folder} holds an unfinished run that was begun otherwise: {differing}. Use "
                    "the same settings to go on, or throw it away with overwrite= (--overwrite)."
                )
                raise ResumeError(msg)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"fingerprint": mark, "description": description}, default=str, indent=1)
        write_bytes(path, text.encode())
        return cls(str(folder), mark)

    @classmethod
    def is_begun(cls, folder: Path, description: dict[str, Any]) -> bool:
        """Whether a work folder holds an unfinished run with this very description."""
        try:
            return bool(_read_run(folder / RUN_FILE)["fingerprint"] == fingerprint(description))
        except (ResumeError, FileNotFoundError):
            return False

    @staticmethod
    def unfinished(folder: Path) -> dict[str, Any]:
        """Description of the unfinished run in a work folder; empty where there is none.

        Raises
        ------
        ResumeError
            If it is damaged.
        """
        path = folder / RUN_FILE
        return dict(_read_run(path)["description"]) if path.exists() else {}

    def commit(self, stage: str, index: Index, facts: dict[str, Any]) -> None:
        """Mark one block of a stage as finished.

        Raises
        ------
        ResumeError
            If the run is over: a worker that was cut off may end its block long after.
        """
        if not (Path(self.folder) / RUN_FILE).exists():
            msg = f"the run in {self.folder} is over, so block {index} of {stage} is not marked."
            raise ResumeError(msg)
        path = self._path(stage, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, json.dumps({"fingerprint": self.mark, "facts": facts}).encode())
        _sync_folder(path.parent)

    def keep(self, stage: str, index: Index, result: Any) -> None:
        """Mark one block of a stage as finished; a result that is a dict is its facts."""
        self.commit(stage, index, result if isinstance(result, dict) else {})

    def result(self, stage: str, index: Index) -> dict[str, Any] | None:
        """What was noted of a finished block; None if it is not finished."""
        return self._read(os.fspath(self._path(stage, index)))

    def done(self, stage: str) -> set[Index]:
        """Blocks of a stage that are finished."""
        return {index for index, _ in self.finished(stage)}

    def finished(
        self, stage: str, row: int | None = None
    ) -> Iterator[tuple[Index, dict[str, Any]]]:
        """Blocks of a stage that are finished, each with what was noted of it.

        Parameters
        ----------
        stage : str
            The stage.
        row : int
            Only blocks with this first index.
        """
        for index, path in list_markers(f"{self.folder}/{stage}", ENDING, row):
            if (facts := self._read(path)) is not None:
                yield index, facts

    def has_any(self, stage: str) -> bool:
        """Whether any block of a stage is finished."""
        return next(self.finished(stage), None) is not None

    def revoke(self, stage: str, index: Index) -> None:
        """Take the marker of a block away: what it left is damaged."""
        self._path(stage, index).unlink(missing_ok=True)

    def _read(self, path: str) -> dict[str, Any] | None:
        """Facts of a marker; None where it is missing, damaged or of another run."""
        try:
            content = json.loads(read_marker(path))
            return dict(content["facts"]) if content["fingerprint"] == self.mark else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def remove(self) -> None:
        """Remove the work folder: the output is whole."""
        shutil.rmtree(self.folder)

    def _path(self, stage: str, index: Index) -> Path:
        # Two levels keep folders small: a listing of 100,000 names is slow on shared disks.
        name = ".".join(map(str, index))
        return Path(self.folder) / stage / str(index[0]) / f"{name}{ENDING}"


def work_folder(output: Path) -> Path:
    """Folder of a run's markers and scratch, beside its output.

    >>> work_folder(Path("out/classes.zarr")).as_posix()
    'out/.classes.zarr.work'
    """
    return output.with_name(f".{output.name}.work")


def _read_run(path: Path) -> dict[str, Any]:
    try:
        before = json.loads(path.read_text())
    except ValueError:
        before = None
    if not isinstance(before, dict) or not {"fingerprint", "description"} <= set(before):
        msg = (
            f"{path}, which says what an unfinished run was, is damaged. Throw the run away with "
            "overwrite= (--overwrite)."
        )
        raise ResumeError(msg)
    return before


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
