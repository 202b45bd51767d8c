"""Networks by name: same size out, clear errors, extensible."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from volproc.core.errors import ModelError
from volproc.models.networks import (
    ARCHITECTURES,
    build,
    check_patch,
    minimum_multiple,
    register,
)

CASES = [
    ("unet3d", {"widths": [2, 3, 4]}, (4, 4, 4)),
    ("unet3d", {"widths": [2]}, (1, 1, 1)),
    ("monai-unet", {"channels": [2, 4], "strides": [2]}, (2, 2, 2)),
]


@pytest.mark.parametrize(("name", "params", "multiple"), CASES)
def test_logits_have_the_size_of_the_patch_at_every_multiple(name, params, multiple) -> None:
    assert minimum_multiple(name, params) == multiple
    network = build(name, in_channels=2, num_classes=3, **params)
    shape = (3 * multiple[0], 2 * multiple[1], 5 * multiple[2])
    with torch.no_grad():
        assert network(torch.randn(2, 2, *shape)).shape == (2, 3, *shape)


def test_the_small_unet_has_the_stated_number_of_parameters() -> None:
    network = build("unet3d", widths=[8, 16, 32, 64], num_classes=6)
    count = sum(p.numel() for p in network.parameters())
    assert count == 329_182


def test_every_weight_of_the_unet_is_used() -> None:
    network = build("unet3d", widths=[2, 3, 4], num_classes=2)
    network(torch.randn(1, 1, 8, 8, 12)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_the_unet_sees_as_far_as_its_coarsest_level() -> None:
    torch.manual_seed(0)
    network = build("unet3d", widths=[2, 3, 4], num_classes=2).eval()
    for module in network.modules():
        if isinstance(module, nn.InstanceNorm3d):
            module.forward = lambda x: x  # the norm sees everything; look at convolutions alone
    x = torch.zeros(1, 1, 48, 8, 8)
    y = x.clone()
    y[0, 0, 0] = 1.0
    changed = (network(x) != network(y))[0].any(dim=(0, 2, 3)).nonzero().max().item()
    assert 12 <= changed < 40


@pytest.mark.parametrize("patch", [(8, 8, 10), (8, 2, 8), (7, 8, 8)])
def test_a_patch_that_does_not_fit_names_axis_and_sizes(patch) -> None:
    with pytest.raises(ModelError, match=r"multiple of 4 along [zyx], got \d+. Use 4 or|Use 8 or"):
        check_patch("unet3d", {"widths": [2, 3, 4]}, patch)


def test_an_unknown_architecture_names_the_nearest_known_one() -> None:
    with pytest.raises(ModelError, match='did you mean "unet3d"'):
        build("unet-3d")


@pytest.mark.parametrize("params", [{"width": [1, 2]}, {"widths": []}, {"widths": [4, 0]}])
def test_wrong_parameters_are_an_error_of_the_model(params) -> None:
    with pytest.raises(ModelError):
        build("unet3d", **params)


def test_an_architecture_can_be_added_once() -> None:
    @register("own-network", multiple=lambda params: (params["side"],) * 3)
    def own(*, side: int, in_channels: int = 1, num_classes: int = 2) -> nn.Module:
        return nn.Conv3d(in_channels, num_classes, side)

    try:
        assert build("own-network", side=1).kernel_size == (1, 1, 1)
        assert minimum_multiple("own-network", {"side": 3}) == (3, 3, 3)
        with pytest.raises(ModelError, match="there already"):
            register("own-network", multiple=lambda params: (1, 1, 1))(own)
    finally:
        del ARCHITECTURES["own-network"]
