"""The configuration of a copick project: where it lies, and the way into it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

from volproc.core.errors import AddressError, ConfigError, MissingFileError, nearest
from volproc.io.copick_address import CopickAddress
from volproc.io.limits import check_metadata_file

SPACING_TOLERANCE = 1e-3
"""Relative difference up to which a voxel size means a voxel spacing of the project; copick
rounds spacings to three decimals in its folder names."""

_LOGGING = RLock()
"""Held while the process's logging is put aside: two threads would each restore the other's."""


def open_project(config: Path | str) -> Any:
    """Open a project with copick.

    Parameters
    ----------
    config : path
        Configuration file. Local roots that are relative count from its folder; one that is
        only found from the current folder, as copick itself looks for it, is taken there.

    Returns
    -------
    root : copick.models.CopickRoot
        The project.

    Raises
    ------
    MissingFileError
        If there is no such file.
    ConfigError
        If it is no copick configuration.

    Notes
    -----
    Importing copick takes about half a second, so that it happens here, not with this module.
    """
    path = Path(config)
    values = read_config(path)
    # Without the key copick means the file system too, but warns.
    values.setdefault("config_type", "filesystem")
    for key in ("overlay_root", "static_root"):
        if isinstance(values.get(key), str):
            values[key] = absolute_root(values[key], path)
    with keep_logging():
        import copick
        import copick.util.segmentation  # copick would import it later, in the middle of its work

        try:
            if values["config_type"] == "filesystem":
                # What copick.from_string does, without importing the clients of data portals.
                from copick.impl.filesystem import CopickConfigFSSpec, CopickRootFSSpec

                return CopickRootFSSpec(CopickConfigFSSpec(**values))
            return copick.from_string(json.dumps(values))
        except (ValueError, TypeError, KeyError) as error:
            reason = " ".join(str(error).split())
            msg = f"{path} is no copick configuration: {reason[:300]}. Correct the file."
            raise ConfigError(msg) from error


@contextmanager
def keep_logging() -> Iterator[None]:
    """Leave the process's logging as it is while copick is imported.

    copick 1.31 configures the root logger as its modules are imported: every message from INFO
    on, of any library, would go to standard output, among the results, and the handlers that the
    program had set up would be closed.
    """
    root = logging.getLogger()
    with _LOGGING:
        handlers, level = root.handlers, root.level
        root.handlers = []
        try:
            yield
        finally:
            root.handlers = handlers
            root.setLevel(level)


def read_config(path: Path) -> dict[str, Any]:
    """Read the values of a configuration file.

    Raises
    ------
    MissingFileError, ConfigError
        If there is no such file, or if it is no JSON object with pickable objects.
    """
    if not path.is_file():
        msg = f"{path} does not exist. Give the configuration file of a copick project."
        raise MissingFileError(msg)
    try:
        check_metadata_file(path)
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        msg = f"{path} is no JSON file ({error}). Give the configuration of a copick project."
        raise ConfigError(msg) from error
    if not isinstance(values, dict) or "pickable_objects" not in values:
        keys = ", ".join(values) if isinstance(values, dict) else type(values).__name__
        msg = (
            f"{path} is no copick configuration: pickable_objects is missing, got "
            f"{keys[:200] or 'nothing'}. Give the configuration of a copick project."
        )
        raise ConfigError(msg)
    return values


def absolute_root(root: str, config: Path) -> str:
    """Root of a project with a local path made absolute; others as they are."""
    local = local_root(root)
    if local is None or local.is_absolute():
        return root
    beside = config.absolute().parent / local
    here = Path.cwd() / local
    chosen = here if here.exists() and not beside.exists() else beside
    return f"local://{chosen.as_posix()}"


def local_root(root: str) -> Path | None:
    """Path of a root on the local disk; None where it lies elsewhere.

    >>> local_root("local://project/").as_posix(), local_root("s3://bucket/project")
    ('project', None)
    """
    protocol, separator, path = root.partition("://")
    if not separator:
        return Path(root).expanduser()
    return Path(path).expanduser() if protocol in ("local", "file") else None


def overlay_folder(root: Any, what: str) -> Path:
    """Folder that a project writes to.

    Raises
    ------
    AddressError
        If the project writes elsewhere than on the local disk.
    """
    folder = local_root(str(root.config.overlay_root))
    if folder is None:
        msg = (
            f"{what} cannot be written block by block to {root.config.overlay_root}. Give the "
            "project a local overlay_root, and copy it afterwards."
        )
        raise AddressError(msg)
    return folder


def is_spacing(spacing: float, voxel_size: float) -> bool:
    """Whether a voxel size means a voxel spacing of the project.

    >>> is_spacing(13.48, 13.4803), is_spacing(10.0, 10.1)
    (True, False)
    """
    return abs(spacing - voxel_size) <= max(SPACING_TOLERANCE * spacing, 1e-3)


def find_run(root: Any, address: CopickAddress) -> Any:
    """Run of an address.

    Raises
    ------
    AddressError
        If it is not in the project; the message names those there are.
    """
    run = root.get_run(address.run) if address.run else None
    if run is None:
        names = [r.name for r in root.runs]
        known = nearest(address.run, names) if names else "the project has no runs."
        msg = f'{address.config} has no run "{address.run}"; {known}'
        raise AddressError(msg)
    return run
