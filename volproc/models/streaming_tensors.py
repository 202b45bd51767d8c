"""Slabs of a network's layers as tensors, on any device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from volproc.core.types import Region, Shape
from volproc.models.devices import precision_context
from volproc.models.streaming import (
    Convolution,
    Interpolation,
    Layer,
    Place,
    Pooling,
    Same,
    between,
)

Read = Callable[[Region], npt.NDArray[np.float32]]
"""Gives a region of a volume, (z, y, x), scaled as the network wants it."""


class Tensors:
    """Slabs (z, y, x, c): channels lie beside each other, so that oneDNN copies nothing.

    Parameters
    ----------
    read : callable
        Gives the volume.
    device : torch.device
        Where slabs are.
    precision : torch.dtype
        What convolutions compute with.
    """

    def __init__(self, read: Read, device: torch.device, precision: torch.dtype) -> None:
        self._read, self._device, self._precision = read, device, precision

    def read(self, region: Region) -> torch.Tensor:
        """Read a region of the volume."""
        return torch.from_numpy(self._read(region)).to(self._device)[..., None]

    def cut(self, piece: torch.Tensor, region: Region, *, is_copied: bool) -> torch.Tensor:
        """Take a part of a slab, as a view or as a copy."""
        return (
            piece[region].clone(memory_format=torch.contiguous_format)
            if is_copied
            else piece[region]
        )

    def join(self, pieces: list[torch.Tensor], before: Shape, after: Shape) -> torch.Tensor:
        """Put slabs together along z, with zeros before and after them along each axis."""
        if len(pieces) == 1 and not any(before) and not any(after):
            return pieces[0].contiguous()
        depth = sum(len(piece) for piece in pieces)
        _, height, width, channels = pieces[0].shape
        inner = (depth, height, width)
        sides = [b + n + a for b, n, a in zip(before, inner, after, strict=True)]
        is_padded = any(before) or any(after)
        make = torch.zeros if is_padded else torch.empty
        joined = make((*sides, channels), dtype=pieces[0].dtype, device=self._device)
        within = joined[tuple(slice(b, b + n) for b, n in zip(before, inner, strict=True))]
        first = 0
        for piece in pieces:
            within[first : first + len(piece)] = piece
            first += len(piece)
        return joined

    def compute(
        self, layer: Layer, inputs: list[torch.Tensor], places: list[list[Place]]
    ) -> torch.Tensor:
        """Compute a slab of a layer from what each of its terms sees."""
        with torch.no_grad(), precision_context(self._device, self._precision):
            if layer.is_joined:
                return torch.cat(inputs, -1)
            total: torch.Tensor | None = None
            for (_, term), given, at in zip(layer.terms, inputs, places, strict=True):
                if isinstance(term, Interpolation):
                    total = _add_interpolated(total, given, at)
                    continue
                value = _apply(term, given)
                total = value if total is None else total.add_(value)
            assert total is not None  # each layer has a term
            return total.relu_() if layer.is_rectified else total


def fold(convolution: nn.Conv3d, norm: nn.BatchNorm3d | None) -> nn.Module:
    """Make one layer of a convolution and of the normalisation that follows it.

    Parameters
    ----------
    convolution : Conv3d
        With an odd, cubic kernel.
    norm : BatchNorm3d or None
        In evaluation mode.

    Returns
    -------
    layer : Conv3d or Linear
        Without padding, the weights rounded once; linear for kernels of one voxel, since one
        thread takes ten times longer for such a convolution.
    """
    weight = convolution.weight.detach().double()
    bias = weight.new_zeros(len(weight))
    if convolution.bias is not None:
        bias = convolution.bias.detach().double()
    if norm is not None:
        assert norm.running_mean is not None and norm.running_var is not None  # noqa: PT018
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.affine:
            scale = scale * norm.weight.detach().double()
        bias = (bias - norm.running_mean.double()) * scale
        if norm.affine:
            bias = bias + norm.bias.detach().double()
        weight = weight * scale[:, None, None, None, None]
    outputs, inputs, kernel, *_ = weight.shape
    layer: nn.Conv3d | nn.Linear
    if kernel == 1:
        layer = nn.Linear(inputs, outputs, device="meta")
        values = weight[:, :, 0, 0, 0].float().contiguous()
    else:
        layer = nn.Conv3d(inputs, outputs, kernel, stride=convolution.stride[0], device="meta")
        values = weight.float().contiguous(memory_format=torch.channels_last_3d)
    layer.weight = nn.Parameter(values, requires_grad=False)
    layer.bias = nn.Parameter(bias.float(), requires_grad=False)
    return layer.eval()


def _apply(term: Convolution | Pooling | Same, given: torch.Tensor) -> torch.Tensor:
    """Compute one term."""
    if isinstance(term, Same):
        return given
    if isinstance(term, Convolution):
        assert term.layer is not None  # there were weights
        if term.kernel == 1:
            step = slice(None, None, term.stride)
            value: torch.Tensor = term.layer(given[step, step, step])
            return value
        value = term.layer(given.permute(3, 0, 1, 2)[None])
    else:
        value = functional.max_pool3d(given.permute(3, 0, 1, 2)[None], term.kernel, term.stride)
    return value[0].permute(1, 2, 3, 0).contiguous()


def _add_interpolated(
    total: torch.Tensor | None, given: torch.Tensor, places: list[Place]
) -> torch.Tensor:
    """Add linearly interpolated voxels, a plane after the other."""
    ways: list[list[torch.Tensor]] = []
    for place in places:
        low, high, part = between(place.wanted, place.given, place.size)
        found = (low - place.begin, high - place.begin, part)
        ways.append([torch.from_numpy(each).to(given.device) for each in found])
    if total is None:
        sides = [place.wanted[1] - place.wanted[0] for place in places]
        total = torch.zeros((*sides, given.shape[-1]), device=given.device)
    below, above, parts = ways[0]
    for number, ends_z in enumerate(zip(below.tolist(), above.tolist(), strict=True)):
        before, after = (given[coarse].float() for coarse in ends_z)
        plane = torch.lerp(before, after, parts[number])
        for dimension, (first, second, weights) in enumerate(ways[1:]):
            ends = [plane.index_select(dimension, voxels) for voxels in (first, second)]
            plane = ends[0].lerp_(ends[1], weights.reshape(-1, *[1] * (2 - dimension)))
        total[number] += plane
    return total
