"""Memory that a network needs, found from a small patch."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, prod
from typing import Any

import torch

from volproc.core.errors import ModelError
from volproc.core.model import ModelSpec
from volproc.models import (  # noqa: F401  # they register their networks
    cryosiam_networks,
    octopi_networks,
)
from volproc.models.networks import build, minimum_multiple
from volproc.models.trusted import TRUSTED, Convolutions, load_trusted

TRIAL = 16
"""Side of the patch that a network is tried on, voxels, where its strides allow."""

UNFOLD_LIMIT = 20_480
"""PyTorch unfolds the input of a convolution on the CPU where its batch is 1 and channels, z and y
together are not above this (``use_mkldnn`` in its Convolution.cpp)."""

CHANNEL_BLOCK = 16
"""oneDNN lays channels out in blocks of so many, and copies what a convolution takes and gives."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What a convolution or attention saw when the small patch passed, numbers of float32."""

    taken: int
    """Its input."""

    given: int
    """Its output."""

    blocked: int
    """Copies of both with their channels in whole blocks."""

    unfolded: int
    """Its input, or of a transposed one its output, once for each voxel of the kernel."""

    column: int
    """Channels, z and y of its input, multiplied."""


def activation_bytes(spec: ModelSpec, *, batch_size: int = 1, on_device: bool = False) -> int:
    """Peak memory of one forward pass and of the weights, bytes.

    Parameters
    ----------
    spec : ModelSpec
        Architecture and patch.
    batch_size : int
        Patches per pass.
    on_device : bool
        Whether the network is on a GPU, where no input is unfolded.

    Returns
    -------
    num_bytes : int
        Weights, the hungriest convolution with its input, its output and its workspace, or the
        largest table of a transformer's attention, and the four largest outputs, which skip
        connections may hold.

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
    found = _try_out(_key(spec), spec.patch, spec.channels, _Held(spec))
    ratio = [p / t for p, t in zip(spec.patch, found.patch, strict=True)]

    def need(layer: Layer) -> int:
        is_unfolded = (
            not on_device and batch_size == 1 and layer.column * prod(ratio[:2]) <= UNFOLD_LIMIT
        )
        return layer.taken + layer.given + (layer.unfolded if is_unfolded else layer.blocked)

    kept = sum(sorted(layer.given for layer in found.layers)[-4:])
    largest = max(map(need, found.layers), default=0)
    scaled = (largest + kept) * batch_size * prod(spec.patch) // prod(found.patch)
    return found.weight_bytes + 4 * scaled


def weight_bytes(spec: ModelSpec) -> int:
    """Memory of the weights alone, bytes."""
    return _try_out(_key(spec), spec.patch, spec.channels, _Held(spec)).weight_bytes


def _key(spec: ModelSpec) -> tuple[str, str]:
    own = spec.sha256 if spec.architecture in TRUSTED else ""  # its parameters say little of it
    return f"{spec.architecture}{own}", repr((spec.num_classes, sorted(spec.params.items())))


class _Held:
    """A description that the cache does not compare: its key is beside it."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held)

    def __hash__(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class _Found:
    """What a pass of a small patch has shown."""

    patch: tuple[int, ...]
    layers: tuple[Layer, ...]
    weight_bytes: int


@lru_cache(maxsize=32)
def _try_out(key: Any, patch: tuple[int, ...], channels: int, held: _Held) -> _Found:
    spec = held.spec
    params = {"in_channels": spec.channels, "num_classes": spec.num_classes, **spec.params}
    is_trusted = spec.architecture in TRUSTED
    network = load_trusted(spec) if is_trusted else build(spec.architecture, **params).eval()
    multiple = minimum_multiple(spec.architecture, params)
    trial = _trial(patch, multiple)
    layers: list[Layer] = []

    def record(
        taken: torch.Tensor, given: torch.Tensor, kernel: tuple[int, ...], is_transposed: bool
    ) -> None:
        layers.append(_layer(taken, given, kernel, is_transposed))

    def hear(module: Any, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            record(inputs[0], output, module.kernel_size, module.transposed)

    def hear_attention(module: Any, inputs: Any, output: torch.Tensor) -> None:
        # Weights of all pairs of voxels in a window, before and after; no later layer sees them.
        layers.append(Layer(2 * output.numel(), 0, 0, 0, UNFOLD_LIMIT + 1))

    if not is_trusted:
        for module in network.modules():
            if isinstance(module, torch.nn.modules.conv._ConvNd):
                module.register_forward_hook(hear)
            elif isinstance(module, torch.nn.Softmax):
                module.register_forward_hook(hear_attention)
    try:
        with torch.no_grad(), Convolutions(record) if is_trusted else nullcontext():
            network(torch.zeros((1, channels, *trial)))
    except (RuntimeError, ValueError) as error:
        msg = (
            f'the network "{spec.architecture}" with {params} cannot take a patch of {patch}: '
            f"{error}. Use a larger patch, or fewer levels."
        )
        raise ModelError(msg) from error
    return _Found(trial, tuple(layers), sum(p.numel() * 4 for p in network.parameters()))


def _layer(
    taken: torch.Tensor, given: torch.Tensor, kernel: tuple[int, ...], is_transposed: bool
) -> Layer:
    blocked = [x.numel() // x.shape[1] * _whole_blocks(x.shape[1]) for x in (taken, given)]
    # A transposed convolution folds its output instead.
    wide, many = (given, taken) if is_transposed else (taken, given)
    return Layer(
        taken=taken.numel(),
        given=given.numel(),
        blocked=sum(blocked),
        unfolded=prod(kernel) * wide.shape[1] * many.numel() // many.shape[1],
        column=prod(taken.shape[1:4]),
    )


def _whole_blocks(channels: int) -> int:
    """Channels with those that fill up a block; few are not filled up."""
    return channels if channels < 4 else ceil(channels / CHANNEL_BLOCK) * CHANNEL_BLOCK


def _trial(patch: tuple[int, ...], multiple: tuple[int, ...]) -> tuple[int, ...]:
    """Size of the small patch: at least two voxels are left at the bottom of the network."""
    sides = [min(p, ceil(TRIAL / m) * m) for p, m in zip(patch, multiple, strict=True)]
    for axis, step in enumerate(multiple):
        if sides == list(multiple) and patch[axis] > step:
            sides[axis] = 2 * step
    return tuple(sides)
