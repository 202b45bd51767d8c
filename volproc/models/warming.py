"""The first pass of a process, which is slower than all others."""

from __future__ import annotations

import torch

from volproc.models.loading import LoadedModel


def warm_up(model: LoadedModel, *, batch_size: int = 1) -> None:
    """Send zeros through a network once, so that what follows can be timed.

    Parameters
    ----------
    model : LoadedModel
        The network.
    batch_size : int
        Patches per pass, as in what follows.

    Notes
    -----
    Kernels are chosen and loaded, and workspaces taken, at the first pass of each shape.
    """
    shape = (batch_size, model.spec.channels, *model.spec.patch)
    model(torch.zeros(shape, device=model.device))
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
