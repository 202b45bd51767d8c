"""Blend weights of a patch, and their sum over a grid of patches."""

from __future__ import annotations

from functools import lru_cache, reduce
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt

from volproc.core.types import Index, Region, Shape, region_shape
from volproc.models.blend_kernels import add_window
from volproc.plan.patches import PatchGrid

WindowName = Literal["gaussian", "constant"]

FLOOR = 1e-3
"""Least weight of a voxel, so that corners that one patch alone covers are not divided by 0."""


def make_window(
    patch: Shape, *, kind: WindowName = "gaussian", sigma_scale: float = 0.125
) -> npt.NDArray[np.float32]:
    """Blend weights of a patch.

    Parameters
    ----------
    patch : tuple of int
        (z, y, x), voxels.
    kind : {"gaussian", "constant"}
        A Gaussian about the centre of the patch, or ones.
    sigma_scale : float
        Standard deviation of the Gaussian, as a part of the patch's side.

    Returns
    -------
    window : ndarray of float32, (z, y, x)
        Weights in [`FLOOR`, 1]; equal to MONAI's importance map.

    References
    ----------
    Isensee et al. (2021), nnU-Net, Nature Methods 18:203, for the Gaussian weighting.
    """
    if kind == "constant":
        return np.ones(patch, np.float32)
    window = np.ones(patch, np.float32)
    for axis, size in enumerate(patch):
        distance = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
        sigma = np.float32(size * sigma_scale)
        line = np.exp(-(distance**2) / (2 * sigma**2)).astype(np.float32)
        window *= line.reshape([-1 if a == axis else 1 for a in range(len(patch))])
    return np.maximum(window, np.float32(max(float(window.min()), FLOOR)))


def sum_windows(
    grid: PatchGrid, region: Region, *, kind: WindowName, sigma_scale: float
) -> npt.NDArray[np.float64]:
    """Sum of the weights of all patches of a grid that reach into a region.

    It follows from the grid alone, whoever computes the patches; so no volume of counts is kept.

    Returns
    -------
    weights : ndarray of float64, the region's shape
        Summed in the raster order of the patches, hence the same bits for every region that
        holds a voxel.

    Notes
    -----
    Nothing of the region's size is kept: beside a network the sum costs little, and kept ones
    of a few blocks would take more memory than the blocks.
    """
    window = _kept_window(grid.patch, kind, sigma_scale)
    total = np.zeros(region_shape(region), np.float64)
    near = (
        [a for a in starts if a < s.stop and a + p > s.start]
        for starts, p, s in zip(grid.starts, grid.patch, region, strict=True)
    )
    for start in product(*near):
        first = tuple(max(s.start - a, 0) for a, s in zip(start, region, strict=True))
        last = tuple(min(s.stop - a, p) for a, p, s in zip(start, grid.patch, region, strict=True))
        corner = tuple(max(a - s.start, 0) for a, s in zip(start, region, strict=True))
        add_window(total, corner, window, first, last)
    return total


def weigh_patch(
    grid: PatchGrid, start: Index, *, kind: WindowName, sigma_scale: float, share: float
) -> npt.NDArray[np.float32]:
    """Weights of one patch, of which those of all patches at a voxel sum up to the same number.

    Sums over several grids need them: there the sum of the weights is that of the shares, and
    not a volume of its own a grid.

    Parameters
    ----------
    grid : PatchGrid
        The patches.
    start : tuple of int
        First voxel of the patch.
    kind, sigma_scale
        As in `make_window`.
    share : float
        Sum of the weights at each voxel.

    Returns
    -------
    weights : ndarray of float32, (z, y, x)
        Of the patch's shape; 0 where it hangs over the volume's edge.

    Notes
    -----
    A patch of constant weights takes a product of three lines, one of Gaussians as many additions
    of its size as patches overlap it.
    """
    weights = np.zeros(grid.patch, np.float32)
    inside = tuple(
        slice(max(a, 0), min(a + p, n))
        for a, p, n in zip(start, grid.patch, grid.shape, strict=True)
    )
    part = tuple(slice(s.start - a, s.stop - a) for s, a in zip(inside, start, strict=True))
    if kind == "constant":
        lines = [
            _count(starts, p, s)
            for starts, p, s in zip(grid.starts, grid.patch, inside, strict=True)
        ]
        weights[part] = share / reduce(np.multiply.outer, lines)
    else:
        total = sum_windows(grid, inside, kind=kind, sigma_scale=sigma_scale)
        weights[part] = _kept_window(grid.patch, kind, sigma_scale)[part] * share / total
    return weights


def _count(starts: tuple[int, ...], patch: int, line: slice) -> npt.NDArray[np.float64]:
    """Patches that cover each voxel of a line."""
    count = np.zeros(line.stop - line.start, np.float64)
    for a in starts:
        count[max(a - line.start, 0) : max(a + patch - line.start, 0)] += 1
    return count


@lru_cache(maxsize=4)
def _kept_window(patch: Shape, kind: WindowName, sigma_scale: float) -> npt.NDArray[np.float32]:
    """Window of a patch, made once: the planes of a block are summed a few at a time."""
    window = make_window(patch, kind=kind, sigma_scale=sigma_scale)
    window.setflags(write=False)
    return window
