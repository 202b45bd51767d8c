"""Maps beside a class map that a localization looks at: opened and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from volproc.core.errors import ConfigError, DtypeError, SeveralError, ShapeError
from volproc.core.types import Shape
from volproc.core.volume import Volume
from volproc.graph.class_maps import BesideMaps, ClassMaps, Quantity
from volproc.io.omezarr import read_channels
from volproc.io.open import open_

KINDS: dict[Quantity, tuple[str, str]] = {
    "probability": ("fub", "Probabilities are float, uint8 or uint16"),
    "variance": ("fub", "Variances of probabilities are float, uint8 or uint16"),
    "weight": ("fuib", "Weights are real numbers"),
}
"""Types of voxels that a map may have, and what to say of others."""

PLURALS: dict[Quantity, str] = {
    "probability": "probabilities",
    "variance": "variances",
    "weight": "weights",
}


def open_beside(
    addresses: Mapping[Quantity, str], classes: Mapping[str, int], shape: Shape, **how: Any
) -> BesideMaps:
    """Open the maps beside a class map.

    Parameters
    ----------
    addresses : mapping
        Address of each quantity; empty ones are left out.
    classes : mapping of str to int
        Value of each class that is looked for.
    shape : tuple of int
        Size of the class map, (z, y, x).
    **how
        As `volproc.open` takes it.

    Raises
    ------
    ShapeError
        If one is of another volume.
    VolprocError
        As `open_maps` does.
    """
    found: dict[Quantity, ClassMaps] = {}
    for quantity, address in addresses.items():
        if not address:
            continue
        maps, first = open_maps(address, classes, quantity, **how)
        if first.shape != shape:
            msg = (
                f"{address} has shape {first.shape} and the class map {shape}. Give the "
                f"{PLURALS[quantity]} that belong to the class map."
            )
            raise ShapeError(msg)
        found[quantity] = maps
    return BesideMaps(found.get("probability"), found.get("variance"), found.get("weight"))


def open_maps(
    address: str, classes: Mapping[str, int], quantity: Quantity = "probability", **how: Any
) -> tuple[ClassMaps, Volume]:
    """Open a quantity of some classes.

    Parameters
    ----------
    address : str
        A map with a channel a class, as ``segment semantic --probabilities`` writes it: channels
        are found by name, and else by the value of the class. A map of probabilities without
        channels is of one class; variances and weights without channels are of all.
    classes : mapping of str to int
        Value of each class that is looked for.
    quantity : str
        What it holds.
    **how
        As `volproc.open` takes it.

    Returns
    -------
    maps : ClassMaps
        One source for each value, or one for all.
    volume : Volume
        The first of them.

    Raises
    ------
    ConfigError
        If there is one map for several classes, or no channel for one.
    DtypeError, ShapeError
        If it holds no such quantity of a volume.
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
    if len(volumes) != len(by_value) and quantity == "probability":
        msg = (
            f"{address} is the map of one class, and {', '.join(by_value.values())} are looked "
            "for. Choose one with --pick-objects, or give a map with a channel a class."
        )
        raise ConfigError(msg)
    first = volumes[0]
    kinds, cure = KINDS[quantity]
    if first.dtype.kind not in kinds:
        msg = f"{address} holds {first.dtype} voxels. {cure}."
        raise DtypeError(msg)
    if first.ndim != 3:
        msg = f"{address} has shape {first.shape}. Give {PLURALS[quantity]} of a volume (z, y, x)."
        raise ShapeError(msg)
    sources = [volume.source for volume in volumes]
    known = tuple(source for source in sources if source is not None)  # opened ones have one
    return ClassMaps(tuple(by_value), tuple(by_value.values()), known, quantity), first


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
