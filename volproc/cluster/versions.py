"""Versions of client, scheduler and workers: checked when they meet, and again before each call."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from volproc.core.errors import VersionError

if TYPE_CHECKING:
    from distributed import Client

PACKAGES = ("dask", "distributed", "cloudpickle", "numpy", "volproc")
"""Packages that carry a call and its result, or decide about its bits."""

CURE = "Use the same environment for scheduler, workers and this command."


async def ask_versions(client: Client, workers: list[str]) -> dict[str, Any]:
    """Ask some workers for their versions; one that does not answer is left out."""
    return await client.scheduler.broadcast(
        msg={"op": "versions", "packages": ["volproc"]}, workers=workers, on_error="ignore"
    )


def check_workers(workers: Mapping[str, Any]) -> None:
    """Refuse workers whose packages differ from those here.

    Parameters
    ----------
    workers : mapping
        Address to what it said, see `ask_versions`.

    Raises
    ------
    VersionError
        Naming each package with both versions.
    """
    differences = []
    for name, said in workers.items():
        if said:  # a worker that is gone by now is no matter
            differences += _differences(f"worker {name}", _packages(said), dict(versions_here()))
    if differences:
        raise VersionError(_message(differences))


def check_versions(versions: dict[str, Any]) -> None:
    """Refuse workers whose packages differ from the client's where that breaks runs.

    Parameters
    ----------
    versions : dict
        What `distributed.Client.get_versions` says of ``client``, ``scheduler``, ``workers``.

    Raises
    ------
    VersionError
        Naming each package with both versions.
    """
    # The scheduler never runs a block: only what it speaks and unpickles has to fit.
    needed = _packages(versions["client"])
    spoken = {name: said for name, said in needed.items() if name not in ("volproc", "numpy")}
    differences = _differences("the scheduler", _packages(versions["scheduler"]), spoken)
    for name, said in (versions["workers"] or {}).items():
        differences += _differences(f"worker {name}", _packages(said), needed)
    if differences:
        raise VersionError(_message(differences))


@lru_cache(maxsize=1)
def versions_here() -> tuple[tuple[str, str], ...]:
    """Packages of this process with their versions; of Python the first two numbers."""
    python = ".".join(platform.python_version_tuple()[:2])
    return (*((name, _installed(name)) for name in PACKAGES), ("python", python))


@dataclass(frozen=True, slots=True)
class SameVersions:
    """A call that runs only where the packages are those of the process that made it.

    Workers may join at any time, from any environment; what they would compute with other
    versions must not reach a result.

    Parameters
    ----------
    function : callable
        What is called.
    expected : tuple of (str, str)
        Packages and versions; by default those here.
    """

    function: Callable[..., Any]
    expected: tuple[tuple[str, str], ...] = field(default_factory=versions_here)

    def __call__(self, *args: Any) -> Any:
        """Call the function.

        Raises
        ------
        VersionError
            If a package has another version here.
        """
        there = versions_here()
        if there != self.expected:
            name = f"worker {os.getpid()} on {socket.gethostname()}"
            raise VersionError(_message(_differences(name, dict(there), dict(self.expected))))
        return self.function(*args)


def lacks_volproc(error: BaseException) -> bool:
    """Whether a call failed because its worker cannot import volproc at all."""
    name = getattr(error, "name", None) or ""
    return isinstance(error, ImportError) and name.partition(".")[0] == "volproc"


def _packages(said: dict[str, Any]) -> dict[str, str]:
    """Versions that must agree; of Python the first two numbers."""
    packages = dict(said.get("packages") or {})
    python = str(packages.get("python") or "")
    chosen = {name: packages.get(name) or "" for name in PACKAGES}
    return chosen | {"python": ".".join(python.split(".")[:2])}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _differences(name: str, there: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    return [
        f"{name} has {package} {there.get(package) or 'not installed'}, here is {needed}"
        for package, needed in sorted(expected.items())
        if there.get(package) != needed
    ]


def _message(differences: list[str]) -> str:
    more = f" and {len(differences) - 4} more" if len(differences) > 4 else ""
    return f"the cluster runs other versions: {'; '.join(differences[:4])}{more}. {CURE}"
