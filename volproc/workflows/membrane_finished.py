"""Runs whose picks were told apart before their command was killed: small files by their names."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from volproc.core.errors import AddressError, FormatError
from volproc.io.chunk_files import write_bytes
from volproc.io.open import open_
from volproc.io.picks_split import read_whole_picks
from volproc.workflows.membrane_runs import RunPicks


@dataclass(frozen=True, slots=True)
class FinishedRuns:
    """What is finished of a command that goes on.

    Parameters
    ----------
    folder : Path
        Where the files are; it goes when the command has done all runs.

    Notes
    -----
    A file a run, written after its picks: whatever is killed, what it says is true. It holds hashes
    of the picks before and after, and the identity of the mask, so that a run whose input changed,
    or whose output somebody wrote to, is done again.
    """

    folder: Path

    def begin(self, *, goes_on: bool) -> None:
        """Make the folder; that of another command is emptied."""
        if not goes_on:
            self.remove()
        self.folder.mkdir(parents=True, exist_ok=True)

    def find(self, work: RunPicks) -> tuple[int, int] | None:
        """Number of close picks and of others, of a run that is finished."""
        try:
            near, far, fingerprint = json.loads(self._path(work).read_text())
            return (int(near), int(far)) if fingerprint == _fingerprint(work) else None
        except (OSError, ValueError, TypeError, AddressError, FormatError):
            return None  # it is done again, which says what is wrong

    def keep(self, work: RunPicks, counts: tuple[int, int]) -> None:
        """Note that a run is finished."""
        values = [*counts, _fingerprint(work)]
        write_bytes(self._path(work), json.dumps(values).encode())

    def remove(self) -> None:
        """Forget all."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, work: RunPicks) -> Path:
        return self.folder / f"{sha256(work.name.encode()).hexdigest()[:16]}.json"


def _fingerprint(work: RunPicks) -> str:
    """Hash of what a run is made of, and of what it gave."""
    source = open_(work.mask).source
    parts = [work.picks, work.mask, source.identity() if source is not None else ""]
    for address in (work.picks, *work.outputs):
        parts += [address, json.dumps(read_whole_picks(address).values, sort_keys=True)]
    return sha256(json.dumps(parts).encode()).hexdigest()
