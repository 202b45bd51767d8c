"""Octopi's logs: small YAML files in a project's ``logs``, which its commands read as well."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import yaml

from volproc.core.errors import AddressError, FormatError, MissingFileError
from volproc.io.atomic_text import write_text
from volproc.io.copick_config import absolute_root, local_root, read_config
from volproc.io.limits import check_metadata_file

Tool: TypeAlias = Literal["segment", "localize", "targets", "membrane-extract"]
"""Commands that leave a log."""

_JOINED_BY = {"membrane-extract": "_"}
"""What stands between tool and user, where it is no hyphen."""


def logs_folder(project: Path | str) -> Path:
    """Folder of a project's logs; it need not be there yet.

    Parameters
    ----------
    project : path
        Configuration file of a copick project.

    Raises
    ------
    MissingFileError, ConfigError
        If there is no such file, or if it is no copick configuration.
    AddressError
        If the project's overlay does not lie on the local disk.
    """
    path = Path(project)
    root = read_config(path).get("overlay_root")
    folder = local_root(absolute_root(root, path)) if isinstance(root, str) and root else None
    if folder is None:
        msg = (
            f"{path} has the overlay_root {root!r}, where no log can be kept. Give the project a "
            "local overlay_root."
        )
        raise AddressError(msg)
    return folder / "logs"


def log_path(
    project: Path | str, tool: Tool, *, user: str, session: str, name: str | None = None
) -> Path:
    """Path of the log of what a tool made; it need not be there.

    Parameters
    ----------
    project : path
        Configuration file of a copick project.
    tool : {"segment", "localize", "targets", "membrane-extract"}
        What made it.
    user, session : str
        Whose it is.
    name : str
        Name of a segmentation; picks have none.

    Raises
    ------
    MissingFileError, ConfigError, AddressError
        As `logs_folder`; also if a part would lead out of the folder.
    """
    parts = [user, session, *([] if name is None else [name])]
    for part in parts:
        if not part or "/" in part or "\\" in part or "\0" in part:
            msg = f"{part!r} is no part of a log's name. Use letters, digits and hyphens."
            raise AddressError(msg)
    file_name = f"{tool}{_JOINED_BY.get(tool, '-')}{'_'.join(parts)}.yaml"
    return logs_folder(project) / file_name


def read_log(path: Path | str) -> dict[str, Any]:
    """Read a log.

    Raises
    ------
    MissingFileError
        If it is not there.
    FormatError
        If it is no YAML file that holds a mapping.
    """
    file = Path(path)
    if not file.is_file():
        msg = f"the log {file} does not exist. Give what the tool that writes it would say."
        raise MissingFileError(msg)
    check_metadata_file(file)
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        msg = f"the log {file} is no YAML file ({reason}). Correct it, or move it away."
        raise FormatError(msg) from error
    if not isinstance(values, dict):
        msg = (
            f"the log {file} holds {type(values).__name__}, no mapping. Correct it, or move it "
            "away."
        )
        raise FormatError(msg)
    return values


def write_log(path: Path | str, values: Mapping[str, Any]) -> None:
    """Write a log as Octopi does; the folder is made, and an older log replaced as a whole.

    Parameters
    ----------
    path : path
        The file.
    values : mapping
        Its content, in this order. Paths become text, tuples and arrays lists.
    """
    file = Path(path)
    text = dump_yaml(values)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, text)


def dump_yaml(values: Mapping[str, Any]) -> str:
    """Values as the text of a YAML file, laid out as Octopi does.

    >>> print(dump_yaml({"labels": {"ribosome": 1}, "runs": ("TS_1",)}), end="")
    labels:
        ribosome: 1
    runs:
    - TS_1
    """
    return yaml.safe_dump(_plain(values), sort_keys=False, indent=4, allow_unicode=True)


def _plain(value: Any) -> Any:
    """The same in types that YAML has; lists are new, so that no alias is written for two."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, str):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, set | frozenset):
        return [_plain(one) for one in sorted(value)]
    if isinstance(value, Sequence):
        return [_plain(one) for one in value]
    return value
