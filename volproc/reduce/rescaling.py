"""Labels on a coarser or finer grid, block by block."""

from __future__ import annotations

from itertools import accumulate
from typing import Any, Literal

import numpy as np

from volproc.core.errors import ConfigError
from volproc.core.types import Shape
from volproc.reduce.label_kernels import shrink_cells
from volproc.reduce.numbering import Labels, as_unsigned
from volproc.reduce.placement import lift

Method = Literal["majority", "nearest"]


def shrink_labels(labels: Labels, factors: Shape, method: Method) -> Labels:
    """Make labels coarser.

    Parameters
    ----------
    labels : ndarray of int or bool, (z, y, x) or (y, x)
        0 = background. It begins at the beginning of a cell; the last cells may be cut off.
    factors : tuple of int
        Voxels of a cell, an axis.
    method : {"majority", "nearest"}
        The most frequent label of each cell, background counting as any other; of equally
        frequent ones an object before background, then the smaller label. Or the first voxel.

    Returns
    -------
    coarse : ndarray
        Of the same type; sizes are rounded up.

    Examples
    --------
    >>> labels = np.array([[0, 0, 4, 4, 9], [0, 7, 0, 0, 9]])
    >>> shrink_labels(labels, (2, 2), "majority")
    array([[0, 4, 9]])
    >>> shrink_labels(labels, (2, 3), "nearest")
    array([[0, 4]])
    """
    if method == "nearest":
        return labels[tuple(slice(None, None, f) for f in factors)].copy()
    plain = lift(as_unsigned(labels))
    cells = (1,) * (3 - labels.ndim) + factors
    out = np.empty([-(-n // f) for n, f in zip(plain.shape, cells, strict=True)], plain.dtype)
    shrink_cells(plain, out, *cells)
    return out.reshape(out.shape[3 - labels.ndim :]).astype(labels.dtype, copy=False)


def enlarge_labels(labels: Labels, factors: Shape) -> Labels:
    """Repeat each voxel along each axis.

    >>> enlarge_labels(np.array([[3, 0]]), (1, 2))
    array([[3, 3, 0, 0]])
    """
    for axis, factor in enumerate(factors):
        if factor > 1:
            labels = np.repeat(labels, factor, axis)
    return labels


def cell_cuts(cut: tuple[int, ...], factor: int) -> tuple[int, ...]:
    """Move borders between chunks up to the next border between cells.

    >>> cell_cuts((3, 1, 4, 3), 2)
    (4, 4, 3)
    """
    size = sum(cut)
    ends = [min(-(-end // factor) * factor, size) for end in accumulate(cut)]
    return tuple(b - a for a, b in zip([0, *ends], ends, strict=False) if b > a)


def as_factors(factor: Any, ndim: int) -> Shape:
    """Return one factor an axis.

    Raises
    ------
    ConfigError
        If there are not as many as axes, or one is not a positive integer.

    Examples
    --------
    >>> as_factors(2, 3)
    (2, 2, 2)
    """
    given: list[Any] = [factor] * ndim if np.ndim(factor) == 0 else list(factor)
    if len(given) != ndim:
        msg = f"a factor has one number an axis, {ndim} of them, got {factor}."
        raise ConfigError(msg)
    for number in given:
        is_integer = isinstance(number, (int, np.integer)) and not isinstance(number, bool)
        if not (is_integer and number >= 1):
            msg = (
                f"a factor is an integer of at least 1, got {factor}. Use upscale where downscale "
                "would need a fraction, and the other way round."
            )
            raise ConfigError(msg)
    return tuple(int(number) for number in given)
