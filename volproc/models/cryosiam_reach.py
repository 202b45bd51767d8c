"""How far a network of CryoSiam looks, and where a volume may be cut so that nobody can tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from volproc.core.errors import ModelError
from volproc.core.model import ModelSpec
from volproc.models.cryosiam_layers import STEM_KERNEL, STRIDES
from volproc.models.cryosiam_networks import DENOISER, SEMANTIC

Interval = tuple[int, int]
"""First and last voxel along an axis."""


def alignment(spec: ModelSpec) -> int:
    """Return what the first voxel of a block must be a multiple of, along each axis.

    Raises
    ------
    ModelError
        If this is no network of CryoSiam.

    Notes
    -----
    A block that starts elsewhere is halved at other voxels than the whole volume is.
    """
    return _total_stride(_params(spec))


def receptive_reach(spec: ModelSpec) -> tuple[int, int]:
    """Return how many voxels below and above a voxel its output depends on, at most.

    Parameters
    ----------
    spec : ModelSpec
        A network of CryoSiam.

    Returns
    -------
    below, above : int
        The same along each axis. They differ between voxels by their place within the total
        stride; the largest are given.

    Raises
    ------
    ModelError
        If this is no network of CryoSiam.

    Notes
    -----
    The voxels that an output depends on are followed back from layer to layer: a convolution
    widens them by half its kernel, a stride multiplies, an interpolation halves and takes the
    neighbour. Of all ways through the network the one by the coarsest stage is the widest, since
    each finer one is a part of it.
    """
    params = _params(spec)
    below = above = 0
    for voxel in range(_total_stride(params)):
        first, last = _seen_by(voxel, params)
        below, above = max(below, voxel - first), max(above, last - voxel)
    return below, above


def receptive_halo(spec: ModelSpec) -> int:
    """Return the halo with which blocks give what the whole volume gives, voxels per side.

    Parameters
    ----------
    spec : ModelSpec
        A network of CryoSiam.

    Returns
    -------
    halo : int
        A multiple of `alignment`, so that a block whose core starts at a multiple does so as well:
        48 for the published networks. It ends at the borders of the volume; there nothing is
        padded, since the network itself pads each of its layers.

    Raises
    ------
    ModelError
        If this is no network of CryoSiam.

    Notes
    -----
    The sides of the whole volume must be multiples of `alignment` too: else a coarse stage is not
    half as wide as the finer one, and what is interpolated from it is shifted everywhere by a part
    of a voxel.
    """
    step = alignment(spec)
    return -(-max(receptive_reach(spec)) // step) * step


def _params(spec: ModelSpec) -> Mapping[str, Any]:
    if spec.architecture not in (SEMANTIC, DENOISER):
        msg = (
            f"the reach of networks of CryoSiam is known, got {spec.architecture}. "
            "Use overlapping patches."
        )
        raise ModelError(msg)
    return spec.params


def _total_stride(params: Mapping[str, Any]) -> int:
    return 16 if params.get("max_pool", False) else 8


def _seen_by(voxel: int, params: Mapping[str, Any]) -> Interval:
    """Return the voxels of the input that one voxel of the output depends on."""
    seen = (voxel, voxel)
    if params.get("max_pool", False):
        seen = _through_interpolation(seen)
    later = (3,) if params.get("later_conv", False) else ()
    for kernel in (*params.get("head_kernels", (3, 3, 3)), *later):
        seen = _through_convolution(seen, kernel, 1)
    for _ in STRIDES[1:]:
        seen = _through_interpolation(seen)
    kernels = (3, 3) if params.get("block_type", "basic") == "basic" else (3,)
    for num, stride in zip(reversed(params["num_layers"]), reversed(STRIDES), strict=True):
        for block in reversed(range(num)):
            for i in reversed(range(len(kernels))):
                is_strided = block == 0 and i == 0
                seen = _through_convolution(seen, 3, stride if is_strided else 1)
    if params.get("max_pool", False):
        seen = _through_convolution(seen, 3, 2)
    return _through_convolution(seen, STEM_KERNEL, 1)


def _through_convolution(seen: Interval, kernel: int, stride: int) -> Interval:
    return seen[0] * stride - kernel // 2, seen[1] * stride + kernel // 2


def _through_interpolation(seen: Interval) -> Interval:
    """Return the coarse voxels next to fine ones, of which each lies between two."""
    return (2 * seen[0] - 1) // 4, (2 * seen[1] - 1) // 4 + 1
