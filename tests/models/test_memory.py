"""The estimate of a network's memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from volproc.core.errors import ModelError
from volproc.core.model import ModelSpec
from volproc.models.memory import _estimate, activation_bytes

SPEC = ModelSpec(
    architecture="unet3d",
    weights="",
    patch=(16, 16, 16),
    classes=("background", "a", "b"),
    params={"widths": [4, 8]},
)


def test_the_estimate_covers_the_largest_layers() -> None:
    # The widest layer is the concatenation's convolution: 12 channels in, 4 out.
    voxels = 16**3
    assert activation_bytes(SPEC) > 12 * voxels * 4


def test_it_grows_with_batch_patch_and_width() -> None:
    least = activation_bytes(SPEC)
    assert activation_bytes(SPEC, batch_size=2) > 1.8 * least
    assert activation_bytes(replace(SPEC, patch=(32, 16, 16))) > 1.8 * least
    assert activation_bytes(replace(SPEC, params={"widths": [8, 16]})) > 1.8 * least


def test_weights_are_counted() -> None:
    wide = replace(SPEC, patch=(4, 4, 8), params={"widths": [4, 64, 128]})
    assert activation_bytes(wide) > 128 * 128 * 27 * 4


def test_the_network_is_tried_on_a_small_patch_only(monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = []
    forward = torch.nn.Conv3d.forward

    def watch(self: torch.nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
        voxels.append(x[0, 0].numel())
        return forward(self, x)

    monkeypatch.setattr(torch.nn.Conv3d, "forward", watch)
    assert activation_bytes(replace(SPEC, patch=(2048, 2048, 2048))) > 1e11
    assert max(voxels) <= 16**3


def test_a_small_patch_tells_what_a_large_one_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = replace(SPEC, patch=(40, 24, 36), params={"widths": [4, 8, 16]})
    scaled = activation_bytes(odd, batch_size=2)
    _estimate.cache_clear()
    monkeypatch.setattr("volproc.models.memory.TRIAL", 64)
    assert activation_bytes(odd, batch_size=2) == scaled


def test_the_estimate_does_not_load_torchs_compiler() -> None:
    code = (
        "import sys; from volproc.models.memory import activation_bytes as estimate;"
        "from volproc.models.loading import read_spec;"
        "estimate(read_spec('phantom-unet'));"
        "print(*sorted({'torch._dynamo', 'sympy', 'monai'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_patch_that_the_network_cannot_take_is_refused() -> None:
    # One voxel is left at the bottom, and instance normalisation needs two.
    tiny = replace(SPEC, patch=(4, 4, 4), params={"widths": [2, 3, 4]})
    with pytest.raises(ModelError, match=r"unet3d.* patch of \(4, 4, 4\).*larger patch"):
        activation_bytes(tiny)


@pytest.mark.parametrize("architecture", ["unet3d", "monai-unet"])
def test_every_architecture_has_an_estimate(architecture: str) -> None:
    spec = replace(SPEC, architecture=architecture, params={})
    assert activation_bytes(spec) > 0
