"""Errors of volproc: each says what is wrong, what was got and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal, TypeAlias

DeathCause: TypeAlias = Literal["memory", "crash", "killed", "unknown"]
"""How a worker ended: at a memory limit, by what ran inside, by somebody else, or unseen."""


class VolprocError(Exception):
    """Anything that volproc itself finds wrong."""


class AddressError(VolprocError, ValueError):
    """An address that names nothing readable: a wrong path, format, level or key."""


class MissingFileError(AddressError, FileNotFoundError):
    """A path that does not exist."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class SeveralError(AddressError):
    """An address that holds several arrays, of which one has to be selected.

    Parameters
    ----------
    message : str
        Says how many there are, and how to select one.
    option : str
        What selects one: ``t``, ``c``, ``dataset``, or ``address`` for a longer address.
    choices : tuple of int or str
        Values that the option takes.
    """

    def __init__(
        self, message: str, *, option: str = "", choices: tuple[int, ...] | tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.option = option
        self.choices = choices


class FormatError(VolprocError, ValueError):
    """A file that is not what its name says: truncated, damaged or of an unknown kind."""


class VoxelSizeError(VolprocError, ValueError):
    """A voxel size that is missing, impossible or in contradiction."""


class ShapeError(VolprocError, ValueError):
    """Arrays or volumes whose shapes do not fit each other or the work."""


class DtypeError(VolprocError, TypeError):
    """Voxels of a type that the work cannot take."""


class HaloError(VolprocError, ValueError):
    """A halo larger than its chunk."""


class PlanError(VolprocError, ValueError):
    """Work that cannot fit: both numbers are in the message."""


class ModelError(VolprocError, ValueError):
    """A model that cannot be loaded, or that does not fit its input."""


class NonFiniteError(VolprocError, ValueError):
    """NaN or infinite voxels where numbers are needed."""


class ExistsError(VolprocError, FileExistsError):
    """An output that is already there."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ResumeError(VolprocError, RuntimeError):
    """An unfinished output that was begun with other settings, weights or input."""


class SpillError(VolprocError, RuntimeError):
    """Sums that a block left for its neighbour, and that are missing or damaged."""


class OutOfMemoryError(VolprocError, MemoryError):
    """Work that found no memory on its device; less of it at once may fit."""


class InputChangedError(VolprocError, RuntimeError):
    """An input that was written to, or went away, while it was read."""


class VerifyError(VolprocError, RuntimeError):
    """A run that cannot be verified: its record is missing, or its input or model has changed."""


class ConfigError(VolprocError, ValueError):
    """A configuration that says something impossible or unknown."""


class ClusterError(VolprocError, RuntimeError):
    """A cluster that cannot be started or reached."""


class VersionError(ClusterError):
    """A scheduler or worker whose packages have other versions than those here."""


class ClusterLostError(ClusterError):
    """A cluster that went away while work was under way: no block is to blame."""


class WorkerDiedError(ClusterError):
    """A worker that died under a call.

    Parameters
    ----------
    message : str
        Names the call, the worker and what is known of its end.
    worker : str
        Address of the worker.
    cause : {"memory", "crash", "killed", "unknown"}
        How it ended.
    reason : str
        The same for people, after "its worker".
    """

    def __init__(
        self, message: str, *, worker: str = "", cause: DeathCause = "unknown", reason: str = ""
    ) -> None:
        super().__init__(message)
        self.worker = worker
        self.cause = cause
        self.reason = reason or "was lost"


def nearest(word: str, known: Iterable[str]) -> str:
    """Clause that names the nearest known word, or lists all of them.

    >>> nearest("voxelsize", ["voxel_size", "patch"])
    'did you mean "voxel_size"?'
    >>> nearest("zzz", ["voxel_size", "patch"])
    'known are: patch, voxel_size.'
    """
    words = sorted(known)
    close = get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    return f"known are: {', '.join(words)}."
