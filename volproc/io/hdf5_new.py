"""A new HDF5 file of several datasets, which appears under its name only when it is whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from volproc.core.errors import MissingFileError
from volproc.core.types import Shape
from volproc.io.create import move_into_place, partial_path, remove

SIDE = 64
"""Side of a storage chunk, voxels."""


class NewDataset(NamedTuple):
    """What a dataset is to be; voxels that are not written are 0."""

    shape: Shape
    """(z, y, x), or (c, z, y, x)."""

    dtype: type[np.generic]
    """Type of the voxels."""


@contextmanager
def new_hdf5(
    path: Path,
    datasets: Mapping[str, NewDataset],
    *,
    attributes: Mapping[str, Any],
    voxel_size: tuple[float, ...] | None = None,
) -> Iterator[dict[str, h5py.Dataset]]:
    """Make a file, let its datasets be written, and give it its name.

    Parameters
    ----------
    path : Path
        The file; what stands there is replaced at the end.
    datasets : mapping of str to NewDataset
        By name. They are stored in gzip chunks of `SIDE` voxels.
    attributes : mapping
        Of the file.
    voxel_size : tuple of float
        Å per voxel, (z, y, x), written beside each dataset where it is known.

    Yields
    ------
    made : dict of str to h5py.Dataset
        The datasets by name; regions of them may be written.

    Raises
    ------
    MissingFileError
        If the folder is not there.

    Notes
    -----
    If something fails on the way, what stood there stays; what a killed process has left under
    the hidden partial name goes when the file is made again.
    """
    if not path.parent.is_dir():
        msg = f"{path.parent} does not exist, so {path.name} cannot be written. Make the folder."
        raise MissingFileError(msg)
    partial = partial_path(path)
    remove(partial)
    try:
        with h5py.File(partial, "w") as file:
            file.attrs.update(attributes)
            found = {}
            for name, (shape, dtype) in datasets.items():
                space = tuple(min(SIDE, n) for n in shape[-3:])
                made = file.create_dataset(
                    name,
                    shape=shape,
                    dtype=dtype,
                    chunks=(1,) * (len(shape) - 3) + space,
                    compression="gzip",
                    compression_opts=1,
                    shuffle=True,
                    fillvalue=0,
                )
                if voxel_size is not None:
                    made.attrs["voxel_size_angstrom"] = voxel_size
                found[name] = made
            yield found
        move_into_place(partial, path)
    finally:
        remove(partial)


def read_attribute(path: Path, name: str) -> Any:
    """An attribute of a file; None where there is no such file or attribute, or it is damaged."""
    try:
        with h5py.File(path, "r") as file:
            return file.attrs.get(name)
    except OSError:
        return None
