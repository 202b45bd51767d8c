"""HDF5: one dataset of a file, as ``path.h5:/dataset``."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Sink
from volproc.core.errors import (
    AddressError,
    FormatError,
    MissingFileError,
    SeveralError,
    VolprocError,
)
from volproc.core.types import Region, Shape
from volproc.io.array_axes import cut_volume, guess_axes
from volproc.io.formats import Format, Header, Selection, Target
from volproc.io.hdf5_write import create_hdf5
from volproc.io.lengths import size_from_attributes

_ENDINGS = (".h5", ".hdf5", ".hdf", ".he5")
_ADDRESS = re.compile(r"(?P<file>.+?\.(?:h5|hdf5|hdf|he5))(?P<inside>[:/].*)?$", re.IGNORECASE)
_CACHE_BYTES = 64 * 2**20
_MAX_LISTED = 12

MOST_ATTRIBUTE_BYTES = 2**16
"""A longer attribute is no voxel size, and is not read."""


@dataclass(frozen=True, slots=True)
class Hdf5Source:
    """A volume inside a dataset of two to five axes or more.

    Each process opens the file once, and keeps up to 64 MiB of decoded chunks of a dataset, so
    that the halo of the next block costs no second decoding.
    """

    path: str
    """The file."""

    dataset: str
    """Path of the dataset in it."""

    array_shape: Shape
    """Size of the dataset."""

    array_chunks: Shape
    """Its storage chunks; a plane where it has none."""

    dtype: np.dtype[Any]
    """Type of the voxels, in the machine's byte order."""

    index: tuple[int | None, ...]
    """For each axis of the dataset: the position taken, or None if it stays."""

    order: tuple[int, ...]
    """For each axis of the volume: the axis of the dataset."""

    stamp: tuple[int, int]
    """Size and time of change of the file when it was opened."""

    @property
    def shape(self) -> Shape:
        """Size in voxels, (z, y, x) or (y, x)."""
        return tuple(self.array_shape[a] for a in self.order)

    @property
    def chunks(self) -> Shape:
        """Storage chunk, in voxels."""
        return tuple(min(self.array_chunks[a], self.array_shape[a]) for a in self.order)

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Voxels of a region.

        Raises
        ------
        FormatError
            If the data there are truncated or damaged.
        """
        cuts = dict(zip(self.order, region, strict=True))
        wanted = tuple(cuts[a] if i is None else i for a, i in enumerate(self.index))
        _, dataset = _opened(self.path, self.dataset, self.stamp, os.getpid())
        try:
            kept = dataset[wanted]
        except OSError as error:
            msg = (
                f"{self.path}:/{self.dataset} cannot be read at {region_text(region)} ({error}). "
                "The file is truncated or damaged: copy it again."
            )
            raise FormatError(msg) from error
        ranks = sorted(self.order)
        turned = kept.transpose([ranks.index(a) for a in self.order])
        return np.ascontiguousarray(turned, dtype=self.dtype)

    def identity(self) -> str:
        """Path, dataset, selection, size and time of change."""
        return (
            f"{Path(self.path).absolute()}:/{self.dataset}:{self.index}:{self.order}:{self.stamp}"
        )


@lru_cache(maxsize=16)
def _opened(
    path: str, dataset: str, stamp: tuple[int, int], process: int
) -> tuple[h5py.File, h5py.Dataset]:
    """Open once a process and version of a file; the file must live as long as its dataset."""
    file = _open_file(Path(path))
    return file, file[dataset]


def region_text(region: Region) -> str:
    """Write a region as people do.

    >>> region_text((slice(0, 4), slice(2, 9)))
    '0:4, 2:9'
    """
    return ", ".join(f"{s.start}:{s.stop}" for s in region)


def _open_file(path: Path) -> h5py.File:
    """Open for reading; without a lock where the disk, or an earlier opening, allows none."""
    options: dict[str, Any] = {"rdcc_nbytes": _CACHE_BYTES, "rdcc_nslots": 10007}
    try:
        try:
            return h5py.File(path, "r", **options)
        except OSError as error:
            if "lock" not in str(error):
                raise
            return h5py.File(path, "r", locking=False, **options)
    except OSError as error:
        what = "is truncated" if "truncated" in str(error) else "cannot be opened as HDF5"
        msg = f"{path} {what} ({error}). Copy it again, or check that it is an HDF5 file."
        raise FormatError(msg) from error


class Hdf5(Format):
    """Reads and writes datasets of HDF5 files.

    An address is ``path.h5:/dataset``, ``path.h5/dataset``, or the file alone if it holds one
    volume only.
    """

    name = "HDF5"
    suffixes = _ENDINGS

    def matches(self, address: str) -> bool:
        """Whether a name in the address ends as HDF5 files do."""
        found = _ADDRESS.match(address)
        if not found:
            return False
        # ``results.h5/`` may be a folder of other things.
        return not Path(found["file"]).is_dir()

    def path(self, address: str) -> Path:
        """Return the file."""
        return Path(split_address(address)[0])

    def read_header(self, address: str, selection: Selection) -> Header:
        """Read the head of a dataset.

        Raises
        ------
        AddressError
            If the file holds several volumes and none is named, or no such one, or if the
            selection names nothing.
        FormatError
            If the file is truncated, no HDF5, or the dataset is no volume.
        """
        path, inside = split_address(address)
        wanted = "/".join(filter(None, [inside, selection.dataset.strip("/")]))
        if selection.level:
            msg = f"{address} has no levels, got level={selection.level}. Use 0."
            raise AddressError(msg)
        if not Path(path).exists():
            msg = f"{path} does not exist. Check the path."
            raise MissingFileError(msg)
        with _open_file(Path(path)) as file:
            try:
                return _read_dataset(file, path, address, wanted, selection)
            except (OSError, RuntimeError, LookupError, ValueError, TypeError) as error:
                if isinstance(error, VolprocError):
                    raise
                msg = f"{path} is truncated or damaged ({error}). Copy it again."
                raise FormatError(msg) from error

    def create(self, target: Target) -> Sink:
        """Begin a file with one dataset, ``/data`` unless the address names it."""
        path, inside = split_address(target.address)
        return create_hdf5(target, path, inside or "data")


def split_address(address: str) -> tuple[str, str]:
    """Part an address into the file and the dataset in it.

    >>> split_address("a/b.h5:/c/d"), split_address("b.h5/raw"), split_address("b.h5")
    (('a/b.h5', 'c/d'), ('b.h5', 'raw'), ('b.h5', ''))
    """
    found = _ADDRESS.match(address)
    if found is None:
        return address, ""
    return found["file"], (found["inside"] or "").lstrip(":").strip("/")


def _read_dataset(
    file: h5py.File, path: str, address: str, wanted: str, selection: Selection
) -> Header:
    dataset = _find(file, path, wanted, inside=split_address(address)[1])
    _check(dataset, path)
    axes, note = _axes(dataset)
    cut = cut_volume(address, axes, dataset.shape, selection)
    size, found = _voxel_size(dataset, axes)
    if size is not None:
        spatial = [a for a, letter in enumerate(axes) if letter in "zyx"]
        size = tuple(size[spatial.index(a)] for a in cut.order)
    planes = (*(1,) * (dataset.ndim - 2), *dataset.shape[-2:])
    stat = Path(path).stat()
    # Behind a link to another file, the dataset has the name that it has there.
    is_linked = dataset.file.filename != file.filename
    name = wanted if is_linked else dataset.name.strip("/")
    source = Hdf5Source(
        str(Path(path).absolute()),
        name,
        tuple(dataset.shape),
        tuple(dataset.chunks or planes),
        dataset.dtype.newbyteorder("="),
        cut.index,
        cut.order,
        (stat.st_size, stat.st_mtime_ns),
    )
    details = {
        "dataset": f"/{name}",
        "axes": axes,
        "array shape": tuple(dataset.shape),
        "chunks": dataset.chunks,
        "compression": dataset.compression or "none",
    }
    notes = tuple(n for n in (note, *cut.notes, found) if n)
    stem = Path(path).stem
    title = stem if not wanted else f"{stem}_{name.rpartition('/')[2]}"
    origin = _origin(dataset, len(cut.order)) if size is not None else ()
    return Header(address, title, Hdf5.name, source, size, origin, details, notes)


def _find(file: h5py.File, path: str, wanted: str, *, inside: str) -> h5py.Dataset:
    """Find the dataset of a name, or the only volume below it.

    Choices of `SeveralError` are relative to ``inside``, what the address itself names.
    """
    try:
        node = file[wanted or "/"]
    except (KeyError, OSError, ValueError) as error:
        msg = f"{path} holds no /{wanted}: it holds {_listing(_volumes(file))}."
        raise AddressError(msg) from error
    if isinstance(node, h5py.Dataset):
        return node
    if not isinstance(node, h5py.Group):
        msg = f"{path}:/{wanted} is no dataset. The file holds {_listing(_volumes(file))}."
        raise AddressError(msg)
    volumes = _volumes(node)
    if len(volumes) == 1:
        return volumes[0]
    if not volumes:
        msg = (
            f"{path} holds no volume{f' below /{wanted}' if wanted else ''}: no dataset of numbers "
            "with two axes or more. Check that it is the right file."
        )
        raise FormatError(msg)
    msg = (
        f"{path} holds {len(volumes)} datasets: {_listing(volumes)}. Name one, as "
        f"{path}:{volumes[0].name}, or with dataset= (--dataset on the command line)."
    )
    names = [d.name.strip("/").removeprefix(inside).strip("/") for d in volumes]
    raise SeveralError(msg, option="dataset", choices=tuple(names))


def _volumes(group: h5py.Group) -> list[h5py.Dataset]:
    """Datasets of numbers with two axes or more, by name."""
    found: list[h5py.Dataset] = []

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.ndim >= 2 and node.dtype.kind in "biuf":
            found.append(node)

    group.visititems(visit)
    return found


def _listing(volumes: list[h5py.Dataset]) -> str:
    shown = [f"{d.name} ({', '.join(map(str, d.shape))}) {d.dtype}" for d in volumes[:_MAX_LISTED]]
    more = [f"{len(volumes) - _MAX_LISTED} more"] if len(volumes) > _MAX_LISTED else []
    return ", ".join(shown + more) or "no datasets of numbers"


def _check(dataset: h5py.Dataset, path: str) -> None:
    """Refuse what is no volume, or cannot be decoded here."""
    if dataset.dtype.kind not in "biuf" or not dataset.shape or 0 in dataset.shape:
        msg = (
            f"{path}:{dataset.name} holds shape {dataset.shape}, type {dataset.dtype}. A volume is "
            "a non-empty array of real numbers; name another dataset."
        )
        raise FormatError(msg)
    _check_place(dataset, path)
    filters = dataset.id.get_create_plist()
    for number in range(filters.get_nfilters()):
        code, _, _, name = filters.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            msg = (
                f"{path}:{dataset.name} is compressed with {name.decode() or code}, which this "
                'HDF5 lacks. Install it (pip install hdf5plugin, then "import hdf5plugin"), or '
                "repack the file with gzip: h5repack -f GZIP=4."
            )
            raise FormatError(msg)


def _check_place(dataset: h5py.Dataset, path: str) -> None:
    """Refuse voxels that lie outside of the file's folder: a file may name any other on the disk.

    Virtual datasets and links to files beside are usual, raw files are not.
    """
    folder = Path(path).resolve().parent
    others = [dataset.file.filename]
    if dataset.is_virtual:
        others += [source.file_name for source in dataset.virtual_sources()]
    outside = [
        name
        for name in others
        if name != "." and not (folder / name).resolve().is_relative_to(folder)
    ]
    outside += [name for name, _, _ in dataset.external or ()]
    if outside:
        msg = (
            f"the voxels of {path}:{dataset.name} lie in {outside[0]}, outside of the file's "
            "folder. Open that file itself, or copy what belongs together into one folder."
        )
        raise FormatError(msg)


def _axes(dataset: h5py.Dataset) -> tuple[str, str]:
    """Axes as ilastik's tags or HDF5's own labels name them, else guessed."""
    attributes = _attributes(dataset)
    for name in ("axistags", "axis_tags", "axes", "axisorder"):
        if name in attributes:
            letters = _tagged(attributes[name])
            if len(letters) == dataset.ndim and {"y", "x"} <= set(letters) <= set("tczyx"):
                return letters, ""
    labels = "".join(d.label.lower() for d in dataset.dims)
    if len(labels) == dataset.ndim and {"y", "x"} <= set(labels) <= set("tczyx"):
        return labels, ""
    return guess_axes(tuple(dataset.shape))


def _tagged(value: Any) -> str:
    """Letters of ilastik's tags, which are JSON; of a plain word; or of a list of letters."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        return "".join(v.decode() if isinstance(v, bytes) else str(v) for v in value.ravel())
    try:
        tags = json.loads(value)
        return "".join(str(axis["key"]) for axis in tags["axes"]).lower()
    except (ValueError, TypeError, KeyError):
        return str(value).lower()


def _voxel_size(dataset: h5py.Dataset, axes: str) -> tuple[tuple[float, ...] | None, str]:
    """Voxel size from the attributes of the dataset, or of the groups around it."""
    node: Any = dataset
    while True:
        size, note = size_from_attributes(_attributes(node), axes)
        if note or node.name == "/":
            return size, note
        node = node.parent


def _attributes(node: Any) -> dict[str, Any]:
    """Attributes of a node that are small enough to say something of a volume."""
    return {
        name: node.attrs[name]
        for name in node.attrs
        if node.attrs.get_id(name).get_storage_size() <= MOST_ATTRIBUTE_BYTES
    }


def _origin(dataset: h5py.Dataset, ndim: int) -> tuple[float, ...]:
    """Position of the first voxel in Å, where volproc wrote it."""
    values = np.ravel(_attributes(dataset).get("origin_angstrom", ()))
    if len(values) != ndim or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        return ()
    return tuple(float(v) for v in values)
