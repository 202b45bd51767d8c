"""Masks of a prediction: opened from an address of any format, checked, and counted."""

from __future__ import annotations

import os
from dataclasses import dataclass

from volproc.core.errors import ConfigError, SeveralError
from volproc.core.events import Observer, ignore
from volproc.core.executor import Executor
from volproc.core.types import Index, Shape
from volproc.graph.physical_mask import PhysicalMask
from volproc.graph.run import run_stage
from volproc.io.cryosiam_files import LABELS
from volproc.io.open import inspect
from volproc.plan.blocks import ChunkGrid
from volproc.plan.storage import reading_grid

STAGE = "mask"

SIDE = 64
"""Side of the smallest block that is counted, voxels."""


def open_mask(
    address: str | os.PathLike[str], shape: Shape, voxel_size: tuple[float, ...] | None
) -> PhysicalMask:
    """Open a mask and lay it over a volume; its head alone is read.

    Parameters
    ----------
    address : str or path
        Of any format. Of several arrays in one file that one is taken which CryoSiam calls
        ``labels``.
    shape : tuple of int
        Size of the volume, (z, y, x), voxels.
    voxel_size : tuple of float or None
        Å per voxel of the volume.

    Raises
    ------
    MissingFileError, AddressError, FormatError
        If it cannot be opened.
    ShapeError
        If it covers another box than the volume.
    """
    try:
        header = inspect(address)
    except SeveralError as error:
        if error.option != "dataset" or LABELS not in map(_bare, map(str, error.choices)):
            raise
        header = inspect(address, dataset=LABELS)
    return PhysicalMask(header.source, shape, header.address, voxel_size, header.voxel_size)


@dataclass(frozen=True, slots=True)
class _CountWork:
    """Counts the voxels of the volume inside a mask."""

    mask: PhysicalMask
    grid: ChunkGrid

    def __call__(self, index: Index) -> dict[str, int]:
        return {"inside": int(self.mask.read(self.grid[index].write).sum())}


def check_mask(mask: PhysicalMask, *, executor: Executor, observe: Observer = ignore) -> int:
    """Read a mask once, before anything is computed for it.

    Parameters
    ----------
    mask : PhysicalMask
        From `open_mask`.
    executor, observe
        Where blocks are read, and who watches.

    Returns
    -------
    inside : int
        Voxels of the volume in it.

    Raises
    ------
    DtypeError
        If it has other values than 0 and 1.
    ConfigError
        If it is empty.
    """
    grid = reading_grid(mask.shape, (SIDE,) * len(mask.shape))
    counts: list[int] = []
    run_stage(
        STAGE,
        grid.indices(),
        _CountWork(mask, grid),
        executor=executor,
        observe=observe,
        collect=lambda _, found: counts.append(found["inside"]),
        total=len(grid),
    )
    if not sum(counts):
        msg = (
            f"the mask {mask.address} is empty: nothing is left to predict. Look at it, or leave "
            "it out."
        )
        raise ConfigError(msg)
    return sum(counts)


def _bare(name: str) -> str:
    return name.strip("/")
