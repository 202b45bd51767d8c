"""How far a network of CryoSiam looks, and where cuts of a volume cost least."""

from __future__ import annotations

from volproc.core.model import ModelSpec
from volproc.models.cryosiam_flow import plan_flow
from volproc.models.streaming import demand, sizes_along

FAR = 64
"""Volume in which the reach is looked for, in total strides: its ends are out of reach."""


def alignment(spec: ModelSpec) -> int:
    """Return the total stride of a network along each axis, voxels.

    Raises
    ------
    ModelError
        If this is no network of CryoSiam.

    Notes
    -----
    A block that starts elsewhere computes some voxels of the coarse levels for its neighbour; with
    a network that takes a block by itself, its halved voxels would be others as well.
    """
    sizes = sizes_along(plan_flow(spec), 1 << 20)
    return (1 << 20) // min(sizes)


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
    The voxels that an output depends on are followed back from layer to layer. In a volume whose
    sides are no multiples of the total stride a coarse stage is a little more than half as wide as
    the finer one, and interpolated voxels see up to one coarse voxel further above.
    """
    flow = plan_flow(spec)
    step = alignment(spec)
    length = FAR * step
    sizes = sizes_along(flow, length)
    below = above = 0
    for voxel in range(length // 2, length // 2 + step):
        first, stop = demand(flow, sizes, (voxel, voxel + 1))[0]
        below, above = max(below, voxel - first), max(above, stop - 1 - voxel)
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
    """
    step = alignment(spec)
    return -(-max(receptive_reach(spec)) // step) * step
