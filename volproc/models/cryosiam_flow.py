"""Networks of CryoSiam as layers that `volproc.models.streaming` runs."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import cast

import torch
from torch import nn

from volproc.core.errors import ModelError
from volproc.core.model import ModelSpec
from volproc.models.cryosiam_layers import STRIDES, ResidualBlock
from volproc.models.cryosiam_networks import DENOISER, SEMANTIC, CryoSiamNetwork
from volproc.models.networks import build
from volproc.models.streaming import (
    Convolution,
    Flow,
    Interpolation,
    Layer,
    Pooling,
    Same,
    Term,
)
from volproc.models.streaming_tensors import fold
from volproc.models.weights import build_arguments


def flow_of(network: CryoSiamNetwork, *, has_weights: bool = True) -> Flow:
    """Lay a network out as layers, each normalisation folded into its convolution.

    Parameters
    ----------
    network : CryoSiamNetwork
        In evaluation mode.
    has_weights : bool
        Make the layers that compute; False for a plan.

    Returns
    -------
    flow : tuple of Layer
        Its outputs are those of the heads, one after the other.

    Notes
    -----
    The weights are copied once.
    """
    return _Builder(network, has_weights=has_weights).build()


def plan_flow(spec: ModelSpec) -> Flow:
    """Layers of a network without its weights; no memory is taken for them.

    Parameters
    ----------
    spec : ModelSpec
        A network of CryoSiam.

    Raises
    ------
    ModelError
        If it is another network.
    """
    if spec.architecture not in (SEMANTIC, DENOISER):
        msg = (
            f"the reach of networks of CryoSiam is known, got {spec.architecture}. "
            "Use overlapping patches."
        )
        raise ModelError(msg)
    return _plan_once(spec.architecture, json.dumps(build_arguments(spec), sort_keys=True))


@lru_cache(maxsize=32)
def _plan_once(architecture: str, arguments: str) -> Flow:
    with torch.device("meta"):
        network = build(architecture, **json.loads(arguments))
    return flow_of(cast("CryoSiamNetwork", network), has_weights=False)


class _Builder:
    """Adds layer after layer."""

    def __init__(self, network: CryoSiamNetwork, *, has_weights: bool) -> None:
        self._network, self._has_weights = network, has_weights
        self._layers = [Layer((), network.encoder.conv1.in_channels)]

    def build(self) -> Flow:
        network = self._network
        features = self._pyramid(self._encoder())
        features = self._sequence(features, network.projector)
        ends = []
        for name in network.heads:
            end = self._sequence(features, cast("nn.Sequential", network.get_submodule(name)))
            if network.encoder.max_pool:
                end = self._add([(end, Interpolation(0))], self._layers[end].channels)
            ends.append(end)
        channels = sum(self._layers[end].channels for end in ends)
        joined = tuple((end, Same()) for end in ends)
        return (*self._layers, Layer(joined, channels, is_joined=True))

    def _add(
        self, terms: list[tuple[int, Term]], channels: int, *, is_rectified: bool = False
    ) -> int:
        """Add a layer and return its number."""
        self._layers.append(Layer(tuple(terms), channels, is_rectified))
        return len(self._layers) - 1

    def _convolution(self, convolution: nn.Module, norm: nn.Module | None = None) -> Convolution:
        own, other = cast("nn.Conv3d", convolution), cast("nn.BatchNorm3d | None", norm)
        return Convolution(
            own.kernel_size[0],
            own.stride[0],
            own.in_channels,
            own.out_channels,
            fold(own, other) if self._has_weights else None,
        )

    def _encoder(self) -> list[int]:
        """Numbers of the layers that end the stages, the finest first."""
        encoder = self._network.encoder
        stem = self._convolution(encoder.conv1, encoder.bn1)
        given = self._add([(0, stem)], stem.outputs, is_rectified=True)
        if encoder.max_pool:
            given = self._add([(given, Pooling())], stem.outputs)
        stages = []
        for number in range(1, len(STRIDES) + 1):
            for block in cast("nn.Sequential", encoder.get_submodule(f"layer{number}")):
                given = self._block(given, cast("ResidualBlock", block))
            stages.append(given)
        return stages

    def _block(self, given: int, block: ResidualBlock) -> int:
        end = given
        for number in range(1, block.depth + 1):
            names = (f"conv{number}", f"bn{number}")
            own = self._convolution(*map(block.get_submodule, names))
            terms: list[tuple[int, Term]] = [(end, own)]
            if number == block.depth:
                is_same = isinstance(block.downsample, nn.Identity)
                around = cast("nn.Sequential", block.downsample)
                terms.append((given, Same() if is_same else self._convolution(*around)))
            end = self._add(terms, own.outputs, is_rectified=True)
        return end

    def _pyramid(self, stages: list[int]) -> int:
        decoder = self._network.decoder
        merged = -1
        for number, stage in enumerate(reversed(stages), 1):
            lateral = self._convolution(decoder.get_submodule(f"layer{number}"))
            terms: list[tuple[int, Term]] = [(stage, lateral)]
            if merged >= 0:
                terms.append((merged, Interpolation(stage)))
            merged = self._add(terms, lateral.outputs)
        if decoder.last:
            later = self._convolution(decoder.get_submodule(decoder.last))
            merged = self._add([(merged, later)], later.outputs)
        return merged

    def _sequence(self, given: int, modules: nn.Sequential) -> int:
        """Add convolutions, each with the normalisation and the rectifier that follow it."""
        found = list(modules)
        for place, module in enumerate(found):
            if not isinstance(module, nn.Conv3d):
                continue
            following = found[place + 1 : place + 3]
            norm = next((m for m in following[:1] if isinstance(m, nn.BatchNorm3d)), None)
            own = self._convolution(module, norm)
            is_rectified = any(isinstance(m, nn.ReLU) for m in following[norm is not None :][:1])
            given = self._add([(given, own)], own.outputs, is_rectified=is_rectified)
        return given
