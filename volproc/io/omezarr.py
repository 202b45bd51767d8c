"""OME-Zarr and plain zarr arrays (zarr v2): reader; the writer stands in ``omezarr_write``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from volproc.core.errors import AddressError, FormatError
from volproc.io.array_axes import Cut, cut_volume, guess_axes
from volproc.io.formats import Format, Header, Selection, Target
from volproc.io.lengths import size_from_attributes
from volproc.io.ngff import channel_names, physical_frame, pick_level, read_multiscale
from volproc.io.omezarr_write import OmeZarrSink, create_channels, create_omezarr
from volproc.io.zarr_array import Store, join_key, read_array_meta, read_json
from volproc.io.zarr_source import ZarrSource, array_stamp
from volproc.io.zarr_tree import Node, find_node, is_store, split_address, store_root

__all__ = ["OmeZarr", "create_channels", "read_channels", "read_image"]


class OmeZarr(Format):
    """Reads OME-Zarr 0.1 to 0.4 and plain zarr v2 arrays; writes OME-Zarr 0.4.

    An address is a store (``x.zarr``), or something in it: ``x.zarr/labels/nuclei``,
    ``x.zarr:/labels/nuclei``, or a level as ``x.zarr/0``.
    """

    name = "OME-Zarr"
    suffixes = (".zarr",)

    def matches(self, address: str) -> bool:
        """Whether it is a ``.zarr``, lies in one, or is a folder with zarr's files."""
        path = self.path(address)
        if path.is_file() and path.suffix.lower() != ".zarr":
            return False
        if any(part.lower().endswith(self.suffixes) for part in path.parts):
            return True
        return is_store(path)

    def path(self, address: str) -> Path:
        """Folder of the store, or of the part of it that the path names."""
        return split_address(address)[0]

    def read_header(self, address: str, selection: Selection) -> Header:
        """Read the metadata of an image or array.

        Raises
        ------
        AddressError
            If there are several images, time points or channels and none was selected, or if the
            selection names nothing.
        FormatError
            If the store is zarr v3, damaged, or holds no volume.
        """
        node = find_node(address, selection.dataset)
        if node.kind == "image":
            return read_image(
                str(node.folder.absolute()),
                "",
                selection,
                address=address,
                name=_name(node),
                level_path=node.level,
            )
        return _read_plain(node, address, selection)

    def create(self, target: Target) -> OmeZarrSink:
        """Begin an OME-Zarr 0.4 image with a pyramid."""
        return create_omezarr(target)


def read_image(
    store: Store,
    path: str,
    selection: Selection,
    *,
    address: str,
    name: str = "",
    level_path: str = "",
) -> Header:
    """Read the head of an OME-Zarr image.

    Parameters
    ----------
    store : str or mapping
        A folder, or a picklable mapping of keys to bytes.
    path : str
        Group of the image in the store; empty if it is the store.
    selection : Selection
        Level, time point, channel; ``dataset`` names one of several multiscales.
    address : str
        For messages, and where the volume can be opened again.
    name : str
        What people call it; by default the name of the multiscales.
    level_path : str
        Path of a level that the address names itself.

    Raises
    ------
    AddressError, FormatError
        As in `OmeZarr.read_header`.
    """
    attributes = read_json(store, join_key(path, ".zattrs")) or {}
    if not attributes.get("multiscales"):
        msg = f"{address} is no OME-Zarr image: it has no multiscales. Check the path in the store."
        raise FormatError(msg)
    image = read_multiscale(attributes, address, selection.dataset)
    level = pick_level(image, address, selection.level, level_path)
    key = join_key(path, level.path)
    meta = read_array_meta(store, key, name=f"{address} (level {level.path})")
    axes = image.axes
    notes: tuple[str, ...] = ()
    if not axes:
        axes, note = guess_axes(meta.shape)
        notes = (note,) if note else ()
    channels = channel_names(attributes)
    cut = cut_volume(address, axes, meta.shape, selection, channels=channels)
    size, origin, oddities = physical_frame(level, image.units, cut.order)
    source = ZarrSource(store, key, meta, cut.index, cut.order, array_stamp(store, key))
    details = {
        **_facts(source, axes),
        "levels": len(image.levels),
        "level": level.path,
        "channels": list(channels),
        "units": [u or "" for u in image.units],
        "kind": "labels" if "image-label" in attributes else "intensity",
    }
    others = len(attributes["multiscales"]) - 1
    if others and not selection.dataset:
        notes = (*notes, f"the first of {others + 1} multiscales was read; dataset= names another")
    return Header(
        address,
        name or image.name,
        f"OME-Zarr {image.version}",
        source,
        size,
        origin,
        details,
        (*notes, *cut.notes, *oddities),
    )


def read_channels(address: str | os.PathLike[str], *, dataset: str = "") -> tuple[str, ...]:
    """Names of the channels of an OME-Zarr image; empty if it gives none.

    Parameters
    ----------
    address : str or path
        As in `volproc.open`.
    dataset : str
        Path of the image inside the store.

    Raises
    ------
    AddressError, FormatError
        As in `OmeZarr.read_header`.
    """
    return channel_names(find_node(os.fspath(address), dataset).attributes)


def _read_plain(node: Node, address: str, selection: Selection) -> Header:
    """Read the head of an array that is no level of an image."""
    if selection.level:
        msg = f"{address} is a plain array without levels, got level={selection.level}. Use 0."
        raise AddressError(msg)
    store = str(node.folder.absolute())
    meta = read_array_meta(store, name=address)
    axes, note = _plain_axes(node.attributes, meta.shape)
    cut: Cut = cut_volume(address, axes, meta.shape, selection)
    size, found = size_from_attributes(node.attributes, axes)
    if size is None and not found:
        size, found = _inherited_size(node, axes)
    if size is not None:
        spatial = [a for a, letter in enumerate(axes) if letter in "zyx"]
        size = tuple(size[spatial.index(a)] for a in cut.order)
    source = ZarrSource(store, "", meta, cut.index, cut.order, array_stamp(store, ""))
    notes = tuple(n for n in (note, *cut.notes, found) if n)
    return Header(
        address, _name(node), "zarr 2", source, size, details=_facts(source, axes), notes=notes
    )


def _plain_axes(attributes: dict[str, Any], shape: tuple[int, ...]) -> tuple[str, str]:
    """Axes as xarray names them in zarr, else guessed."""
    names = attributes.get("_ARRAY_DIMENSIONS") or attributes.get("axes")
    if isinstance(names, list) and len(names) == len(shape):
        letters = [str(n).lower() for n in names]
        letters = [
            "c" if n in ("channel", "channels") else "t" if n == "time" else n for n in letters
        ]
        if set(letters) <= set("tczyx") and {"y", "x"} <= set(letters):
            return "".join(letters), ""
    return guess_axes(shape)


def _inherited_size(node: Node, axes: str) -> tuple[tuple[float, ...] | None, str]:
    """Voxel size from the attributes of the groups around an array, the nearest first."""
    root = store_root(node.folder)
    for parent in node.folder.parents:
        if root not in (parent, *parent.parents):
            break
        size, note = size_from_attributes(read_json(str(parent), ".zattrs") or {}, axes)
        if note:
            return size, note
    return None, ""


def _facts(source: ZarrSource, axes: str) -> dict[str, Any]:
    meta = source.meta
    return {
        "axes": axes,
        "array shape": meta.shape,
        "chunks": meta.chunks,
        "compression": meta.compression,
        "dimension separator": meta.separator,
    }


def _name(node: Node) -> str:
    """Stem of the store; for a part of it with a name of its own, that too."""
    root = store_root(node.folder)
    stem = root.name
    for suffix in (".zarr", ".ome"):
        stem = stem[: -len(suffix)] if stem.lower().endswith(suffix) else stem
    last = node.folder.name
    return stem if node.folder == root or last.isdigit() else f"{stem}_{last}"
