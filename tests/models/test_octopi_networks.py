"""Octopi's networks: MONAI's own, to the bit, with the sizes that Octopi's files have."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from volproc.core.errors import ModelError
from volproc.models import octopi_networks
from volproc.models.networks import build, minimum_multiple
from volproc.models.octopi_networks import NAMES

TINY: dict[str, dict[str, Any]] = {
    "Unet": {"channels": [4, 8, 8], "strides": [2, 1], "num_res_units": 2},
    "AttentionUnet": {"channels": [4, 8, 8], "strides": [2, 2]},
    "DynUNet": {
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 1],
        "upsample_kernel_size": [2, 1],
        "filters": [4, 8, 8],
        "deep_supervision": True,
    },
    "SegResNet": {"init_filters": 4, "blocks_down": [1, 1, 1], "dsdepth": 2},
    "SwinUNETR": {"feature_size": 12, "depths": [1, 1, 1, 1], "use_checkpoint": True},
    "MedNeXt": {"init_filters": 4, "blocks_down": [1, 1], "blocks_up": [1, 1]},
}
"""A small network of each kind, by Octopi's word."""

MONAI: dict[str, tuple[str, dict[str, Any]]] = {
    "Unet": ("UNet", {"channels": [4, 8, 8], "strides": [2, 1], "num_res_units": 2}),
    "AttentionUnet": ("AttentionUnet", TINY["AttentionUnet"]),
    "DynUNet": ("DynUNet", TINY["DynUNet"] | {"res_block": True}),
    "SegResNet": ("SegResNetDS", TINY["SegResNet"] | {"act": "prelu", "norm": "instance"}),
    "SwinUNETR": ("SwinUNETR", TINY["SwinUNETR"]),
    "MedNeXt": (
        "MedNeXt",
        TINY["MedNeXt"] | {"use_residual_connection": True, "kernel_size": 3},
    ),
}
"""The same as Octopi's builders ask MONAI for them."""


@pytest.mark.parametrize("word", NAMES)
def test_logits_are_those_of_monai_to_the_bit(word: str) -> None:
    from monai.networks import nets

    name, arguments = MONAI[word]
    torch.manual_seed(1)
    expected = getattr(nets, name)(spatial_dims=3, in_channels=1, out_channels=3, **arguments)
    torch.manual_seed(2)
    network = build(NAMES[word], num_classes=3, **TINY[word]).eval()
    network.load_state_dict(expected.state_dict(), strict=True)
    multiple = minimum_multiple(NAMES[word], TINY[word])
    batch = torch.randn(1, 1, 2 * multiple[0], multiple[1], 2 * multiple[2])
    with torch.no_grad():
        found, due = network(batch), expected.eval()(batch)
    assert found.shape == (1, 3, *batch.shape[2:])
    assert torch.equal(found, due)


@pytest.mark.parametrize(
    ("word", "params", "num_classes", "num_weights", "num_keys"),
    [
        ("Unet", {"channels": [32, 64, 96, 96], "strides": [2, 2, 1]}, 4, 1_121_825, 35),
        ("Unet", {"channels": [48, 64, 80, 80], "strides": [2, 2, 1]}, 4, 1_111_313, 35),
        (
            "Unet",
            {"channels": [32, 64, 128, 128, 128, 128], "strides": [2, 2, 1, 1, 1]},
            7,
            5_029_192,
            53,
        ),
        (
            "DynUNet",
            {
                "kernel_size": [3, 3, 3, 3],
                "strides": [1, 2, 2, 1],
                "upsample_kernel_size": [2, 2, 1],
                "deep_supervision": True,
                "deep_supr_num": 1,
            },
            4,
            5_415_880,
            120,
        ),
        ("SegResNet", {"init_filters": 16, "dsdepth": 2}, 4, 4_980_624, 107),
        ("SwinUNETR", {"feature_size": 12}, 4, 4_078_090, 159),
    ],
)
def test_what_is_missing_has_octopis_value(
    word: str, params: dict[str, Any], num_classes: int, num_weights: int, num_keys: int
) -> None:
    # Counted in files that Octopi wrote; without memory, and MONAI reads numbers of SwinUNETR out.
    with torch.device("meta"):
        network = build(NAMES[word], num_classes=num_classes, **params)
    assert sum(p.numel() for p in network.parameters()) == num_weights
    assert len(network.state_dict()) == num_keys
    assert {value.device.type for value in network.state_dict().values()} == {"meta"}


@pytest.mark.parametrize(
    ("word", "params", "multiple"),
    [
        ("Unet", {"channels": [4, 8, 8], "strides": [2, 3, 5]}, (6, 6, 6)),  # the 5 is not used
        ("AttentionUnet", {"channels": [4, 8, 8], "strides": [[1, 2, 2], 2]}, (2, 4, 4)),
        ("DynUNet", {"strides": [1, 2, 2, 1]}, (4, 4, 4)),
        ("SegResNet", {}, (8, 8, 8)),
        ("SegResNet", {"blocks_down": [1, 1, 1], "resolution": [4.0, 1.0, 1.0]}, (1, 4, 4)),
        ("SwinUNETR", {}, (32, 32, 32)),
        ("MedNeXt", {"blocks_down": [1, 1, 1]}, (8, 8, 8)),
    ],
)
def test_the_total_stride_is_known(
    word: str, params: dict[str, Any], multiple: tuple[int, ...]
) -> None:
    assert minimum_multiple(NAMES[word], params) == multiple


def test_training_sees_the_coarser_heads() -> None:
    for word in ("DynUNet", "SegResNet"):
        network = build(NAMES[word], num_classes=3, **TINY[word]).train()
        output = network(torch.zeros(1, 1, 8, 8, 16))
        assert isinstance(output, list) or output.ndim == 6
        assert network.eval()(torch.zeros(1, 1, 8, 8, 16)).shape == (1, 3, 8, 8, 16)


@pytest.mark.parametrize(
    ("word", "params", "text"),
    [
        ("DynUNet", {"strides": [2, 2, 1]}, r"strides \[2, 2, 1\].*The first stride is 1"),
        ("DynUNet", {"upsample_kernel_size": [1, 1]}, "upsample_kernel_size repeats the others"),
        ("Unet", {"channels": [4]}, "MONAI's UNet cannot be built.*model block"),
        ("SwinUNETR", {"feature_size": 13}, "divisible by 12"),
        ("SegResNet", {"norm": "nonsense"}, "MONAI's SegResNetDS cannot be built"),
    ],
)
def test_arguments_that_fit_no_network_are_named(
    word: str, params: dict[str, Any], text: str
) -> None:
    with pytest.raises(ModelError, match=text):
        build(NAMES[word], **(TINY[word] | params))


def test_a_package_that_monai_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(octopi_networks, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="needs the package einops"):
        build(NAMES["SwinUNETR"], **TINY["SwinUNETR"])


def test_the_arguments_are_not_written_into() -> None:
    layer = ("instance", {})  # MONAI adds what is missing in there
    octopi_networks.octopi_segresnet(init_filters=4, blocks_down=[1, 1], norm=layer)
    assert layer == ("instance", {})
