"""Networks of CryoSiam as layers: the same work, in the same order."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
import torch
from torch import nn

from volproc.core.errors import ModelError
from volproc.core.model import ModelSpec
from volproc.models.cryosiam_flow import plan_flow
from volproc.models.cryosiam_networks import SEMANTIC
from volproc.models.networks import build
from volproc.models.streaming import sizes_along

TINY: dict[str, Any] = {
    "num_layers": [1, 1, 1, 1], "num_filters": [2, 3, 4, 5], "fpn_channels": 4,
    "projector": [4, 6, 3], "head_widths": [3, 5], "head_kernels": [3, 3, 3],
}  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"block_type": "bottleneck", "num_layers": [2, 1, 1, 3]},
        {"max_pool": True, "later_conv": True, "heads": ["semantic", "distance"]},
    ],
)
def test_layers_multiply_as_often_as_the_network(other: dict[str, Any]) -> None:
    params = {**TINY, **other}
    counts: list[int] = []

    def count(module: Any, given: Any, output: torch.Tensor) -> None:
        kernel = prod(module.kernel_size) * module.in_channels
        counts.append(output.numel() * kernel)

    network = build(SEMANTIC, **params).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(count)
    shape = (9, 16, 21)
    with torch.no_grad():
        network(torch.zeros(1, 1, *shape))
    flow = plan_flow(ModelSpec(SEMANTIC, "", (8, 8, 8), ("background", "a"), params))
    sides = [sizes_along(flow, size) for size in shape]
    own = sum(
        layer.multiply_adds * prod(side[number] for side in sides)
        for number, layer in enumerate(flow)
    )
    assert own == sum(counts)
    assert flow[-1].channels == 2 * len(other.get("heads", ["semantic"]))


def test_the_published_network_multiplies_577_thousand_times_a_voxel() -> None:
    published: dict[str, Any] = {
        "num_layers": [1, 1, 1, 1], "num_filters": [64, 128, 256, 512], "fpn_channels": 128,
        "projector": [128, 128, 64],
    }  # fmt: skip
    names = tuple(map(str, range(14)))
    flow = plan_flow(ModelSpec(SEMANTIC, "", (128,) * 3, names, published))
    sizes = sizes_along(flow, 128)
    work = sum(layer.multiply_adds * n**3 for layer, n in zip(flow, sizes, strict=True))
    assert work == 576_704 * 128**3


def test_other_networks_are_refused() -> None:
    with pytest.raises(ModelError, match="got unet3d"):
        plan_flow(ModelSpec("unet3d", "", (8, 8, 8), ("background", "a")))
