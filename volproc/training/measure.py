"""What patches need to know of a whole volume, measured block by block."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.errors import NonFiniteError, ShapeError
from volproc.core.model import Normalization
from volproc.core.types import Region
from volproc.plan.blocks import ChunkGrid
from volproc.training.labelled import LabelledVolume, check_same_shape
from volproc.training.settings import TrainingSettings

POSITIONS_PER_CLASS = 20_000
"""Voxels of each class that are remembered as places for patches."""

_BLOCK = 128


def finish_volume(
    settings: TrainingSettings, name: str, image: Source, classes: Source
) -> LabelledVolume:
    """Measure what patches need to know of a whole volume.

    Raises
    ------
    ShapeError
        If the volume is no three-dimensional array, or the class map has another shape.
    """
    if len(image.shape) != 3:
        msg = f"{name} has shape {image.shape}. Train on three-dimensional volumes (z, y, x)."
        raise ShapeError(msg)
    check_same_shape(name, image.shape, classes.shape)
    percentiles = settings.describe().percentiles
    shift, scale = measure_scaling(image, settings.normalization, percentiles, name=name)
    positions = find_positions(classes, len(settings.classes), seed=settings.seed)
    return LabelledVolume(name, image, classes, shift, scale, positions)


def find_positions(
    classes: Source, num_classes: int, *, seed: int
) -> dict[int, npt.NDArray[np.int64]]:
    """Remember some voxels of each class, reading block by block.

    Parameters
    ----------
    classes : Source
        Class map, uint8.
    num_classes : int
        Classes with the background.
    seed : int
        Chooses among the voxels of a block with many.

    Returns
    -------
    positions : dict of int to ndarray of int, (n, 3)
        At most about `POSITIONS_PER_CLASS` voxels of each class that occurs.
    """
    rng = np.random.default_rng(seed)
    grid = ChunkGrid(classes.shape, (_BLOCK,) * 3)
    quota = max(50, POSITIONS_PER_CLASS // len(grid))
    found: dict[int, list[npt.NDArray[np.int64]]] = {}
    for region, block in _blocks(classes):
        corner = [s.start for s in region]
        for value in range(1, num_classes):
            voxels = np.argwhere(block == value)
            if len(voxels) > quota:
                voxels = voxels[np.sort(rng.choice(len(voxels), quota, replace=False))]
            if len(voxels):
                found.setdefault(value, []).append(voxels + corner)
    return {value: np.concatenate(parts) for value, parts in sorted(found.items())}


def find_values(classes: Source) -> set[int]:
    """All values of a class map, read block by block."""
    return {int(value) for _, block in _blocks(classes) for value in np.unique(block)}


def measure_scaling(
    image: Source,
    normalization: Normalization,
    percentiles: tuple[float, float] = (1.0, 99.0),
    *,
    name: str = "the volume",
) -> tuple[float, float]:
    """Constants of a whole volume that scale its voxels.

    Parameters
    ----------
    image : Source
        Voxels.
    normalization : {"zscore", "percentile", "none"}
        Mean and standard deviation; two percentiles; nothing.
    percentiles : tuple of float
        Lower and upper.
    name : str
        What an error calls the volume.

    Returns
    -------
    shift, scale : float
        ``(voxel - shift) / scale`` is scaled.

    Raises
    ------
    NonFiniteError
        If there are NaN or infinite voxels.

    Notes
    -----
    One pass, block by block. Percentiles are those of a sample of about four million voxels on
    a regular grid.
    """
    if normalization == "none":
        return 0.0, 1.0
    step = max(1, round((prod(image.shape) / 2**22) ** (1 / 3)))
    total = square = 0.0
    sample = []
    for _, block in _blocks(image):
        values = block.astype(np.float64)
        bad = int(values.size - np.isfinite(values).sum())
        if bad:
            msg = (
                f"{name} holds {bad} NaN or infinite voxels in a block of {values.size}. "
                "Replace them before training."
            )
            raise NonFiniteError(msg)
        total += float(values.sum())
        square += float((values**2).sum())
        sample.append(values[(slice(None, None, step),) * values.ndim].ravel())
    if normalization == "percentile":
        low, high = np.percentile(np.concatenate(sample), percentiles)
        return float(low), float(max(high - low, 1e-12))
    mean = total / prod(image.shape)
    return mean, float(np.sqrt(max(square / prod(image.shape) - mean**2, 1e-24)))


def _blocks(source: Source) -> Iterator[tuple[Region, npt.NDArray[Any]]]:
    for block in ChunkGrid(source.shape, (_BLOCK,) * len(source.shape)):
        yield block.write, source.read(block.write)
