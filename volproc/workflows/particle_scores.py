"""Probabilities of classes in storage, from which picks get their scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.errors import ConfigError, DtypeError, SeveralError, ShapeError
from volproc.core.types import Region, Shape
from volproc.core.volume import Volume
from volproc.io.omezarr import read_channels
from volproc.io.open import open_
from volproc.reduce.probabilities import as_probabilities, as_units


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Probabilities of some classes, each from a channel of its own.

    Parameters
    ----------
    values : tuple of int
        Values of the classes in class maps.
    names : tuple of str
        Their names.
    sources : tuple of Source
        Where the probabilities of each are.
    """

    values: tuple[int, ...]
    names: tuple[str, ...]
    sources: tuple[Source, ...]

    @property
    def shape(self) -> Shape:
        """Size in voxels, (z, y, x)."""
        return self.sources[0].shape

    def identity(self) -> str:
        """Text that changes when a probability may have changed."""
        return "; ".join(source.identity() for source in self.sources)

    def read(self, value: int, region: Region) -> npt.NDArray[np.float64]:
        """Probabilities of one class in one region; integers are parts of their greatest.

        Raises
        ------
        NonFiniteError
            If some are NaN or infinite.
        """
        block = self.sources[self.values.index(value)].read(region)
        return as_probabilities(block, self.names[self.values.index(value)], region)

    def read_units(self, value: int, region: Region) -> npt.NDArray[np.uint16]:
        """The same as whole numbers; see `volproc.reduce.probabilities.as_units`."""
        return as_units(self.read(value, region))


def open_scores(address: str, classes: Mapping[str, int], **how: Any) -> tuple[ClassScores, Volume]:
    """Open the probabilities of some classes.

    Parameters
    ----------
    address : str
        A map with a channel a class, as ``segment semantic --probabilities`` writes it: channels
        are found by name, and else by the value of the class. A map without channels is of one
        class.
    classes : mapping of str to int
        Value of each class that is looked for.
    **how
        As `volproc.open` takes it.

    Returns
    -------
    scores : ClassScores
        One source for each value.
    volume : Volume
        The first of them.

    Raises
    ------
    ConfigError
        If there is one map for several classes, or no channel for one.
    DtypeError, ShapeError
        If it holds no probabilities of a volume.
    AddressError, FormatError, VoxelSizeError
        As `volproc.open`.
    """
    by_value: dict[int, str] = {}
    for name, value in classes.items():
        by_value.setdefault(value, name)
    try:
        volumes = [open_(address, **how)]
    except SeveralError as error:
        if error.option != "c":
            raise
        numbers = _channels(address, by_value, len(error.choices))
        volumes = [open_(address, **{**how, "c": number}) for number in numbers]
    if len(volumes) != len(by_value):
        msg = (
            f"{address} is the map of one class, and {', '.join(by_value.values())} are looked "
            "for. Choose one with --pick-objects, or give a map with a channel a class."
        )
        raise ConfigError(msg)
    first = volumes[0]
    if first.dtype.kind not in "fub":
        msg = f"{address} holds {first.dtype} voxels. Probabilities are float, uint8 or uint16."
        raise DtypeError(msg)
    if first.ndim != 3:
        msg = f"{address} has shape {first.shape}. Give probabilities of a volume (z, y, x)."
        raise ShapeError(msg)
    sources = [volume.source for volume in volumes]
    known = tuple(source for source in sources if source is not None)  # opened ones have one
    return ClassScores(tuple(by_value), tuple(by_value.values()), known), first


def _channels(address: str, by_value: Mapping[int, str], num_channels: int) -> list[int]:
    """Number of the channel of each class."""
    names = read_channels(address) if ".zarr" in address.lower() else ()
    numbers = []
    for value, name in by_value.items():
        number = names.index(name) if name in names else value
        if not 0 <= number < num_channels:
            known = ", ".join(names) or f"0 to {num_channels - 1}"
            msg = (
                f'{address} has no channel for "{name}" (value {value}); its channels are {known}. '
                "Say its channel with --class NAME=CHANNEL."
            )
            raise ConfigError(msg)
        numbers.append(number)
    return numbers
