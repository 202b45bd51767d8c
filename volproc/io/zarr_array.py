"""What a zarr v2 array says of itself, and its chunks from bytes to voxels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import FormatError
from volproc.core.types import Index, Shape
from volproc.io.limits import check_chunk, check_metadata_file
from volproc.io.zarr_codecs import check_codec, decode_chunk, find_codec

Store = str | Mapping[str, bytes]
"""A folder on disk, or a mapping of keys to bytes (fsspec's ``FSMap``, zarr's stores), which has
to be picklable."""

V3_CURE = (
    "volproc reads zarr v2, because copick needs zarr below 3. zarr-python 3 reads it "
    '(pip install "zarr>=3" in another environment), and so do ome-zarr-py 0.12 and napari; '
    "convert it there to v2: zarr.create_array(store, ..., zarr_format=2), or OME-Zarr 0.4"
)
"""What to do about a zarr v3 store."""


@dataclass(frozen=True, slots=True)
class ArrayMeta:
    """The head of one zarr v2 array: the content of its ``.zarray``."""

    name: str
    """Where it is, for messages."""

    shape: Shape
    """Size in voxels, in the array's own axis order."""

    chunks: Shape
    """Size of a chunk, in the same order; chunks at the edge are stored whole."""

    dtype: np.dtype[Any]
    """Type of the voxels on disk."""

    fill: str
    """Value of the voxels of a missing chunk, as JSON; ``null`` is read as zero."""

    order: str
    """``C`` or ``F``: order of the voxels in a chunk."""

    separator: str
    """What stands between the numbers of a chunk's key."""

    codecs: tuple[str, ...]
    """Configurations of the codecs as JSON, in the order of decoding."""

    @property
    def compression(self) -> str:
        """Name of the compression, for people."""
        configs = [json.loads(c) for c in self.codecs]
        names = [f"blosc-{c['cname']}" if "cname" in c else str(c["id"]) for c in configs]
        return " + ".join(reversed(names)) or "none"

    def key(self, index: Index) -> str:
        """Key of a chunk, relative to the array."""
        return self.separator.join(map(str, index)) or "0"

    def fill_value(self) -> Any:
        """Value of the voxels of a missing chunk."""
        value = json.loads(self.fill)
        return self.dtype.type(0 if value is None else value)

    def decode(self, data: bytes, key: str) -> npt.NDArray[Any]:
        """Turn the bytes of a chunk into voxels.

        Returns
        -------
        chunk : ndarray
            Of the full chunk's shape, in the machine's byte order.

        Raises
        ------
        FormatError
            If the chunk is truncated or damaged.
        """
        expected = prod(self.chunks) * self.dtype.itemsize
        try:
            flat = decode_chunk(data, self.codecs, expected)
            if flat.nbytes != expected:
                self._refuse(key, f"it holds {flat.nbytes} bytes of voxels, {expected} are due")
        except FormatError:
            raise
        except Exception as error:  # each codec has its own exceptions, of any class
            self._refuse(key, f"{type(error).__name__}: {error}")
        chunk = flat.view(self.dtype).reshape(self.chunks, order=self.order)  # type: ignore[call-overload]
        return chunk.astype(self.dtype.newbyteorder("="), copy=False)

    def _refuse(self, key: str, why: str) -> None:
        msg = (
            f"chunk {key} of {self.name} is truncated or damaged ({why}). Copy the store again, "
            "or delete that chunk to read it as empty."
        )
        raise FormatError(msg) from None


def read_bytes(store: Store, key: str) -> bytes | None:
    """Bytes under a key of a store; None where there is nothing."""
    if isinstance(store, str):
        try:
            return Path(store, key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            msg = f"{store}/{key} cannot be read ({error}). Check its permissions and the disk."
            raise FormatError(msg) from error
    try:
        return store[key]
    except KeyError:
        return None


def read_json(store: Store, key: str) -> dict[str, Any] | None:
    """Read a JSON object under a key of a store; None where there is nothing.

    Raises
    ------
    FormatError
        If it is no JSON object: truncated, or something else.
    """
    if isinstance(store, str) and Path(store, key).is_file():
        check_metadata_file(Path(store, key))
    data = read_bytes(store, key)
    if data is None:
        return None
    try:
        value = json.loads(data)
        if not isinstance(value, dict):
            raise TypeError(type(value).__name__)
    except (ValueError, TypeError, RecursionError) as error:
        where = f"{store}/{key}" if isinstance(store, str) else key
        msg = f"{where} is no JSON object ({error}). Copy the store again."
        raise FormatError(msg) from error
    return value


def check_inside(path: object, where: str) -> str:
    """Return a path that metadata name, or refuse one that leads out of its group.

    Raises
    ------
    FormatError
        If it is no text, absolute, or goes up.

    Examples
    --------
    >>> check_inside("labels/0", "a.zarr")
    'labels/0'
    """
    text = path if isinstance(path, str) else ""
    parts = text.replace("\\", "/").split("/")
    # A colon names a drive or a protocol; "." alone is the group itself.
    if not text or ".." in parts or parts[0] == "" or ":" in parts[0] or "\0" in text:
        msg = (
            f"the metadata of {where} name {path!r}, which is no path inside of it. Correct its "
            ".zattrs, or open what is meant by its own address."
        )
        raise FormatError(msg)
    return text


def join_key(path: str, name: str) -> str:
    """Key of something below a path of a store.

    >>> join_key("", ".zarray"), join_key("labels/0", ".zarray")
    ('.zarray', 'labels/0/.zarray')
    """
    return f"{path}/{name}" if path else name


def read_array_meta(store: Store, path: str = "", *, name: str = "") -> ArrayMeta:
    """Read the head of an array.

    Parameters
    ----------
    store : str or mapping
        A folder, or a mapping of keys to bytes.
    path : str
        Where the array is in the store; empty if it is the store.
    name : str
        What messages call it; by default the folder.

    Raises
    ------
    FormatError
        If there is no array, a damaged one, one of zarr v3, or one that holds no numbers.
    """
    name = name or "/".join(filter(None, [store if isinstance(store, str) else "", path]))
    meta = read_json(store, join_key(path, ".zarray"))
    if meta is None:
        if read_bytes(store, join_key(path, "zarr.json")) is not None:
            msg = f"{name} is zarr v3. {V3_CURE}."
        else:
            msg = f"{name} is no zarr array: it has no .zarray. Check the path in the store."
        raise FormatError(msg)
    try:
        found = _parse(meta, name, _separator(store, path, meta))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        detail = f"{type(error).__name__}: {error}"
        msg = f"the .zarray of {name} is damaged or unknown ({detail}). Copy the store again."
        raise FormatError(msg) from error
    if found.dtype.kind not in "biuf" or not found.shape or 0 in found.shape:
        msg = (
            f"{name} holds shape {found.shape}, type {found.dtype}. A volume is a non-empty array "
            "of real numbers; name another array of the store."
        )
        raise FormatError(msg)
    check_chunk(name, found.chunks, found.dtype.itemsize)
    return found


def _parse(meta: dict[str, Any], name: str, separator: str) -> ArrayMeta:
    """Build the head from the JSON; any missing or senseless part raises."""
    shape = tuple(int(n) for n in meta["shape"])
    chunks = tuple(int(n) for n in meta["chunks"])
    if len(shape) != len(chunks) or min((*chunks, 1)) < 1 or min((*shape, 0)) < 0:
        msg = f"shape {shape} with chunks {chunks}"
        raise ValueError(msg)
    if meta["order"] not in ("C", "F") or separator not in (".", "/"):
        msg = f"order {meta['order']!r}, dimension_separator {separator!r}"
        raise ValueError(msg)
    filters = [*(meta.get("filters") or []), *filter(None, [meta.get("compressor")])]
    codecs = tuple(json.dumps(c, sort_keys=True) for c in reversed(filters))
    for config in codecs:
        check_codec(json.loads(config))
        find_codec(config)  # an unknown codec surfaces here, not in a worker
    dtype = np.dtype(meta["dtype"]) if isinstance(meta["dtype"], str) else np.dtype("O")
    fill = json.dumps(meta.get("fill_value"))
    found = ArrayMeta(name, shape, chunks, dtype, fill, meta["order"], separator, codecs)
    if dtype.kind in "biuf":
        found.fill_value()
    return found


def _separator(store: Store, path: str, meta: dict[str, Any]) -> str:
    """Return the separator; early writers of nested chunks did not declare it, so one looks."""
    declared = meta.get("dimension_separator")
    if declared is not None or len(meta.get("shape") or []) < 2 or not isinstance(store, str):
        return declared or "."
    nested = any(p.is_dir() and p.name.isdigit() for p in Path(store, path).iterdir())
    return "/" if nested else "."
