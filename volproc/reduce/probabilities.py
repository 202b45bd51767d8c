"""Stored probabilities, their variances, and weights of voxels, as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import NonFiniteError
from volproc.core.types import Region

LARGEST_VARIANCE = 0.25
"""Variance of a number of which half are 0 and half are 1: no probability has a larger one."""


def as_probabilities(block: npt.NDArray[Any], name: str, region: Region) -> npt.NDArray[np.float64]:
    """Probabilities of a block; integers are parts of their type's greatest.

    Parameters
    ----------
    block : ndarray
        Floats, which are taken as they are, or integers without a sign.
    name : str
        Class, for messages.
    region : tuple of slice
        Where the block lies in the volume.

    Raises
    ------
    NonFiniteError
        If some are NaN or infinite.

    Examples
    --------
    >>> as_probabilities(np.array([0, 51, 255], np.uint8), "ribosome", (slice(0, 3),))
    array([0. , 0.2, 1. ])
    """
    unit = 1.0 if block.dtype.kind in "fb" else float(np.iinfo(block.dtype).max)
    return _finite(block, f"the probabilities of {name}", region) / unit


def as_variances(block: npt.NDArray[Any], name: str, region: Region) -> npt.NDArray[np.float64]:
    """Variances of probabilities; integers are parts of the largest that there can be, 0.25.

    Parameters
    ----------
    block, name, region
        As in `as_probabilities`.

    Raises
    ------
    NonFiniteError
        If some are NaN or infinite.

    Examples
    --------
    >>> as_variances(np.array([0, 51, 255], np.uint8), "ribosome", (slice(0, 3),))
    array([0.  , 0.05, 0.25])
    """
    unit = 1.0 if block.dtype.kind in "fb" else np.iinfo(block.dtype).max / LARGEST_VARIANCE
    return _finite(block, f"the variances of {name}", region) / unit


def as_weights(block: npt.NDArray[Any], name: str, region: Region) -> npt.NDArray[np.float64]:
    """Weights of voxels, in any unit: numbers below 0 count as 0.

    Parameters
    ----------
    block, name, region
        As in `as_probabilities`; integers may have a sign.

    Raises
    ------
    NonFiniteError
        If some are NaN or infinite.

    Examples
    --------
    >>> as_weights(np.array([-3.0, 0.5, 4.0]), "ribosome", (slice(0, 3),))
    array([0. , 0.5, 4. ])
    """
    return np.maximum(_finite(block, f"the weights of {name}", region), 0.0)


def _finite(block: npt.NDArray[Any], what: str, region: Region) -> npt.NDArray[np.float64]:
    """Voxels as float64; an error where some are no numbers."""
    found = block.astype(np.float64)
    is_broken = ~np.isfinite(found)
    if is_broken.any():
        first = np.argwhere(is_broken)[0].tolist()
        place = [i + side.start for i, side in zip(first, region, strict=True)]
        msg = (
            f"{what} have {np.count_nonzero(is_broken)} NaN or infinite voxels in a block, the "
            f"first at (z, y, x) = {place}. Make the map again."
        )
        raise NonFiniteError(msg)
    return found
