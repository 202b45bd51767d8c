"""Units of length in files, and their ångström."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

_METERS: dict[str, float] = {
    "quettameter": 1e30,
    "ronnameter": 1e27,
    "yottameter": 1e24,
    "zettameter": 1e21,
    "exameter": 1e18,
    "petameter": 1e15,
    "terameter": 1e12,
    "gigameter": 1e9,
    "megameter": 1e6,
    "kilometer": 1e3,
    "hectometer": 1e2,
    "meter": 1.0,
    "decimeter": 1e-1,
    "centimeter": 1e-2,
    "millimeter": 1e-3,
    "micrometer": 1e-6,
    "nanometer": 1e-9,
    "angstrom": 1e-10,
    "picometer": 1e-12,
    "femtometer": 1e-15,
    "attometer": 1e-18,
    "zeptometer": 1e-21,
    "yoctometer": 1e-24,
    "inch": 0.0254,
    "foot": 0.3048,
    "yard": 0.9144,
    "mile": 1609.344,
    "parsec": 3.0856775814913673e16,
}

_ALIASES: dict[str, str] = {
    "a": "angstrom",
    "å": "angstrom",  # U+00E5; the ångström sign U+212B becomes it in lower case
    "ang": "angstrom",
    "ångström": "angstrom",
    "ångstrom": "angstrom",
    "angström": "angstrom",
    "angstroem": "angstrom",
    "pm": "picometer",
    "nm": "nanometer",
    "um": "micrometer",
    "µm": "micrometer",  # U+00B5, the micro sign
    "μm": "micrometer",  # U+03BC, the Greek letter
    "micron": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "dm": "decimeter",
    "m": "meter",
    "km": "kilometer",
    "in": "inch",
    "inches": "inch",
    '"': "inch",
    "ft": "foot",
    "feet": "foot",
    "yd": "yard",
}


def angstrom_per(unit: str) -> float | None:
    """Ångström in a unit of length; None if the unit is unknown or no length.

    Parameters
    ----------
    unit : str
        A name of OME-NGFF or OME-TIFF, a plural or British spelling of it, or a common sign.

    Examples
    --------
    >>> angstrom_per("nanometer"), angstrom_per("Å"), angstrom_per("microns")
    (10.0, 1.0, 10000.0)
    >>> angstrom_per("pixel") is None
    True
    """
    word = unit.strip().lower()
    if word not in _METERS and word not in _ALIASES:
        word = word.removesuffix("s").replace("metre", "meter")
    meters = _METERS.get(_ALIASES.get(word, word))
    return None if meters is None else float(f"{meters * 1e10:.12g}")


def is_size(value: float) -> bool:
    """Whether a number can be the size of a voxel: positive and finite."""
    return isfinite(value) and value > 0


_COMPANIONS = ("{}_unit", "{}_units", "{}Unit", "unit", "units")
_PLAIN_NAMES = ("voxel_size", "voxelsize", "pixel_size", "resolution", "spacing", "element_size")
_SUFFIXES = ("angstrom", "nm", "um", "mm", "micron", "nanometer", "micrometer")


def size_from_attributes(
    attributes: Mapping[str, Any], axes: str
) -> tuple[tuple[float, ...] | None, str]:
    """Find a voxel size among the attributes of an array.

    Parameters
    ----------
    attributes : mapping
        Names and values; numbers are one for all axes, one an axis of the array, or (z, y, x).
    axes : str
        Letters of the axes of the array, such as ``czyx``.

    Returns
    -------
    voxel_size : tuple of float or None
        Å for each spatial axis in the array's order; None if there is none, or an impossible one,
        or one without a unit.
    note : str
        What was found and how it was read; empty if nothing was.

    Notes
    -----
    Known are ``element_size_um`` (ilastik, Fiji and PlantSeg; µm, zyx), any of ``voxel_size``,
    ``pixel_size``, ``resolution``, ``spacing`` and ``element_size`` with the unit as a suffix
    (``voxel_size_angstrom``, ``pixel_size_nm``) or in a companion (``voxel_size_unit``, ``unit``),
    and EMAN2's ``EMAN.apix_x`` (Å).

    Examples
    --------
    >>> size_from_attributes({"element_size_um": [0.5, 0.1, 0.1]}, "zyx")
    ((5000.0, 1000.0, 1000.0), 'voxel size from the attribute element_size_um')
    >>> size_from_attributes({"resolution": [4, 4, 40]}, "zyx")[0] is None
    True
    """
    spatial = "".join(a for a in axes if a in "zyx")
    if all(f"EMAN.apix_{a}" in attributes for a in "xy"):
        names = [
            f"EMAN.apix_{a}" if f"EMAN.apix_{a}" in attributes else "EMAN.apix_x" for a in spatial
        ]
        values = [float(attributes[n]) for n in names]
        return _checked(values, 1.0, "EMAN.apix_x, _y, _z")
    for name, factor in _named(attributes):
        raw = _numbers(attributes[name], axes)
        if raw is None:
            continue
        if factor is None:
            text = " × ".join(f"{v:g}" for v in raw)
            return None, f"the attribute {name} says {text} without a unit: it was not used"
        return _checked(raw, factor, name)
    return None, ""


def _named(attributes: Mapping[str, Any]) -> list[tuple[str, float | None]]:
    """Names that hold a voxel size, those with a unit first, with ångström per unit."""
    lower = {str(k).lower(): str(k) for k in attributes}
    found: list[tuple[str, float | None]] = []
    for plain in _PLAIN_NAMES:
        for suffix in _SUFFIXES:
            if f"{plain}_{suffix}" in lower:
                found.append((lower[f"{plain}_{suffix}"], angstrom_per(suffix)))
    for plain in _PLAIN_NAMES:
        if plain in lower:
            name = lower[plain]
            units = [attributes.get(c.format(name)) for c in _COMPANIONS]
            found.append((name, next(filter(None, map(_unit, units)), None)))
    return found


def _unit(value: Any) -> float | None:
    """Ångström per unit of a companion attribute: one word, or the same word for each axis."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray | list | tuple):
        units = {_unit(v) for v in np.asarray(value, dtype=object).ravel()}
        return units.pop() if len(units) == 1 else None
    return angstrom_per(value) if isinstance(value, str) else None


def _numbers(value: Any, axes: str) -> list[float] | None:
    """One number for each spatial axis."""
    spatial = [i for i, a in enumerate(axes) if a in "zyx"]
    try:
        numbers = [float(v) for v in np.ravel(value)]
    except (TypeError, ValueError):
        return None
    if len(numbers) == 1:
        return numbers * len(spatial)
    if len(numbers) == len(axes):
        return [numbers[i] for i in spatial]
    return numbers[-len(spatial) :] if len(numbers) in (len(spatial), 3) else None


def _checked(
    values: Sequence[float], factor: float, name: str
) -> tuple[tuple[float, ...] | None, str]:
    if not all(is_size(v) for v in values):
        text = " × ".join(f"{v:g}" for v in values)
        return None, f"the attribute {name} says {text}, which is no voxel size"
    return tuple(v * factor for v in values), f"voxel size from the attribute {name}"
