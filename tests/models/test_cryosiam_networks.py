"""Networks of CryoSiam: the same layers under the same names, of any widths."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from volproc.core.errors import ModelError
from volproc.core.model import ModelSpec
from volproc.models.cryosiam_layers import Encoder
from volproc.models.cryosiam_networks import DENOISER, SEMANTIC
from volproc.models.memory import activation_bytes, weight_bytes
from volproc.models.networks import build

TINY: dict[str, Any] = {
    "num_layers": [1, 1, 1, 1], "num_filters": [2, 3, 4, 5], "fpn_channels": 4,
    "projector": [4, 6, 3], "head_widths": [3, 5], "head_kernels": [3, 3, 3],
}  # fmt: skip
PUBLISHED: dict[str, Any] = {
    "num_layers": [1, 1, 1, 1], "num_filters": [64, 128, 256, 512], "fpn_channels": 128,
    "projector": [128, 128, 64],
}  # fmt: skip


def test_the_published_architecture_has_its_number_of_weights() -> None:
    counts = {}
    for heads in (("semantic",), ("semantic", "distance")):
        with torch.device("meta"):
            network = build(SEMANTIC, **PUBLISHED, heads=heads, num_classes=14)
        counts[heads] = sum(p.numel() for p in network.parameters())
    assert round(counts["semantic", "distance"] / 1e6, 1) == 14.8
    head = 64 * 32 * 27 + 32 + 2 * 32 + 32 * 64 * 27 + 64 + 2 * 64 + 64 * 14 * 27 + 14
    assert counts["semantic", "distance"] - counts[("semantic",)] == head


@pytest.mark.parametrize("block_type", ["basic", "bottleneck"])
@pytest.mark.parametrize("max_pool", [False, True])
def test_the_encoder_is_monais(block_type: Any, max_pool: bool) -> None:
    from monai.networks.nets.resnet import ResNet

    torch.manual_seed(0)
    theirs = ResNet(
        block_type, [2, 1, 1, 2], [2, 3, 4, 5], conv1_t_stride=1, n_input_channels=2,
        no_max_pool=not max_pool, bias_downsample=True,
    ).eval()  # fmt: skip
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.register_buffer("running_mean", torch.rand(module.num_features) - 0.5)
            module.register_buffer("running_var", torch.rand(module.num_features) + 0.5)
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
    ours = Encoder(
        2, block_type=block_type, num_layers=[2, 1, 1, 2], num_filters=[2, 3, 4, 5],
        max_pool=max_pool,
    ).eval()  # fmt: skip
    ours.load_state_dict(state, strict=True)
    x = torch.randn(1, 2, 9, 16, 18)
    with torch.no_grad():
        given = ours(x)
        due = torch.relu(theirs.bn1(theirs.conv1(x)))
        due = theirs.maxpool(due) if max_pool else due
        for i in range(4):
            due = theirs.get_submodule(f"layer{i + 1}")(due)
            torch.testing.assert_close(given[i], due)


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"block_type": "bottleneck", "num_layers": [2, 1, 1, 1]},
        {"max_pool": True},
        {"later_conv": True, "head_widths": [7], "head_kernels": [5, 1]},
        {"head_widths": [], "head_kernels": [3], "heads": ["semantic", "distance"]},
    ],
)
def test_any_such_network_gives_back_the_size_of_its_input(other: dict[str, Any]) -> None:
    network = build(SEMANTIC, **{**TINY, **other}, num_classes=3).eval()
    channels = 3 * len(other.get("heads", ["semantic"]))
    with torch.no_grad():
        for size in ((16, 8, 24), (9, 12, 15)):
            assert network(torch.rand(2, 1, *size)).shape == (2, channels, *size)


def test_the_softmax_of_a_network_with_one_channel_is_its_sigmoid() -> None:
    torch.manual_seed(0)
    network = build(SEMANTIC, **TINY, activation="sigmoid").eval()
    last = network.get_submodule("semantic_head.6")
    outputs = []
    last.register_forward_hook(lambda module, given, output: outputs.append(output))
    with torch.no_grad():
        logits = network(torch.rand(1, 1, 8, 8, 16))
    torch.testing.assert_close(torch.softmax(logits, 1)[:, 1:], torch.sigmoid(outputs[0]))
    assert torch.equal(logits[:, 1:], outputs[0])


def test_intensities_are_clipped_and_scaled_by_the_network() -> None:
    torch.manual_seed(0)
    plain = build(SEMANTIC, **TINY).eval()
    scaled = build(SEMANTIC, **TINY, intensity=[10, 30, 0.5, 0.25]).eval()
    scaled.load_state_dict(plain.state_dict())
    raw = torch.tensor([0.0, 10, 15, 25, 30, 90, 20, 20]).expand(1, 1, 8, 8, 8)
    due = torch.tensor([-2.0, -2, -1, 1, 2, 2, 0, 0]).expand(1, 1, 8, 8, 8)
    with torch.no_grad():
        assert torch.equal(scaled(raw), plain(due))


def test_a_denoiser_gives_its_intensity_beside_zeros() -> None:
    network = build(DENOISER, **TINY).eval()
    with torch.no_grad():
        given = network(torch.rand(1, 1, 8, 16, 8))
    assert given.shape == (1, 2, 8, 16, 8)
    assert not given[:, 0].any()
    assert given[:, 1].any()


def test_the_memory_of_a_patch_is_known() -> None:
    spec = ModelSpec(SEMANTIC, "", (32, 32, 32), ("background", "a"), TINY)
    state = build(SEMANTIC, **TINY).state_dict()
    trained = [v for n, v in state.items() if "running" not in n and "num_batches" not in n]
    assert weight_bytes(spec) == 4 * sum(value.numel() for value in trained)
    assert activation_bytes(spec) > 4 * 32**3 * (4 + 4 + 6)  # pyramid, and what reads it


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"heads": ["distance"]}, "heads are semantic"),
        ({"activation": "tanh"}, "softmax or sigmoid; got"),
        ({"activation": "sigmoid", "num_classes": 3}, "got 3 classes"),
        ({"head_kernels": [3, 2, 3]}, "odd kernels"),
        ({"head_widths": [3]}, "one more than widths"),
        ({"block_type": "wide"}, 'block_type "wide"'),
        ({"num_layers": [1, 1]}, "cannot be built"),
    ],
)
def test_what_is_no_such_network_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(SEMANTIC, **{**TINY, **wrong})


def test_a_denoiser_of_classes_is_refused() -> None:
    with pytest.raises(ModelError, match="two channels; got 3"):
        build(DENOISER, **TINY, num_classes=3)
