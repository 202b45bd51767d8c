"""Layers of the networks of CryoSiam: residual encoder, pyramid, projector, heads.

Written from a description of the architecture, not from CryoSiam's code; the modules carry the
names that the weights have in its checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from volproc.core.errors import ModelError

BlockType = Literal["basic", "bottleneck"]

EXPANSION = {"basic": 1, "bottleneck": 4}
"""Channels that a block gives, in units of its width."""

STRIDES = (1, 2, 2, 2)
"""Of the encoder's stages."""

STEM_KERNEL = 7
"""Of the encoder's first convolution."""


class ResidualBlock(nn.Module):
    """Two 3×3×3 convolutions, or 1-3-1 with a narrow middle, and a way around them.

    Parameters
    ----------
    inputs, width : int
        Channels in, and inside; a bottleneck gives four times its width.
    stride : int
        Of the first 3×3×3 convolution.
    block_type : {"basic", "bottleneck"}
        Which of both.
    """

    def __init__(self, inputs: int, width: int, *, stride: int, block_type: BlockType) -> None:
        super().__init__()
        outputs = width * EXPANSION[block_type]
        kernels = (3, 3) if block_type == "basic" else (1, 3, 1)
        widths = (inputs, *[width] * (len(kernels) - 1), outputs)
        strided = kernels.index(3)
        self.depth = len(kernels)
        for i, kernel in enumerate(kernels):
            convolution = nn.Conv3d(
                widths[i],
                widths[i + 1],
                kernel,
                stride=stride if i == strided else 1,
                padding=kernel // 2,
                bias=False,
            )
            self.add_module(f"conv{i + 1}", convolution)
            self.add_module(f"bn{i + 1}", nn.BatchNorm3d(widths[i + 1]))
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv3d(inputs, outputs, 1, stride=stride), nn.BatchNorm3d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (b, c, z, y, x) to the sum of both ways, rectified."""
        given = x
        for i in range(1, self.depth + 1):
            given = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(given))
            if i < self.depth:
                given = functional.relu(given, inplace=True)
        given += self.downsample(x)
        return functional.relu(given, inplace=True)


class Encoder(nn.Module):
    """A residual network whose four stages are all given out.

    Parameters
    ----------
    in_channels : int
        Channels in.
    block_type : {"basic", "bottleneck"}
        Kind of all blocks.
    num_layers, num_filters : sequence of int
        Blocks of each stage, and their width.
    max_pool : bool
        Whether the first stage works at half the size.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        block_type: BlockType,
        num_layers: Sequence[int],
        num_filters: Sequence[int],
        max_pool: bool,
    ) -> None:
        super().__init__()
        first = num_filters[0]
        self.conv1 = nn.Conv3d(
            in_channels, first, STEM_KERNEL, padding=STEM_KERNEL // 2, bias=False
        )
        self.bn1 = nn.BatchNorm3d(first)
        self.max_pool = max_pool
        inputs = first
        for i, (num, width, stride) in enumerate(
            zip(num_layers, num_filters, STRIDES, strict=True)
        ):
            blocks = []
            for j in range(num):
                block_stride = stride if j == 0 else 1
                blocks.append(
                    ResidualBlock(inputs, width, stride=block_stride, block_type=block_type)
                )
                inputs = width * EXPANSION[block_type]
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map (b, c, z, y, x) to the outputs of the stages, the finest first."""
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        if self.max_pool:
            x = functional.max_pool3d(x, 3, stride=2, padding=1)
        stages = []
        for i in range(1, len(STRIDES) + 1):
            x = self.get_submodule(f"layer{i}")(x)
            stages.append(x)
        return stages


class Pyramid(nn.Module):
    """Adds coarse features to fine ones; ``layer1`` takes the coarsest.

    Parameters
    ----------
    inputs : sequence of int
        Channels of the encoder's stages, the finest first.
    channels : int
        Channels of all levels.
    later_conv : bool
        Whether a 3×3×3 convolution follows at the finest level, ``later_conv4``.
    """

    def __init__(self, inputs: Sequence[int], channels: int, *, later_conv: bool) -> None:
        super().__init__()
        for i, width in enumerate(reversed(inputs)):
            self.add_module(f"layer{i + 1}", nn.Conv3d(width, channels, 1))
        if later_conv:
            self.add_module(f"later_conv{len(inputs)}", nn.Conv3d(channels, channels, 3, padding=1))
        self.last = f"later_conv{len(inputs)}" if later_conv else ""

    def forward(self, stages: list[torch.Tensor]) -> torch.Tensor:
        """Map the stages, the finest first, to the finest level; the list is emptied."""
        merged = self.get_submodule("layer1")(stages.pop())
        level = 1
        while stages:
            level += 1
            lateral = self.get_submodule(f"layer{level}")(stages.pop())
            lateral += resize(merged, lateral.shape[2:])
            merged = lateral
        return self.get_submodule(self.last)(merged) if self.last else merged


def scale_intensity(x: torch.Tensor, intensity: Sequence[float]) -> torch.Tensor:
    """Clip voxels to a range that becomes 0…1, then subtract a mean and divide by a deviation.

    Parameters
    ----------
    x : tensor of float
        Any shape.
    intensity : sequence of float
        Minimum, maximum, mean and standard deviation.

    Examples
    --------
    >>> scale_intensity(torch.tensor([-1.0, 1.0, 3.0]), (0, 2, 0.5, 0.25)).tolist()
    [-2.0, 0.0, 2.0]
    """
    low, high, mean, deviation = intensity
    return (((x - low) / (high - low)).clip(0, 1) - mean) / deviation


def resize(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Interpolate linearly to a size; what has it already is left as it is."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return functional.interpolate(x, size=tuple(size), mode="trilinear", align_corners=False)


def build_projector(inputs: int, first: int, second: int, outputs: int) -> nn.Sequential:
    """Three convolutions of single voxels, the last one normalised without weights."""
    return nn.Sequential(
        nn.Conv3d(inputs, first, 1, bias=False),
        nn.BatchNorm3d(first),
        nn.ReLU(inplace=True),
        nn.Conv3d(first, second, 1, bias=False),
        nn.BatchNorm3d(second),
        nn.ReLU(inplace=True),
        nn.Conv3d(second, outputs, 1),
        nn.BatchNorm3d(outputs, affine=False),
    )


def build_head(
    inputs: int, widths: Sequence[int], kernels: Sequence[int], outputs: int
) -> nn.Sequential:
    """Convolutions with normalisation and rectifier, and a last one alone.

    Parameters
    ----------
    inputs, outputs : int
        Channels in and out.
    widths : sequence of int
        Channels of the inner convolutions.
    kernels : sequence of int
        Odd kernels of all convolutions.

    Raises
    ------
    ModelError
        If a kernel is even, or there is not one more of them than widths.
    """
    if len(kernels) != len(widths) + 1 or any(kernel % 2 == 0 for kernel in kernels):
        msg = (
            f"a head has odd kernels, one more than widths: got kernels {list(kernels)} and widths "
            f"{list(widths)}. Correct them."
        )
        raise ModelError(msg)
    layers: list[nn.Module] = []
    *inner, last = kernels
    for (i, o), kernel in zip(pairwise((inputs, *widths)), inner, strict=True):
        layers += [
            nn.Conv3d(i, o, kernel, padding=kernel // 2),
            nn.BatchNorm3d(o),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(
        *layers, nn.Conv3d((inputs, *widths)[-1], outputs, last, padding=last // 2)
    )
