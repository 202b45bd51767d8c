"""Voxel sizes in TIFF files: OME, ImageJ, Micro-Manager, Zeiss, Thermo Fisher, plain tags."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import Any
from xml.etree import ElementTree as ET

import tifffile

from volproc.io.lengths import angstrom_per

Sizes = dict[str, float]
"""Å per voxel by the letter of the axis."""

PRINT_ANGSTROM = 2e5
"""Pixels above this size (20 µm, below 1270 dpi) come from a printing resolution that a program
put there by default; as a size of voxels they are taken for missing."""

RESOLUTION_UNITS = {2: "inch", 3: "cm", 4: "mm", 5: "µm"}
"""Values of the tag ResolutionUnit."""


def find_voxel_size(
    tif: tifffile.TiffFile, index: int, letters: str
) -> tuple[tuple[float, ...] | None, list[str]]:
    """Find the voxel size of one image of a TIFF file.

    Parameters
    ----------
    tif : TiffFile
        The open file.
    index : int
        Which image (series) of the file.
    letters : str
        Axes that are wanted: ``zyx`` or ``yx``.

    Returns
    -------
    voxel_size : tuple of float or None
        Å, in the order of the letters; None if one is missing or impossible.
    notes : list of str
        Where it came from, and what was odd.
    """
    found: Sizes = {}
    origins: dict[str, str] = {}
    notes: list[str] = []
    for name, read in _readers(tif, index):
        if all(letter in found for letter in letters):
            break
        for letter, size in read(notes).items():
            if letter in found or letter not in letters:
                continue
            if isfinite(size) and size > 0:
                found[letter], origins[letter] = float(f"{size:.9g}"), name
            else:
                notes.append(f"{name} gives an impossible voxel size along {letter}: {size:g} Å")
    missing = [letter for letter in letters if letter not in found]
    if missing:
        known = ", ".join(f"{letter} {found[letter]:g} Å" for letter in letters if letter in found)
        notes.append(
            f"no usable voxel size along {', '.join(missing)}" + (f"; known: {known}" * bool(known))
        )
        return None, notes
    names = list(dict.fromkeys(origins[letter] for letter in letters))
    notes.append(f"voxel size from {' and '.join(names)}")
    return tuple(found[letter] for letter in letters), notes


def _readers(
    tif: tifffile.TiffFile, index: int
) -> Iterator[tuple[str, Callable[[list[str]], Sizes]]]:
    """What may know the voxel size, the most explicit first."""
    page = tif.pages[0]
    if tif.is_ome:
        yield "OME-XML", lambda notes: ome_sizes(tif.ome_metadata or "", index, notes)
    if tif.is_imagej:
        text = tif.imagej_metadata or {}
        yield "ImageJ's description", lambda notes: imagej_sizes(text, page, notes)
    if tif.is_shaped:
        described: Mapping[str, Any] = (tif.shaped_metadata or ({},))[0]
        yield "the description", lambda notes: imagej_sizes(described, page, notes)
    if tif.is_micromanager:
        yield "Micro-Manager's summary", lambda notes: micromanager_sizes(tif)
    if tif.is_lsm:
        lsm = tif.lsm_metadata or {}
        yield (
            "Zeiss LSM",
            lambda notes: _in_meters({k: lsm.get(f"VoxelSize{k.upper()}") for k in "zyx"}),
        )
    if tif.is_fei:
        scan = (tif.fei_metadata or {}).get("Scan", {})
        yield (
            "Thermo Fisher's metadata",
            lambda notes: _in_meters({"y": scan.get("PixelHeight"), "x": scan.get("PixelWidth")}),
        )
    yield "the resolution tags", lambda notes: tag_sizes(page, notes)


def ome_sizes(xml: str, index: int, notes: list[str]) -> Sizes:
    """Voxel size in the OME-XML of one image; the unit is µm unless it says otherwise.

    Examples
    --------
    >>> ome_sizes('<OME><Image><Pixels PhysicalSizeX="2" PhysicalSizeXUnit="nm"/></Image></OME>',
    ...           0, [])
    {'x': 20.0}
    """
    try:
        root = ET.fromstring(xml)
    except ET.ParseError as error:
        notes.append(f"the OME-XML is damaged ({error})")
        return {}
    pixels = [node for node in root.iter() if node.tag.rpartition("}")[2] == "Pixels"]
    if index >= len(pixels):
        return {}
    sizes = {}
    for letter in "zyx":
        name = f"PhysicalSize{letter.upper()}"
        value = _number(pixels[index].get(name))
        unit = pixels[index].get(f"{name}Unit", "µm")
        factor = angstrom_per(unit)
        if value is None:
            continue
        if factor is None:
            notes.append(f"OME-XML gives {value:g} along {letter} in {unit!r}, which is no length")
            continue
        sizes[letter] = value * factor
    return sizes


def imagej_sizes(text: Mapping[str, Any], page: Any, notes: list[str]) -> Sizes:
    """Voxel size in an ImageJ description: resolution in pixels per unit, spacing in units.

    Notes
    -----
    ImageJ leaves the spacing out where it is exactly 1, which also is what stacks have that nobody
    calibrated. So a missing spacing is taken for missing.
    """
    resolution = _resolution(page)
    spacing = _number(text.get("spacing"))
    unit = _unescape(text.get("unit")) or ""
    if angstrom_per(unit) is None:
        if unit:
            notes.append(f"the unit {unit!r} is no length; its numbers are not used")
        return {}
    sizes = {}
    for letter, per_unit in resolution.items():
        factor = angstrom_per(_unescape(text.get(f"{letter}unit")) or unit)
        if per_unit and factor is not None:
            sizes[letter] = factor / per_unit
    if spacing is not None:
        factor = angstrom_per(_unescape(text.get("zunit")) or unit)
        if factor is not None:
            sizes["z"] = spacing * factor
    elif int(text.get("slices", text.get("images", 1)) or 1) > 1:
        notes.append(f"no spacing of slices is given (ImageJ would assume 1 {unit})")
    return sizes


def micromanager_sizes(tif: tifffile.TiffFile) -> Sizes:
    """Voxel size in a Micro-Manager summary, µm; a stage may step downwards."""
    summary = (tif.micromanager_metadata or {}).get("Summary", {})
    sizes = {}
    pixel = _number(summary.get("PixelSize_um"))
    step = _number(summary.get("z-step_um"))
    if pixel:
        sizes["y"] = sizes["x"] = pixel * 1e4
    if step:
        sizes["z"] = abs(step) * 1e4
    return sizes


def tag_sizes(page: Any, notes: list[str]) -> Sizes:
    """Pixel size from XResolution, YResolution and ResolutionUnit, if it is none of printing."""
    tag = page.tags.get("ResolutionUnit")
    unit = RESOLUTION_UNITS.get(int(tag.value) if tag is not None else 2)
    description = str(page.description or "")
    if description.startswith("BoundingBox"):
        notes.append(f"Amira's bounding box has no unit, and is not used: {description[:100]}")
    if unit is None:
        return {}
    factor = angstrom_per(unit) or 0.0
    sizes = {k: factor / per for k, per in _resolution(page).items() if per}
    if any(size > PRINT_ANGSTROM for size in sizes.values()):
        text = ", ".join(f"{k} {size / 1e4:g} µm" for k, size in sizes.items())
        notes.append(f"a printing resolution is no voxel size, and is not used: {text}")
        return {}
    return sizes


def _resolution(page: Any) -> Sizes:
    """Pixels per unit along y and x, 0 where a tag is missing or impossible."""
    found = {}
    for letter in "yx":
        tag = page.tags.get(f"{letter.upper()}Resolution")
        value = tag.value if tag is not None else (0, 0)
        if isinstance(value, tuple) and len(value) == 2:
            value = value[0] / value[1] if value[1] else 0.0
        per_unit = _number(value)
        found[letter] = per_unit if per_unit is not None and isfinite(per_unit) else 0.0
    return found


def _in_meters(values: Mapping[str, Any]) -> Sizes:
    numbers = {k: _number(v) for k, v in values.items()}
    return {k: v * 1e10 for k, v in numbers.items() if v}


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _unescape(value: Any) -> str | None:
    r"""Turn ImageJ's escapes into characters.

    >>> _unescape("\\u00B5m")
    'µm'
    """
    if not isinstance(value, str):
        return None
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), value).strip()
