"""The writer of HDF5: one process, chunk by chunk, under a partial name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Sink
from volproc.core.errors import FormatError, ResumeError, ShapeError
from volproc.core.types import Region, Shape, axis_names, region_shape
from volproc.io.create import move_into_place, partial_path, remove
from volproc.io.fit_dtype import fit_dtype
from volproc.io.formats import Target

_WRITING = Lock()
"""HDF5 cannot open a file for writing twice, not even within one process."""


@dataclass(frozen=True, slots=True)
class Hdf5Sink:
    """A dataset in the making; threads of one process may write, several processes may not.

    Notes
    -----
    The file is opened and closed for each region, so that a killed process leaves a file that
    can be gone on with, unless it was killed in the very moment of writing.
    """

    address: str
    """Where the finished dataset will be, as ``path.h5:/dataset``."""

    path: str
    """The file."""

    dataset: str
    """Path of the dataset in it."""

    shape: Shape
    """Size in voxels."""

    dtype: np.dtype[Any]
    """Type of the voxels on disk."""

    chunks: Shape
    """Storage chunks."""

    @property
    def is_parallel(self) -> bool:
        """Return False: HDF5 files have one writer."""
        return False

    def write(self, region: Region, block: npt.NDArray[Any]) -> None:
        """Write one region.

        Raises
        ------
        ShapeError
            If the block is not of the region's shape.
        FormatError
            If its values do not fit the type on disk.
        """
        if block.shape != region_shape(region):
            msg = (
                f"a block of shape {block.shape} cannot be written to {self.address} at a region "
                f"of shape {region_shape(region)}. Cut the block to the region."
            )
            raise ShapeError(msg)
        voxels = fit_dtype(block, self.dtype, self.address)
        with _WRITING, h5py.File(partial_path(Path(self.path)), "r+") as file:
            file[self.dataset][region] = voxels

    def finish(self) -> None:
        """Move to the final name."""
        move_into_place(partial_path(Path(self.path)), Path(self.path))

    def discard(self) -> None:
        """Remove the partial file."""
        remove(partial_path(Path(self.path)))


def create_hdf5(target: Target, path: str, dataset: str) -> Sink:
    """Begin a file with one dataset.

    Parameters
    ----------
    target : Target
        What is to be written. With ``overwrite`` the whole file is replaced, with all that it
        holds: a dataset is never added to an existing file.
    path : str
        The file.
    dataset : str
        Path of the dataset in it.

    Raises
    ------
    FormatError
        If the type cannot be stored.
    ResumeError
        If an unfinished file cannot be gone on with.

    Notes
    -----
    Written are gzip (level 1, shuffled) chunks, readable everywhere, and the attributes
    ``voxel_size_angstrom`` (z, y, x), ``origin_angstrom`` and ``element_size_um`` (ilastik, Fiji,
    PlantSeg).
    """
    if target.dtype.kind not in "biuf":
        msg = f"HDF5 here holds real numbers, got {target.dtype}. Convert the voxels first."
        raise FormatError(msg)
    side = 1024 if len(target.shape) == 2 else 64
    wanted = target.chunks or (side,) * len(target.shape)
    if len(wanted) != len(target.shape) or min(wanted) < 1:
        msg = f"chunks {wanted} do not fit shape {target.shape}. Give one positive number an axis."
        raise ShapeError(msg)
    chunks = tuple(min(c, n) for c, n in zip(wanted, target.shape, strict=True))
    partial = partial_path(Path(path))
    if target.resume and partial.exists():
        chunks = _resume(partial, dataset, target)
    else:
        _lay_out(partial, dataset, target, chunks)
    return Hdf5Sink(target.address, path, dataset, target.shape, target.dtype, chunks)


def _lay_out(partial: Path, dataset: str, target: Target, chunks: Shape) -> None:
    remove(partial)
    with h5py.File(partial, "w") as file:
        made = file.create_dataset(
            dataset,
            shape=target.shape,
            dtype=target.dtype,
            chunks=chunks,
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )
        made.attrs["voxel_size_angstrom"] = target.voxel_size
        made.attrs["origin_angstrom"] = target.origin
        made.attrs["element_size_um"] = [v / 1e4 for v in target.voxel_size]
        for dimension, letter in zip(made.dims, axis_names(len(target.shape)), strict=True):
            dimension.label = letter


def _resume(partial: Path, dataset: str, target: Target) -> Shape:
    """Chunks of an unfinished file, after a check that it is the same one."""
    try:
        with h5py.File(partial, "r") as file:
            found = file[dataset]
            facts = (tuple(found.shape), found.dtype, tuple(found.chunks))
    except (OSError, KeyError, TypeError) as error:
        msg = (
            f"the unfinished {partial} cannot be gone on with ({error}): it was stopped while it "
            "was written. Remove it, or start without resuming."
        )
        raise ResumeError(msg) from error
    if facts != (target.shape, target.dtype, target.chunks or facts[2]):
        msg = (
            f"the unfinished {partial} has shape {facts[0]}, type {facts[1]}, chunks {facts[2]}; "
            f"now asked are {target.shape}, {target.dtype}, {target.chunks}. Remove it, or start "
            "without resuming."
        )
        raise ResumeError(msg)
    return facts[2]
