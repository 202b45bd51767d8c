"""OME-NGFF metadata, versions 0.1 to 0.4: from JSON to axes, levels and ångström."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from volproc.core.errors import AddressError, FormatError
from volproc.io.lengths import angstrom_per, is_size
from volproc.io.zarr_array import check_inside


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of an image."""

    path: str
    """Where its array is, relative to the image's group."""

    scale: tuple[float, ...] | None
    """Size of a voxel in the units of the axes, one an axis of the array; None if not given."""

    translation: tuple[float, ...]
    """Position of the centre of the first voxel, in the same units and order."""


@dataclass(frozen=True, slots=True)
class Multiscale:
    """One image at several resolutions."""

    version: str
    """Version of OME-NGFF; ``?`` where it is not said."""

    name: str
    """Name of the image, possibly empty."""

    axes: str
    """Letter an axis, of ``tczyx``; empty where the file names none (before 0.3)."""

    units: tuple[str | None, ...]
    """Unit an axis, as written; as long as ``axes``."""

    levels: tuple[Level, ...]
    """Finest first."""


def read_multiscale(attributes: dict[str, Any], where: str, name: str = "") -> Multiscale:
    """Read one of the multiscales of a group.

    Parameters
    ----------
    attributes : dict
        Content of the group's ``.zattrs``.
    where : str
        For messages.
    name : str
        Which, by its name; the first if empty, as OME-NGFF says.

    Raises
    ------
    FormatError
        If the metadata are not as any version says.
    """
    entries = [m for m in attributes["multiscales"] if isinstance(m, dict)]
    named = [m for m in entries if m.get("name") == name]
    try:
        chosen = (named if name and named else entries)[0]
        axes, units = _read_axes(chosen.get("axes"))
        outer = chosen.get("coordinateTransformations") or []
        levels = tuple(
            _read_level(d, outer, len(axes)) for d in chosen["datasets"] if isinstance(d, dict)
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        detail = f"{type(error).__name__}: {error}"
        msg = f"the multiscales of {where} are not OME-NGFF ({detail}). Correct its .zattrs."
        raise FormatError(msg) from error
    for level in levels:
        check_inside(level.path, where)
    if not levels:
        msg = f"the multiscales of {where} name no datasets. Correct its .zattrs."
        raise FormatError(msg)
    version = str(chosen.get("version") or attributes.get("version") or "?")
    return Multiscale(version, str(chosen.get("name") or ""), axes, units, levels)


def pick_level(image: Multiscale, where: str, level: int, path: str = "") -> Level:
    """Return one level of an image.

    Parameters
    ----------
    image : Multiscale
        The image.
    where : str
        For messages.
    level : int
        0 is the finest.
    path : str
        Path of a level that the address names itself; then ``level`` has to be 0.

    Raises
    ------
    AddressError
        If there is no such level.
    """
    if path and level == 0:
        return next(found for found in image.levels if found.path == path)
    if path or not 0 <= level < len(image.levels):
        known = f"level {path} is named by the address" if path else _count(len(image.levels))
        msg = f"{where} has no level {level}: {known}. Choose another one with level= (--level)."
        raise AddressError(msg)
    return image.levels[level]


def _count(num_levels: int) -> str:
    return "it holds level 0 only" if num_levels == 1 else f"it holds levels 0 to {num_levels - 1}"


def physical_frame(
    level: Level, units: Sequence[str | None], order: Sequence[int]
) -> tuple[tuple[float, ...] | None, tuple[float, ...], tuple[str, ...]]:
    """Turn scale and translation of a level into ångström.

    Parameters
    ----------
    level : Level
        Scale and translation, one number an axis of the array.
    units : sequence of str or None
        Unit of each axis of the array.
    order : sequence of int
        Axes of the array that are z, y, x of the volume.

    Returns
    -------
    voxel_size : tuple of float or None
        Å, (z, y, x); None where the file gives none, or an impossible one.
    origin : tuple of float
        Position of the centre of the first voxel, Å; empty without a voxel size.
    notes : tuple of str
        What was odd.

    Notes
    -----
    Some writers give a unit for some of the spatial axes only: the others are taken to share it.
    Without any unit there is no voxel size: some programs then mean Å, others µm or nothing.
    """
    if level.scale is None or max(order) >= len(level.scale):
        return None, (), ("the file gives no scale",)
    scale = [level.scale[a] for a in order]
    text = " × ".join(f"{v:g}" for v in scale)
    given = [units[a] if a < len(units) else None for a in order]
    known = {u for u in given if u}
    factors = [angstrom_per(u or next(iter(known))) if known else None for u in given]
    if not all(is_size(v) for v in scale):
        return None, (), (f"the scale {text} is no voxel size",)
    notes: tuple[str, ...] = ()
    if not known:
        return None, (), (f"the scale {text} has no unit, so it was not used",)
    if len(known) > 1 and None in given:
        return None, (), (f"the scale {text} has a unit on some axes only",)
    if None in given:
        notes = (f"the unit {next(iter(known))} of one axis was taken for all",)
    if None in factors:
        return None, (), (f"the scale {text} has an unknown unit: {', '.join(sorted(known))}",)
    angstrom = [f for f in factors if f is not None]
    size = tuple(s * f for s, f in zip(scale, angstrom, strict=True))
    shift = [level.translation[a] for a in order]
    origin = tuple(s * f for s, f in zip(shift, angstrom, strict=True))
    if not all(abs(v) < float("inf") for v in origin):
        return size, (), (*notes, f"the translation {shift} is no position and was left out")
    return size, origin, notes


def channel_names(attributes: dict[str, Any]) -> tuple[str, ...]:
    """Names of the channels of an image, from its ``omero`` block; empty if it has none."""
    omero = attributes.get("omero")
    channels = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(channels, list):
        return ()
    return tuple(
        str(c.get("label") or i) if isinstance(c, dict) else str(i) for i, c in enumerate(channels)
    )


def _read_axes(axes: Any) -> tuple[str, tuple[str | None, ...]]:
    """Letters and units: a list of names (0.3), of objects (0.4), or nothing (0.1, 0.2)."""
    if not axes:
        return "", ()
    entries = [{"name": a} if isinstance(a, str) else dict(a) for a in axes]
    letters = [_letter(e) for e in entries]
    spatial = [i for i, letter in enumerate(letters) if letter == "?"]
    free = [a for a in "zyx" if a not in letters]
    for i, letter in zip(spatial, free[len(free) - len(spatial) :], strict=True):
        letters[i] = letter
    units = tuple(str(e["unit"]) if e.get("unit") else None for e in entries)
    return "".join(letters), units


def _letter(entry: dict[str, Any]) -> str:
    """Letter of an axis; ``?`` for a spatial axis of another name."""
    name, kind = str(entry.get("name", "")).lower(), entry.get("type")
    if name in tuple("tczyx"):
        return name
    return {"time": "t", "space": "?"}.get(str(kind), "c")


def _read_level(dataset: dict[str, Any], outer: Any, num_axes: int) -> Level:
    """Combine the level's own transformations with those of the whole image."""
    scale: tuple[float, ...] | None = None
    shift: tuple[float, ...] = ()
    for step in [*(dataset.get("coordinateTransformations") or []), *outer]:
        kind = step.get("type")
        if kind not in ("scale", "translation") or kind not in step:
            continue  # identity, or numbers in a file of their own
        values = _full(step[kind], num_axes, 1.0 if kind == "scale" else 0.0)
        if kind == "scale":
            scale = values if scale is None else _times(scale, values)
            shift = _times(shift, values) if shift else shift
        else:
            shift = tuple(a + b for a, b in zip(shift or (0.0,) * len(values), values, strict=True))
    if scale is not None and not shift:
        shift = (0.0,) * len(scale)
    return Level(str(dataset["path"]), scale, shift)


def _times(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(x * y for x, y in zip(a, b, strict=True))


def _full(values: Any, num_axes: int, neutral: float) -> tuple[float, ...]:
    """Numbers of a transformation; some writers give those of the spatial axes only."""
    numbers = tuple(float(v) for v in values)
    return (neutral,) * (num_axes - len(numbers)) + numbers
