"""Erosion of all classes of a map at once, with the cross of seven voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ConfigError
from volproc.core.types import Region, region_shape
from volproc.reduce.components import check_mask_type
from volproc.reduce.erosion_kernels import erode_map

EROSION_HALO = 1
"""Voxels around a block that its erosion depends on."""

MOST_CLASSES = 255
"""Classes that a byte has, background left out."""


def byte_classes(block: npt.NDArray[Any], num_classes: int) -> npt.NDArray[np.uint8]:
    """Class map as bytes: values 1 to ``num_classes``, everything else 0.

    Raises
    ------
    ConfigError
        If there are more than 255 classes.
    DtypeError
        If the map is neither boolean nor integer.

    Examples
    --------
    >>> byte_classes(np.array([0, 3, -1, 300, 2], np.int16), 2)
    array([0, 0, 0, 0, 2], dtype=uint8)
    """
    check_mask_type(block.dtype)
    if num_classes > MOST_CLASSES:
        msg = f"at most {MOST_CLASSES} classes are taken at once, got {num_classes}."
        raise ConfigError(msg)
    if block.dtype == bool:
        return block.view(np.uint8)
    if block.dtype == np.uint8 and (not block.size or int(block.max()) <= num_classes):
        return block
    return np.where((block >= 1) & (block <= num_classes), block, 0).astype(np.uint8)


def erode_classes(
    classes: npt.NDArray[np.uint8], wide: Region, region: Region
) -> npt.NDArray[np.uint8]:
    """Keep the voxels of a region whose six neighbours are all of their class.

    Parameters
    ----------
    classes : ndarray of uint8, (z, y, x)
        Voxels of ``wide``, 0 = background.
    wide : Region
        The region with a halo of one voxel, cut at the volume: beyond its faces everything
        counts as inside.
    region : Region
        What is wanted.

    Returns
    -------
    eroded : ndarray of uint8, (z, y, x)
        Of each class the binary erosion, as `scipy.ndimage.binary_erosion` with
        ``border_value=1`` gives it class by class.

    Examples
    --------
    >>> line = np.array([[[1, 1, 1, 2, 2]]], np.uint8)
    >>> whole = (slice(0, 1), slice(0, 1), slice(0, 5))
    >>> erode_classes(line, whole, whole).tolist()
    [[[1, 1, 0, 0, 2]]]
    """
    start = np.array([r.start - w.start for r, w in zip(region, wide, strict=True)], np.int64)
    eroded = np.empty(region_shape(region), np.uint8)
    erode_map(np.ascontiguousarray(classes), start, eroded)
    return eroded
