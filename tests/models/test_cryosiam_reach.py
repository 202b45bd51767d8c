"""Reach of CryoSiam's networks: blocks with that halo give what the whole volume gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from volproc.core.errors import ModelError
from volproc.core.model import ModelSpec
from volproc.models.cryosiam_networks import SEMANTIC
from volproc.models.cryosiam_reach import alignment, receptive_halo, receptive_reach
from volproc.models.networks import build

TINY: dict[str, Any] = {
    "num_layers": [1, 1, 1, 1], "num_filters": [3, 4, 4, 6], "fpn_channels": 4,
    "projector": [4, 4, 4], "head_widths": [3, 5], "head_kernels": [3, 3, 3],
}  # fmt: skip


def describe(**other: Any) -> ModelSpec:
    return ModelSpec(SEMANTIC, "", (32, 32, 32), ("background", "a"), {**TINY, **other})


def make(spec: ModelSpec) -> torch.nn.Module:
    """A network of positive weights: nothing that it sees is rectified away."""
    torch.manual_seed(0)
    network = build(SEMANTIC, **spec.params).eval().double()
    for parameter in network.parameters():
        parameter.requires_grad_(False).abs_()
    return network


@pytest.mark.parametrize(
    ("other", "reach", "halo", "step"),
    [
        ({}, (43, 36), 48, 8),
        ({"block_type": "bottleneck"}, (28, 21), 32, 8),
        ({"head_widths": [3], "head_kernels": [5, 1], "later_conv": True}, (43, 36), 48, 8),
        ({"max_pool": True, "num_layers": [1, 1, 1, 2]}, (118, 103), 128, 16),
    ],
)
def test_the_reach_is_that_of_the_network(
    other: dict[str, Any], reach: tuple[int, int], halo: int, step: int
) -> None:
    spec = describe(**other)
    assert (receptive_reach(spec), receptive_halo(spec), alignment(spec)) == (reach, halo, step)
    network = make(spec)
    length = 4 * halo
    x = torch.rand(1, 1, length, 1, 1, dtype=torch.float64)
    plain = network(x)
    below = above = 0
    for plane in range(length // 2, length // 2 + step):
        changed = x.clone()
        changed[:, :, plane] += 1
        differs = (network(changed) != plain).any(1).flatten().nonzero().flatten()
        below = max(below, int(differs.max()) - plane)  # an output sees this far below itself
        above = max(above, plane - int(differs.min()))
    assert (below, above) == reach


def test_blocks_with_the_halo_give_what_the_whole_volume_gives() -> None:
    spec = describe()
    torch.manual_seed(1)
    network = build(SEMANTIC, **spec.params)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = None  # or one pass would not scale the coarse stages to the fine ones
    x = torch.rand(1, 1, 16, 144, 8)
    with torch.no_grad():
        network(x)
        whole = network.eval()(x)

        def worst(core: int, halo: int) -> float:
            differences = []
            for start in range(0, 144, core):
                low = max(0, start - halo)
                block = network(x[:, :, :, low : min(144, start + core + halo)])
                kept = block[:, :, :, start - low : start - low + core]
                differences.append((kept - whole[:, :, :, start : start + core]).abs().max())
            return float(max(differences))

        scale = float(whole.std())
        halo = receptive_halo(spec)
        for core in (40, 64):
            assert worst(core, halo) < 1e-5 * scale
        assert worst(40, 16) > 1e-2 * scale
        assert worst(52, halo) > 1e-2 * scale  # not a multiple of the alignment


def test_other_networks_have_no_known_reach() -> None:
    spec = ModelSpec("unet3d", "", (8, 8, 8), ("background", "a"))
    with pytest.raises(ModelError, match="got unet3d"):
        receptive_halo(spec)
