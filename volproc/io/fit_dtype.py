"""Voxels in the type of a file, or a refusal: never a silent overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import FormatError


def fit_dtype(
    block: npt.NDArray[Any], dtype: np.dtype[Any], address: str = "the file"
) -> npt.NDArray[Any]:
    """Convert a block to the type on disk if every value survives.

    Parameters
    ----------
    block : ndarray
        Voxels.
    dtype : dtype
        Type on disk. Floating-point numbers may lose digits, but not become infinite; integers
        keep all of theirs.
    address : str
        For the message.

    Returns
    -------
    converted : ndarray
        The block itself if it is of that type.

    Raises
    ------
    FormatError
        If an integer lies outside the type, a number would become infinite, or numbers with
        fractions would become integers.

    Examples
    --------
    >>> fit_dtype(np.array([1, 255]), np.dtype(np.uint8)).dtype
    dtype('uint8')
    """
    if block.dtype == dtype or block.size == 0 or np.can_cast(block.dtype, dtype, "safe"):
        return block.astype(dtype, copy=False)
    low, high = block.min(), block.max()
    fits: bool
    if dtype.kind == "b":
        fits = bool(np.isin(block, (0, 1)).all())
    elif dtype.kind in "iu":
        limits = np.iinfo(dtype)
        is_whole = block.dtype.kind in "biu" or bool((block == np.rint(block)).all())
        fits = is_whole and bool(limits.min <= low and high <= limits.max)
    elif block.dtype.kind in "iu":
        # Labels beyond this would silently become their neighbours.
        most = 2 ** (int(np.finfo(dtype).nmant) + 1)
        fits = -most <= int(low) and int(high) <= most
    else:
        finite = block[np.isfinite(block)] if block.dtype.kind == "f" else block
        largest = np.finfo(dtype).max
        fits = not finite.size or max(-float(finite.min()), float(finite.max())) <= float(largest)
    if not fits:
        msg = (
            f"values of type {block.dtype} from {low} to {high} do not fit {dtype} in {address}. "
            "Choose a wider type (.ome.zarr and .h5 have all of them), or rescale them first."
        )
        raise FormatError(msg)
    return block.astype(dtype)
