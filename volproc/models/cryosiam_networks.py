"""The networks of CryoSiam: a residual encoder, a pyramid, a projector, and heads.

::

    input ─ encoder ─┬ res2 (1)   ─ 1×1 ─ + ─ projector ─┬─ semantic head
                     ├ res3 (1/2) ─ 1×1 ─ +↑             └─ distance head
                     ├ res4 (1/4) ─ 1×1 ─ +↑
                     └ res5 (1/8) ─ 1×1 ──↑

What only the training needs is not here: the global projection, the predictors, the levels' losses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from volproc.core.errors import ModelError
from volproc.core.types import ZYX
from volproc.models.cryosiam_layers import (
    EXPANSION,
    BlockType,
    Encoder,
    Pyramid,
    build_head,
    build_projector,
    resize,
    scale_intensity,
)
from volproc.models.networks import register

Activation = Literal["softmax", "sigmoid"]
HeadName = Literal["semantic", "distance"]

SEMANTIC = "cryosiam-semantic"
DENOISER = "cryosiam-denoiser"


class CryoSiamNetwork(nn.Module):
    """Encoder, pyramid, projector and the heads that are asked for.

    Parameters
    ----------
    block_type, num_layers, num_filters, max_pool
        See `Encoder`.
    fpn_channels : int
        Channels of the pyramid.
    later_conv : bool
        See `Pyramid`.
    projector : sequence of int
        Channels that the three 1×1×1 convolutions of the projector give.
    head_widths, head_kernels : sequence of int
        Channels of the inner convolutions of a head, and the odd kernels of all, one more.
    heads : mapping of str to int
        Name of a head's weights → channels it gives; outputs are concatenated in this order.
    is_alone : bool
        Whether the first head gives one channel, before which one of zeros is put.
    intensity : sequence of float or None
        Minimum, maximum, mean and standard deviation: see `scale_intensity`.
    in_channels : int
        Channels in.
    """

    def __init__(
        self,
        *,
        block_type: BlockType,
        num_layers: Sequence[int],
        num_filters: Sequence[int],
        fpn_channels: int,
        projector: Sequence[int],
        head_widths: Sequence[int],
        head_kernels: Sequence[int],
        heads: Mapping[str, int],
        max_pool: bool,
        later_conv: bool,
        is_alone: bool,
        intensity: Sequence[float] | None,
        in_channels: int,
    ) -> None:
        super().__init__()
        if block_type not in EXPANSION:
            msg = f'blocks are {", ".join(EXPANSION)}, got block_type "{block_type}". Correct it.'
            raise ModelError(msg)
        self.encoder = Encoder(
            in_channels,
            block_type=block_type,
            num_layers=num_layers,
            num_filters=num_filters,
            max_pool=max_pool,
        )
        widths = [width * EXPANSION[block_type] for width in num_filters]
        self.decoder = Pyramid(widths, fpn_channels, later_conv=later_conv)
        self.projector = build_projector(fpn_channels, *projector)
        for name, channels in heads.items():
            self.add_module(name, build_head(projector[-1], head_widths, head_kernels, channels))
        self.heads = tuple(heads)
        self.is_alone = is_alone
        self.intensity = None if intensity is None else tuple(intensity)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (b, c, z, y, x) to the heads' outputs (b, channels, z, y, x), not activated."""
        size = x.shape[2:]
        if self.intensity is not None:
            x = scale_intensity(x, self.intensity)
        features = self.projector(self.decoder(self.encoder(x)))
        outputs = [resize(self.get_submodule(name)(features), size) for name in self.heads]
        if self.is_alone:
            outputs.insert(0, torch.zeros_like(outputs[0]))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)


def _any_size(params: Mapping[str, Any]) -> ZYX[int]:
    """Any patch comes back at its size; `volproc.models.cryosiam_reach` says where cuts go."""
    return (1, 1, 1)


@register(SEMANTIC, multiple=_any_size)
def cryosiam_semantic(
    *,
    num_layers: Sequence[int],
    num_filters: Sequence[int],
    fpn_channels: int,
    projector: Sequence[int],
    head_widths: Sequence[int] = (32, 64),
    head_kernels: Sequence[int] = (3, 3, 3),
    heads: Sequence[HeadName] = ("semantic",),
    activation: Activation = "softmax",
    block_type: BlockType = "basic",
    max_pool: bool = False,
    later_conv: bool = False,
    intensity: Sequence[float] | None = None,
    in_channels: int = 1,
    num_classes: int = 2,
) -> nn.Module:
    """CryoSiam's semantic network: lamella masks, classes, candidates of particles.

    Parameters
    ----------
    num_layers, num_filters, fpn_channels, projector, head_widths, head_kernels, block_type, \
max_pool, later_conv, intensity
        See `CryoSiamNetwork`.
    heads : sequence of str
        ``semantic``, and ``distance`` where its channels shall follow those of the classes.
    activation : {"softmax", "sigmoid"}
        With ``sigmoid`` the semantic head has one channel, l, and the network gives (0, l): their
        softmax is (1 - sigmoid(l), sigmoid(l)), so that background and foreground are two classes
        here as everywhere.
    in_channels, num_classes : int
        Channels in, and classes out.

    Raises
    ------
    ModelError
        If heads or activation are unknown, or a sigmoid is asked for more than two classes.
    """
    if activation not in ("softmax", "sigmoid") or tuple(heads) not in (
        ("semantic",),
        ("semantic", "distance"),
    ):
        msg = (
            "heads are semantic, or semantic and distance, and the activation is softmax or "
            f"sigmoid; got {list(heads)} and {activation}. Correct them."
        )
        raise ModelError(msg)
    is_alone = activation == "sigmoid"
    if is_alone and num_classes != 2:
        msg = f"a sigmoid tells background from foreground, got {num_classes} classes. Use softmax."
        raise ModelError(msg)
    channels = 1 if is_alone else num_classes
    return CryoSiamNetwork(
        block_type=block_type,
        num_layers=num_layers,
        num_filters=num_filters,
        fpn_channels=fpn_channels,
        projector=projector,
        head_widths=head_widths,
        head_kernels=head_kernels,
        heads={f"{name}_head": channels for name in heads},
        max_pool=max_pool,
        later_conv=later_conv,
        is_alone=is_alone,
        intensity=intensity,
        in_channels=in_channels,
    )


@register(DENOISER, multiple=_any_size)
def cryosiam_denoiser(
    *,
    num_layers: Sequence[int],
    num_filters: Sequence[int],
    fpn_channels: int,
    projector: Sequence[int],
    head_widths: Sequence[int],
    head_kernels: Sequence[int],
    block_type: BlockType = "basic",
    max_pool: bool = False,
    later_conv: bool = False,
    intensity: Sequence[float] | None = None,
    in_channels: int = 1,
    num_classes: int = 2,
) -> nn.Module:
    """CryoSiam's denoiser: channel 0 is zero, channel 1 the denoised intensity.

    Parameters
    ----------
    num_layers, num_filters, fpn_channels, projector, head_widths, head_kernels, block_type, \
max_pool, later_conv, intensity
        See `CryoSiamNetwork`.
    in_channels, num_classes : int
        Channels in, and out: two.

    Raises
    ------
    ModelError
        If other than two channels are asked for.
    """
    if num_classes != 2:
        msg = f"a denoiser gives zeros and the intensity, two channels; got {num_classes}."
        raise ModelError(msg)
    return CryoSiamNetwork(
        block_type=block_type,
        num_layers=num_layers,
        num_filters=num_filters,
        fpn_channels=fpn_channels,
        projector=projector,
        head_widths=head_widths,
        head_kernels=head_kernels,
        heads={"cnn_head": 1},
        max_pool=max_pool,
        later_conv=later_conv,
        is_alone=True,
        intensity=intensity,
        in_channels=in_channels,
    )
