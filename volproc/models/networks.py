"""Networks by name: what a `ModelSpec` calls its architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from itertools import pairwise
from math import prod
from typing import Any, Literal, TypeVar

import torch
from torch import nn
from torch.nn import functional

from volproc.core.errors import ModelError, nearest
from volproc.core.types import ZYX
from volproc.models.monai_import import import_monai

Builder = TypeVar("Builder", bound=Callable[..., nn.Module])
Multiple = Callable[[Mapping[str, Any]], ZYX[int]]


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one kind of network is built, and what sizes it takes."""

    build: Callable[..., nn.Module]
    """From the parameters to a module that maps (b, c, z, y, x) to logits of the same size."""

    multiple: Multiple
    """From the parameters to the number that each side of a patch must be a multiple of."""


ARCHITECTURES: dict[str, Architecture] = {}
"""Architectures by name; `register` adds to them."""


def register(name: str, *, multiple: Multiple) -> Callable[[Builder], Builder]:
    """Make an architecture known under a name; a decorator for its class or builder.

    Parameters
    ----------
    name : str
        Name in a `volproc.core.model.ModelSpec` and in configs.
    multiple : callable
        From the parameters to the total stride (z, y, x).

    Raises
    ------
    ModelError
        If the name is taken.

    Examples
    --------
    >>> @register("one-convolution", multiple=lambda params: (1, 1, 1))
    ... def one_convolution(*, in_channels=1, num_classes=2):
    ...     return nn.Conv3d(in_channels, num_classes, 3, padding=1)
    >>> build("one-convolution", num_classes=4).out_channels
    4
    >>> del ARCHITECTURES["one-convolution"]
    """

    def add(builder: Builder) -> Builder:
        if name in ARCHITECTURES:
            msg = f'the architecture "{name}" is there already. Choose another name.'
            raise ModelError(msg)
        ARCHITECTURES[name] = Architecture(builder, multiple)
        return builder

    return add


def build(architecture: str, **params: Any) -> nn.Module:
    """Build a network with fresh weights.

    Parameters
    ----------
    architecture : str
        A name in `ARCHITECTURES`.
    **params
        Its parameters, JSON values.

    Returns
    -------
    network : torch.nn.Module
        From (b, c, z, y, x) to logits (b, classes, z, y, x).

    Raises
    ------
    ModelError
        If the name is unknown or a parameter does not fit.
    """
    known = _known(architecture)
    names = signature(known.build).parameters
    takes_all = any(p.kind is Parameter.VAR_KEYWORD for p in names.values())
    if not takes_all and (unknown := [name for name in params if name not in names]):
        msg = (
            f'the architecture "{architecture}" has no parameter "{unknown[0]}": '
            f"{nearest(unknown[0], names)}"
        )
        raise ModelError(msg)
    try:
        return known.build(**params)
    except (TypeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        msg = (
            f'the architecture "{architecture}" cannot be built with {params}: {error}. '
            "Check the parameters' names and values."
        )
        raise ModelError(msg) from error


def minimum_multiple(architecture: str, params: Mapping[str, Any]) -> ZYX[int]:
    """Return what each side (z, y, x) of a patch must be a multiple of: the total stride.

    Examples
    --------
    >>> minimum_multiple("unet3d", {"widths": [8, 16, 32, 64]})
    (8, 8, 8)
    """
    return _known(architecture).multiple(params)


def check_patch(architecture: str, params: Mapping[str, Any], patch: Sequence[int]) -> None:
    """Refuse a patch that the network would not give back at the same size.

    Raises
    ------
    ModelError
        Naming the axis and the nearest sizes that fit.
    """
    multiple = minimum_multiple(architecture, params)
    for axis, size, step in zip("zyx", patch, multiple, strict=True):
        if size < step or size % step:
            lower, upper = max(step, size // step * step), (size // step + 1) * step
            msg = (
                f'a patch of "{architecture}" is a multiple of {step} along {axis}, got {size}. '
                f"Use {lower} or {upper}."
            )
            raise ModelError(msg)


def _known(architecture: str) -> Architecture:
    if architecture not in ARCHITECTURES:
        msg = f'no architecture is called "{architecture}": {nearest(architecture, ARCHITECTURES)}'
        raise ModelError(msg)
    return ARCHITECTURES[architecture]


def _halvings(params: Mapping[str, Any]) -> ZYX[int]:
    return (2 ** (len(params.get("widths", UNet3d.WIDTHS)) - 1),) * 3


@register("unet3d", multiple=_halvings)
class UNet3d(nn.Module):
    """A plain, small U-Net: two convolutions a level, nearest-neighbour upsampling.

    Parameters
    ----------
    widths : sequence of int
        Channels of each level; every level but the first halves z, y and x.
    in_channels, num_classes : int
        Channels in and out.
    """

    WIDTHS = (8, 16, 32)

    def __init__(
        self, *, widths: Sequence[int] = WIDTHS, in_channels: int = 1, num_classes: int = 2
    ) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            msg = f"a U-Net needs at least one level of positive width, got widths {widths}."
            raise ModelError(msg)
        inputs = (in_channels, *widths[:-1])
        self.down = nn.ModuleList(
            nn.Sequential(_convolution(i, o), _convolution(o, o))
            for i, o in zip(inputs, widths, strict=True)
        )
        self.up = nn.ModuleList(
            _convolution(fine + coarse, fine) for fine, coarse in pairwise(widths)
        )
        self.head = nn.Conv3d(widths[0], num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (b, c, z, y, x) to logits (b, classes, z, y, x)."""
        skips = []
        for level, convolutions in enumerate(self.down):
            x = convolutions(functional.max_pool3d(x, 2) if level else x)
            skips.append(x)
        for level in range(len(self.up) - 1, -1, -1):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.up[level](torch.cat([skips[level], x], 1))
        return self.head(x)


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, padding=1, bias=False),
        nn.InstanceNorm3d(outputs, affine=True),
        nn.LeakyReLU(0.1, inplace=True),
    )


def _strides(params: Mapping[str, Any]) -> ZYX[int]:
    return (prod(params.get("strides", (2, 2))),) * 3


@register("monai-unet", multiple=_strides)
def monai_unet(
    *,
    channels: Sequence[int] = (16, 32, 64),
    strides: Sequence[int] = (2, 2),
    num_res_units: int = 1,
    norm: Literal["INSTANCE", "BATCH"] = "INSTANCE",
    dropout: float = 0.0,
    in_channels: int = 1,
    num_classes: int = 2,
) -> nn.Module:
    """MONAI's residual U-Net, every argument that matters given.

    Parameters
    ----------
    channels, strides : sequence of int
        Widths of the levels, and the strides between them.
    num_res_units : int
        Convolutions of a residual unit; 0 for plain ones.
    norm : {"INSTANCE", "BATCH"}
        Normalisation.
    dropout : float
        Probability, in [0, 1).
    in_channels, num_classes : int
        Channels in and out.
    """
    network: nn.Module = import_monai("monai.networks.nets").UNet(
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=num_classes,
        channels=tuple(channels),
        strides=tuple(strides),
        kernel_size=3,
        up_kernel_size=3,
        num_res_units=num_res_units,
        act="PRELU",
        norm=norm,
        dropout=dropout,
        bias=True,
        adn_ordering="NDA",
    )
    return network
