"""What lies in a zarr store on disk: from an address to one image or array."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from volproc.core.errors import AddressError, FormatError, MissingFileError, SeveralError, nearest
from volproc.io.zarr_array import V3_CURE, check_inside, read_json

_MAX_LISTED = 12
_MAX_FOUND = 100
_MAX_DEPTH = 5
_MARKS = (".zarray", ".zgroup", ".zattrs", "zarr.json")


@dataclass(frozen=True, slots=True)
class Node:
    """One thing that can be opened."""

    folder: Path
    """Where it is."""

    kind: Literal["image", "array"]
    """``image``: a group with multiscales; ``array``: an array that belongs to none."""

    attributes: dict[str, Any]
    """Content of its ``.zattrs``."""

    level: str = ""
    """Path of the level that the address named, in the image; empty if it named none."""


def split_address(address: str) -> tuple[Path, str]:
    """Part an address into a folder and what follows ``:/``.

    >>> split_address("cells.zarr:/labels/nuclei")[1], split_address("cells.zarr/0")[1]
    ('labels/nuclei', '')
    """
    found = re.match(r"(?P<root>.+\.zarr):/?(?P<inside>.*)$", address, re.IGNORECASE)
    if found:
        return Path(found["root"]), found["inside"].strip("/")
    root, _, inside = address.partition(":/")
    if inside and is_store(Path(root)):
        return Path(root), inside.strip("/")
    return Path(address), ""


def is_store(path: Path) -> bool:
    """Whether a folder is a zarr group or array, by a look inside."""
    return path.is_dir() and any((path / mark).exists() for mark in _MARKS)


def store_root(path: Path) -> Path:
    """Outermost folder of the store that a path is in: where its name stands."""
    inside = [p for p in (path, *path.parents) if p.suffix.lower() == ".zarr"]
    root = inside[-1] if inside else path
    while not inside and root.parent != root and is_store(root.parent):
        root = root.parent
    return root


def find_node(address: str, dataset: str = "") -> Node:
    """Find the one image or array that an address means.

    Parameters
    ----------
    address : str
        A store, something in it (``x.zarr/0``), or the same as ``x.zarr:/0``.
    dataset : str
        Path below the address, or the name of one of several multiscales of an image.

    Returns
    -------
    node : Node
        A level of an image is found as the image, with its level named.

    Raises
    ------
    AddressError
        If nothing is there, or several; the message lists what there is.
    FormatError
        If the store is zarr v3, or damaged.
    """
    root, inside = split_address(address)
    folder = root / inside if inside else root
    if folder.is_file():
        msg = f"{folder} is a file: a zarr store is a folder. Unpack it, or check the path."
        raise FormatError(msg)
    below = dataset.strip("/")
    if ".." in (*inside.split("/"), *below.split("/")):
        path = "/".join(filter(None, (inside, below)))
        msg = f"{path} leads out of the store {root}. Open what is meant by its own address."
        raise AddressError(msg)
    if below and not _names_multiscale(folder, dataset):
        folder = folder / below
    if not folder.is_dir():
        _refuse_missing(root, folder)
    return _descend(folder, address)


def _names_multiscale(folder: Path, dataset: str) -> bool:
    attributes = read_json(str(folder), ".zattrs") or {}
    return any(
        isinstance(m, dict) and m.get("name") == dataset for m in _list(attributes, "multiscales")
    )


def _refuse_missing(root: Path, folder: Path) -> None:
    if not root.is_dir():
        msg = f"{root} does not exist. Check the path."
        raise MissingFileError(msg)
    found = _walk(root, _MAX_DEPTH, with_labels=True)
    known = [p.relative_to(root).as_posix() for p in islice(found, _MAX_FOUND)]
    inside = folder.relative_to(root).as_posix()
    hint = nearest(inside, known) if known else "it holds nothing that can be opened."
    msg = f"{root} holds no {inside}: {hint}"
    raise MissingFileError(msg)


def _descend(folder: Path, address: str) -> Node:
    """Follow groups that hold a single thing, until that thing."""
    attributes = read_json(str(folder), ".zattrs") or {}
    if (folder / ".zarray").exists():
        return _as_level(folder) or Node(folder, "array", attributes)
    if _list(attributes, "multiscales"):
        return Node(folder, "image", attributes)
    if (folder / "zarr.json").exists() and not (folder / ".zgroup").exists():
        msg = f"{folder} is zarr v3. {V3_CURE}."
        raise FormatError(msg)
    what, members = _members(folder, attributes)
    if not members:
        msg = (
            f"{folder} holds no array that can be opened. Check that it is a whole zarr store "
            "and that the path in it is right."
        )
        raise FormatError(msg)
    if len(members) > 1:
        _refuse_several(folder, what, members, address)
    return _descend(folder / members[0], address)


def _as_level(folder: Path) -> Node | None:
    """Image of which an array is a level, if it is one."""
    for parent in list(folder.parents)[:3]:
        attributes = read_json(str(parent), ".zattrs") or {}
        path = folder.relative_to(parent).as_posix()
        for entry in _list(attributes, "multiscales"):
            datasets = _list(entry, "datasets") if isinstance(entry, dict) else []
            if any(isinstance(d, dict) and d.get("path") == path for d in datasets):
                return Node(parent, "image", attributes, level=path)
    return None


def _members(folder: Path, attributes: dict[str, Any]) -> tuple[str, list[str]]:
    """What a group holds: a word for it, and paths relative to the group."""
    plate = attributes.get("plate")
    if isinstance(plate, dict):
        return "an HCS plate of", list(_plate_images(folder, plate))
    well = attributes.get("well")
    if isinstance(well, dict):
        images = [i for i in _list(well, "images") if isinstance(i, dict)]
        return "a well of", [check_inside(i["path"], str(folder)) for i in images if "path" in i]
    if "bioformats2raw.layout" in attributes:
        series = _list(read_json(str(folder / "OME"), ".zattrs") or {}, "series")
        found = [check_inside(s, str(folder)) for s in series] or _numbered(folder)
        return "a collection of", [s for s in found if (folder / s).is_dir()]
    if labels := [check_inside(name, str(folder)) for name in _list(attributes, "labels")]:
        return "a group of", [name for name in labels if (folder / name).is_dir()]
    found_below = islice(_walk(folder, _MAX_DEPTH), _MAX_FOUND)
    return "a group of", [p.relative_to(folder).as_posix() for p in found_below]


def _plate_images(folder: Path, plate: dict[str, Any]) -> Iterator[str]:
    """Paths of the images of a plate, up to a bound."""
    count = 0
    for entry in _list(plate, "wells"):
        well = check_inside(entry.get("path") if isinstance(entry, dict) else None, str(folder))
        attributes = read_json(str(folder / well), ".zattrs") or {}
        for image in _list(attributes.get("well"), "images"):
            if isinstance(image, dict) and "path" in image:
                yield f"{well}/{check_inside(image['path'], str(folder / well))}"
                count += 1
        if count >= _MAX_FOUND:
            return


def _numbered(folder: Path) -> list[str]:
    return sorted((p.name for p in folder.iterdir() if p.name.isdigit()), key=int)


def _list(attributes: Any, key: str) -> list[Any]:
    """Return a list under a key of a JSON object; empty if there is none."""
    value = attributes.get(key) if isinstance(attributes, dict) else None
    return value if isinstance(value, list) else []


def _walk(folder: Path, depth: int, *, with_labels: bool = False) -> Iterator[Path]:
    """Images and arrays below a group; chunks and the levels of images are not entered."""
    if depth == 0 or not folder.is_dir():
        return
    children = (p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    for child in sorted(children)[:_MAX_FOUND]:
        is_image = bool(_list(read_json(str(child), ".zattrs") or {}, "multiscales"))
        if is_image or (child / ".zarray").exists():
            yield child
            below = child / "labels" if with_labels and is_image else None
        else:
            below = child
        if below is not None:
            yield from _walk(below, depth - 1, with_labels=with_labels)


def _refuse_several(folder: Path, what: str, members: list[str], address: str) -> None:
    shown = ", ".join(_describe(folder, m) for m in members[:_MAX_LISTED])
    more = f" and {len(members) - _MAX_LISTED} more" if len(members) > _MAX_LISTED else ""
    msg = (
        f"{address} is {what} {len(members)}: {shown}{more}. Name one, as "
        f"{(folder / members[0]).as_posix()}, or with dataset= (--dataset on the command line)."
    )
    root, inside = split_address(address)
    paths = [(folder / m).relative_to(root / inside).as_posix() for m in members]
    raise SeveralError(msg, option="dataset", choices=tuple(paths))


def _describe(folder: Path, member: str) -> str:
    meta = read_json(str(folder / member), ".zarray")
    shape = "" if meta is None else " ({})".format(", ".join(map(str, meta.get("shape", []))))
    return f"{member}{shape}"
