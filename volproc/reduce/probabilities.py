"""Stored probabilities as numbers from 0 to 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import NonFiniteError
from volproc.core.types import Region

SCORE_UNITS = 65535
"""What a probability of one is as a whole number, so that sums do not depend on their order."""


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
    found = block.astype(np.float64) / unit
    is_broken = ~np.isfinite(found)
    if is_broken.any():
        first = np.argwhere(is_broken)[0].tolist()
        place = [i + side.start for i, side in zip(first, region, strict=True)]
        msg = (
            f"the probabilities of {name} have {np.count_nonzero(is_broken)} NaN or infinite "
            f"voxels in a block, the first at (z, y, x) = {place}. Make the map again."
        )
        raise NonFiniteError(msg)
    return found


def as_units(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    """Probabilities as whole numbers of `SCORE_UNITS`; beyond 0 and 1 they are cut.

    >>> as_units(np.array([0.0, 0.5, 1.0, 1.2])).tolist()
    [0, 32768, 65535, 65535]
    """
    rounded = np.rint(np.clip(probabilities, 0, 1) * SCORE_UNITS)
    return rounded.astype(np.uint16)
