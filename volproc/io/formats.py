"""What a file format is to volproc, and which formats there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from volproc.core.arrays import Sink, Source
from volproc.core.errors import AddressError
from volproc.core.types import Shape

Kind = Literal["intensity", "labels"]
"""What voxels mean: labels are downscaled by nearest neighbour, intensities by the mean."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which array of an address, where there are several."""

    t: int | None = None
    """Time point; needed where there are several."""

    c: int | None = None
    """Channel; needed where there are several."""

    level: int = 0
    """Level of a multiscale pyramid, 0 the finest."""

    dataset: str = ""
    """Path of the array inside a container (HDF5, zarr)."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the head of a file says, before a voxel is read."""

    address: str
    """Where it was opened; gives the same array again."""

    name: str
    """What people call it."""

    format: str
    """Name of the format: ``MRC``, ``OME-Zarr 0.4`` …"""

    source: Source
    """Gives any region."""

    voxel_size: tuple[float, ...] | None
    """Å per voxel, (z, y, x) or (y, x); None where the file gives none, or an impossible one."""

    origin: tuple[float, ...] = ()
    """Position of the centre of the first voxel, Å; empty means zero."""

    details: dict[str, Any] = field(default_factory=dict)
    """Facts for people: mode, byte order, levels, axes, compression …"""

    notes: tuple[str, ...] = ()
    """What was odd in the file and how it was read."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be written."""

    address: str
    shape: Shape
    dtype: np.dtype[Any]
    voxel_size: tuple[float, ...]
    origin: tuple[float, ...]
    kind: Kind
    chunks: Shape | None
    """Preferred storage chunks; None lets the format choose."""

    overwrite: bool
    """Replace what is there, at the end, when the new one is whole."""

    resume: bool
    """Go on with an unfinished output of the same shape and type, if there is one."""

    has_pyramid: bool = True
    """Whether there are coarser levels, where the format has them."""


GLOB_SIGNS = frozenset("*?[")
"""Characters that make a path a pattern."""


def is_pattern(address: str) -> bool:
    """Whether an address is a glob and not the name of something that is there.

    >>> is_pattern("slices/z_*.tif"), is_pattern("slices/z_1.tif")
    (True, False)
    """
    return bool(GLOB_SIGNS & set(address)) and not Path(address).exists()


class Format(ABC):
    """Reader and writer of one file format, side by side."""

    name: ClassVar[str]
    """How people call it."""

    suffixes: ClassVar[tuple[str, ...]]
    """Endings of file names, lower case, with the dot."""

    checks_outputs: ClassVar[bool] = False
    """Whether ``create`` itself refuses an output that exists, because ``path`` is not it."""

    def matches(self, address: str) -> bool:
        """Whether an address looks like this format, by its name alone or by a look inside."""
        return address.lower().endswith(self.suffixes) and not is_pattern(address)

    def path(self, address: str) -> Path:
        """Where an address begins on disk: what has to exist, or must not."""
        return Path(address)

    @abstractmethod
    def read_header(self, address: str, selection: Selection) -> Header:
        """Read the head of a file, and nothing else.

        Raises
        ------
        AddressError
            If the selection names nothing there.
        FormatError
            If the file is truncated, damaged or not of this format.
        """

    @abstractmethod
    def create(self, target: Target) -> Sink:
        """Begin a file; its final name is taken only when the sink finishes.

        Raises
        ------
        FormatError
            If the format cannot hold the type or shape.
        """


REGISTRY: list[str] = [
    "volproc.io.copick_volume:CopickVolume",
    "volproc.io.omezarr:OmeZarr",
    "volproc.io.hdf5:Hdf5",
    "volproc.io.npy:Npy",
    "volproc.io.mrc:Mrc",
    "volproc.io.tiff:Tiff",
    "volproc.io.slices:Slices",
]
"""Formats in the order in which they are asked, as ``module:class``. Append to extend."""


@cache
def _load(entry: str) -> Format:
    module, _, name = entry.partition(":")
    return getattr(import_module(module), name)()


def find_format(address: str) -> Format:
    """Return the format of an address.

    Raises
    ------
    AddressError
        If no format knows it; the message lists those there are.
    """
    formats = []
    for entry in REGISTRY:  # one by one: libraries of formats that are not needed stay unloaded
        formats.append(_load(entry))
        if formats[-1].matches(address):
            return formats[-1]
    known = ", ".join(sorted({s for f in formats for s in f.suffixes}))
    msg = (
        f"{address} is of no known format. Known endings are {known}; a folder or a glob of "
        "slices, path.h5:/dataset and config.json:RUN/TOMOGRAM@VOXEL (copick) work too."
    )
    raise AddressError(msg)
