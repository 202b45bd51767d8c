"""Memory that a network needs, found from a small patch."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, prod
from typing import Any

import torch

from volproc.core.errors import ModelError
from volproc.core.model import ModelSpec
from volproc.models.networks import build, minimum_multiple

TRIAL = 16
"""Side of the patch that a network is tried on, voxels, where its strides allow."""


def activation_bytes(spec: ModelSpec, *, batch_size: int = 1) -> int:
    """Peak memory of one forward pass and of the weights, bytes.

    Parameters
    ----------
    spec : ModelSpec
        Architecture and patch.
    batch_size : int
        Patches per pass.

    Returns
    -------
    num_bytes : int
        Weights, three copies of the largest layer's output (input, output and the workspace of a
        convolution), and every output that skip connections may hold.

    Raises
    ------
    ModelError
        If the network cannot take the patch.

    Notes
    -----
    The network runs once, on a patch of about `TRIAL` voxels a side; its layers' outputs grow with
    the voxels of the patch. PyTorch's meta device would do without a pass, but loads PyTorch's
    compiler and SymPy for it, which takes seconds at each start.
    """
    key = (spec.architecture, repr(sorted(spec.params.items())))
    return _estimate(key, spec.patch, spec.channels, batch_size, _Held(spec))


class _Held:
    """A description that the cache does not compare: its key is beside it."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=32)
def _estimate(key: Any, patch: tuple[int, ...], channels: int, batch_size: int, held: _Held) -> int:
    spec = held.spec
    params = {"in_channels": spec.channels, "num_classes": spec.num_classes, **spec.params}
    network = build(spec.architecture, **params).eval()
    multiple = minimum_multiple(spec.architecture, params)
    trial = tuple(min(p, _trial(m)) for p, m in zip(patch, multiple, strict=True))
    sizes: list[int] = []

    def record(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            sizes.append(output.numel() * 4)

    for module in network.modules():
        if isinstance(module, torch.nn.modules.conv._ConvNd):
            module.register_forward_hook(record)
    try:
        with torch.inference_mode():
            network(torch.zeros((1, channels, *trial)))
    except (RuntimeError, ValueError) as error:
        msg = (
            f'the network "{spec.architecture}" with {params} cannot take a patch of {patch}: '
            f"{error}. Use a larger patch, or fewer levels."
        )
        raise ModelError(msg) from error
    weights = sum(p.numel() * 4 for p in network.parameters())
    kept = 3 * max(sizes, default=0) + sum(sorted(sizes)[-4:])
    return weights + kept * batch_size * prod(patch) // prod(trial)


def _trial(multiple: int) -> int:
    """Side of the small patch: at least two voxels are left at the bottom of the network."""
    return max(2, ceil(TRIAL / multiple)) * multiple
