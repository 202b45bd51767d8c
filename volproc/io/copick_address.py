"""Addresses of what lies in a copick project: ``config.json:RUN/MEMBER``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from volproc.core.errors import AddressError
from volproc.io.formats import GLOB_SIGNS

GRAMMAR = (
    "config.json:RUN/TOMOGRAM@VOXEL, config.json:RUN/NAME:USER/SESSION@VOXEL (segmentation), "
    "or config.json:RUN/OBJECT:USER/SESSION (picks)"
)
"""What an address looks like, for messages."""

_CONFIG = re.compile(r"^(?P<config>.*?\.json)(?::(?P<rest>.*))?$", re.IGNORECASE | re.DOTALL)
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1F\x7F\s_]+')


@dataclass(frozen=True, slots=True)
class CopickAddress:
    """One tomogram, segmentation or set of picks."""

    config: Path
    """The project's configuration file."""

    run: str
    """Name of the run; empty where the address is the project alone."""

    name: str
    """Tomogram type, name of the segmentation, or class of the picks; empty for all classes."""

    user: str | None = None
    """Who made it; None for tomograms."""

    session: str | None = None
    """Session of that user; None for tomograms."""

    voxel: float | None = None
    """Voxel spacing, Å; None where there is only one, and for picks."""

    @property
    def has_owner(self) -> bool:
        """Whether user and session are named: a segmentation or picks, no tomogram."""
        return self.user is not None

    def __str__(self) -> str:
        if not self.name and not self.has_owner:
            return f"{self.config}:{self.run}" if self.run else str(self.config)
        owner = f":{self.user}/{self.session}" if self.has_owner else ""
        voxel = "" if self.voxel is None else f"@{self.voxel:.10g}"
        return f"{self.config}:{self.run}/{self.name}{owner}{voxel}"


def absolute_address(address: str) -> str:
    """Address that means the same from any folder, as on workers elsewhere.

    Of an address into a project its configuration is a path. Addresses of a network, and patterns
    where the current folder itself has the signs of one, stay as they are.

    >>> absolute_address("/data/./config.json:TS_*/wbp@10"), absolute_address("/data/./c.JSON:TS_2")
    ('/data/config.json:TS_*/wbp@10', '/data/c.JSON:TS_2')
    >>> absolute_address("s3://bucket/volume.zarr"), absolute_address("")
    ('s3://bucket/volume.zarr', '')
    """
    if not address or "://" in address:
        return address
    if is_copick(address):
        config = address[: _CONFIG.match(address).end("config")]  # type: ignore[union-attr]
        return f"{Path(config).absolute()}{address[len(config) :]}"
    if GLOB_SIGNS & set(address) and GLOB_SIGNS & set(str(Path.cwd())):
        return address
    return str(Path(address).absolute())


def is_copick(address: str) -> bool:
    """Whether an address points into a copick project, by its look.

    >>> is_copick("project/config.json:TS_2/wbp@10"), is_copick("volume.mrc")
    (True, False)
    """
    return _CONFIG.match(address) is not None


def parse_copick(address: str) -> CopickAddress:
    """Take an address apart.

    Parameters
    ----------
    address : str
        ``config.json``, ``config.json:RUN`` or one of the full forms. ``@VOXEL`` may be left
        out.

    Raises
    ------
    AddressError
        If it is of no known form.

    Examples
    --------
    >>> found = parse_copick("p/config.json:TS_2/wbp@10")
    >>> found.run, found.name, found.voxel, found.has_owner
    ('TS_2', 'wbp', 10.0, False)
    >>> found = parse_copick("config.json:TS_2/predict:octopi/1@13.48")
    >>> found.name, found.user, found.session, found.voxel
    ('predict', 'octopi', '1', 13.48)
    """
    match = _CONFIG.match(address)
    if match is None:
        raise _malformed(address, "it names no configuration file")
    config, rest = Path(match["config"]), match["rest"] or ""
    run, _, member = rest.partition("/")
    if not member:
        return CopickAddress(config, run, "")
    head, at, tail = member.rpartition("@")
    if not at:
        head, tail = member, ""
    name, colon, owner = head.partition(":")
    user, _, session = owner.partition("/")
    if not run:
        raise _malformed(address, "the run is empty")
    if run in (".", "..") or "\\" in run or "\0" in address:
        raise _malformed(address, f"{run!r} would lead out of the project")
    if colon and not (user and session):
        raise _malformed(address, f'"{owner}" is no USER/SESSION')
    if not name and not colon:
        raise _malformed(address, "the tomogram's type is empty")
    if "/" in session or ("/" in name):
        raise _malformed(address, "it has a slash too many")
    voxel = _voxel(tail, address) if at else None
    return CopickAddress(config, run, name, user or None, session or None, voxel)


def check_new_name(what: str, name: str) -> None:
    """Refuse a name that copick could write but not read back.

    Raises
    ------
    AddressError
        If the name has characters that separate parts of copick's file names.
    """
    if not name or _FORBIDDEN.search(name):
        cure = _FORBIDDEN.sub("-", name).strip("-")
        msg = (
            f'{what} "{name}" is no name in copick, which allows no spaces, underscores or any '
            f'of <>:"/\\|?*. Use {f"{cure!r}" if cure else "letters and digits"}.'
        )
        raise AddressError(msg)


def tomogram_address(config: Path | str, run: str, tomogram: str, voxel_size: float) -> str:
    """Address of a tomogram.

    >>> tomogram_address("config.json", "TS_2", "wbp", 10.0)
    'config.json:TS_2/wbp@10'
    """
    return str(CopickAddress(Path(config), run, tomogram, voxel=voxel_size))


def segmentation_address(
    config: Path | str, run: str, name: str, *, user: str, session: str, voxel_size: float
) -> str:
    """Address of a segmentation.

    >>> segmentation_address("c.json", "TS_2", "predict", user="me", session="1", voxel_size=10)
    'c.json:TS_2/predict:me/1@10'
    """
    return str(CopickAddress(Path(config), run, name, user, session, voxel_size))


def picks_address(
    config: Path | str, run: str, *, user: str, session: str, object_name: str = ""
) -> str:
    """Address of the picks of one class, or of all classes.

    >>> picks_address("config.json", "TS_2", user="volproc", session="1")
    'config.json:TS_2/:volproc/1'
    """
    return str(CopickAddress(Path(config), run, object_name, user, session))


def _voxel(text: str, address: str) -> float:
    try:
        voxel = float(text)
    except ValueError:
        voxel = 0.0
    if not 0 < voxel < float("inf"):
        raise _malformed(address, f'"@{text}" is no voxel size in Å')
    return voxel


def _malformed(address: str, why: str) -> AddressError:
    msg = f"{address} is no address in a copick project: {why}. Write {GRAMMAR}."
    return AddressError(msg)
