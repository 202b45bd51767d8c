"""What of a map is lamella, before it is cleaned: from probabilities, a mask or classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import DtypeError, NonFiniteError
from volproc.core.types import Region
from volproc.reduce.probabilities import as_probabilities

SLACK = 1e-3
"""How far a probability may lie outside of 0…1."""

THRESHOLD = 0.5
"""Probability above which a voxel is lamella, where no other is given."""

MOST_NAMED = 5
"""Values that an error names."""


def lamella_voxels(
    voxels: npt.NDArray[Any],
    region: Region,
    *,
    name: str,
    threshold: float | None = None,
    class_value: int | None = None,
) -> npt.NDArray[np.bool_]:
    """Voxels of a block that are lamella.

    Parameters
    ----------
    voxels : ndarray, (z, y, x)
        A mask of 0 and 1, probabilities, or classes.
    region : tuple of slice
        Where the block lies in the volume.
    name : str
        Of the map, for messages.
    threshold : float, optional
        Voxels above it are lamella; 0.5 for floats. Of integers without a sign the greatest one
        counts as 1, but only where a threshold is given.
    class_value : int, optional
        Voxels of this value are lamella.

    Raises
    ------
    NonFiniteError
        If probabilities are NaN or infinite.
    DtypeError
        If values are neither probabilities nor those of a mask, and no class was named.

    Examples
    --------
    >>> classes = np.array([[[0, 1, 2]]])
    >>> whole = (slice(0, 1), slice(0, 1), slice(0, 3))
    >>> lamella_voxels(classes, whole, name="map", class_value=2)
    array([[[False, False,  True]]])
    """
    if class_value is not None:
        found: npt.NDArray[np.bool_] = voxels == class_value
        return found
    if voxels.dtype.kind == "f" or threshold is not None:
        least = THRESHOLD if threshold is None else threshold
        likely: npt.NDArray[np.bool_] = probabilities_of(voxels, region, name=name) > least
        return likely
    is_in: npt.NDArray[np.bool_] = voxels == 1
    if not (is_in | (voxels == 0)).all():
        others = np.unique(voxels[~is_in & (voxels != 0)])[:MOST_NAMED]
        msg = (
            f"{name} holds {', '.join(map(str, others.tolist()))} beside 0 and 1, so it is no "
            "mask. Name the class of the lamella with class_value= (--class), or a threshold= "
            "(--threshold) where these are probabilities."
        )
        raise DtypeError(msg)
    return is_in


def probabilities_of(
    voxels: npt.NDArray[Any], region: Region, *, name: str
) -> npt.NDArray[np.floating[Any]]:
    """Voxels of a block as probabilities; float32 stays what it is.

    Raises
    ------
    NonFiniteError, DtypeError
        As in `lamella_voxels`.
    """
    if voxels.dtype.kind not in "fub":
        msg = f"{name} holds {voxels.dtype} voxels, and no probabilities. Convert it first."
        raise DtypeError(msg)
    if voxels.dtype.kind != "f":
        return as_probabilities(voxels, name, region)
    low, high = float(voxels.min()), float(voxels.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        place = np.argwhere(~np.isfinite(voxels))[0].tolist()
        at = [i + side.start for i, side in zip(place, region, strict=True)]
        msg = f"{name} has NaN or infinite voxels, the first of a block at (z, y, x) = {at}. "
        raise NonFiniteError(f"{msg}Make the map again.")
    if low < -SLACK or high > 1 + SLACK:
        msg = (
            f"{name} has values from {low:.4g} to {high:.4g}, which are no probabilities. Name the "
            "class of the lamella with class_value= (--class), or scale the map to 0…1."
        )
        raise DtypeError(msg)
    return voxels
