"""Outputs of a network of CryoSiam for a region, as it gives them for the whole volume."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import numpy.typing as npt
import torch

from volproc.core.types import Region, Shape
from volproc.models.cryosiam_flow import flow_of
from volproc.models.cryosiam_layers import scale_intensity
from volproc.models.cryosiam_networks import CryoSiamNetwork
from volproc.models.loading import LoadedModel, check_channels
from volproc.models.streaming import Stream
from volproc.models.streaming_tensors import Read, Tensors
from volproc.models.views import IDENTITY, View

SLAB = 4
"""Planes that are computed at once, unless a plan says otherwise."""


def stream_region(
    model: LoadedModel,
    shape: Shape,
    keep: Region,
    read: Read,
    *,
    slab: int = SLAB,
    view: View = IDENTITY,
) -> Iterator[tuple[Region, torch.Tensor]]:
    """Compute a region of what a network gives for a whole volume.

    Parameters
    ----------
    model : LoadedModel
        Of CryoSiam, with one channel in.
    shape : tuple of int
        Size of the whole volume, (z, y, x), voxels; any.
    keep : region
        Which voxels are wanted; any.
    read : callable
        Gives a region of the volume, float32, (z, y, x). Only what the outputs depend on is read,
        each voxel once.
    slab : int
        Planes that are computed at once; the more, the more memory.
    view : View
        How the volume is turned before the network sees it; the outputs are turned back.

    Yields
    ------
    region : region
        Planes of ``keep``; those of a view that flips z come in the opposite order.
    outputs : tensor of float32, (channels, z, y, x)
        What the network gives there, not activated, on the device of the model.

    Raises
    ------
    ModelError
        If the network takes more than one channel.

    Notes
    -----
    The outputs are those of ``model(volume)`` but for the rounding of float32, whatever is kept:
    where a layer sees beyond the volume it sees zeros, and beyond the region it sees what it would
    see in the whole volume. Each layer computes just what the outputs depend on, and once.
    """
    check_channels(model.spec, 1)
    network = cast("CryoSiamNetwork", model.network)

    def read_view(region: Region) -> npt.NDArray[np.float32]:
        voxels = torch.from_numpy(read(view.inverse_region(region, shape)))
        if network.intensity is not None:
            voxels = scale_intensity(voxels, network.intensity)
        return view.forward(voxels).numpy()

    turned, kept = view.forward_shape(shape), view.forward_region(keep, shape)
    arrays = Tensors(read_view, model.device, model.precision)
    for (begin, end), outputs in Stream(flow_of(network), turned, kept, arrays, slab=slab):
        outputs = outputs.permute(3, 0, 1, 2).float()
        if network.is_alone:
            outputs = torch.cat([torch.zeros_like(outputs[:1]), outputs])
        region = view.inverse_region((slice(begin, end), *kept[1:]), shape)
        yield region, view.inverse(outputs)
