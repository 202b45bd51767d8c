"""The estimate of a network's memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from volproc.core.errors import ModelError
from volproc.core.model import ModelSpec
from volproc.models.memory import _Held, _try_out, activation_bytes, weight_bytes

ROOT = Path(__file__).parents[2]

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
    assert activation_bytes(SPEC, batch_size=4) > 1.8 * activation_bytes(SPEC, batch_size=2)
    assert activation_bytes(replace(SPEC, patch=(32, 16, 16))) > 1.8 * least
    assert activation_bytes(replace(SPEC, params={"widths": [8, 16]})) > 1.8 * least


def test_weights_are_counted() -> None:
    wide = replace(SPEC, patch=(4, 4, 8), params={"widths": [4, 64, 128]})
    assert activation_bytes(wide) > weight_bytes(wide) > 128 * 128 * 27 * 4


def test_a_single_small_patch_pays_for_unfolded_convolutions_on_the_cpu_only() -> None:
    # (8 channels, 48, 48) is below PyTorch's limit: each kernel voxel gets a copy of the input.
    spec = replace(SPEC, patch=(48, 48, 48), params={"widths": [8, 16, 32, 64]})
    assert activation_bytes(spec) > 27 * 8 * 48**3 * 4
    assert activation_bytes(spec, on_device=True) < 27 * 8 * 48**3 * 4
    assert activation_bytes(spec) > activation_bytes(spec, batch_size=2)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measured on Linux")
def test_the_estimate_is_what_a_pass_takes() -> None:
    code = (
        "import sys, torch; from pathlib import Path; from dataclasses import replace;"
        "from benchmarks.harness import peak_bytes;"
        "from volproc.models.memory import activation_bytes;"
        "from volproc.models.loading import load_model, read_spec;"
        "torch.set_num_threads(1);"
        "spec = read_spec('phantom-unet'); model = load_model(spec, 'cpu');"
        "batches = [torch.zeros((1, 1, side, side, side)) for side in (48, 96)];"
        "peaks = [peak_bytes(lambda: model(batch)) for batch in batches];"
        "print(*peaks, *(activation_bytes(replace(spec, patch=b.shape[2:])) for b in batches))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    *peaks, small, large = map(int, done.stdout.split())
    for peak, estimate in zip(peaks, (small, large), strict=True):
        assert 0.7 * peak < estimate < 1.5 * peak


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
    _try_out.cache_clear()
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


def test_attention_is_counted_as_what_a_pass_makes_of_it() -> None:
    # Windows of 7 voxels a side: a table of 343 × 343 for each of 3 heads, 5 windows a side.
    params = {"feature_size": 12, "depths": [1, 1, 1, 1]}
    spec = replace(SPEC, architecture="octopi-swinunetr", params=params, patch=(64, 64, 64))
    table = 5**3 * 3 * 343**2 * 4
    assert 2 * table < activation_bytes(spec) < 4.5 * table


def test_a_long_stride_is_tried_on_as_little_as_it_takes() -> None:
    spec = replace(SPEC, params={"widths": [2] * 5}, patch=(32, 64, 16))
    assert _try_out(("key", 1), spec.patch, 1, _Held(spec)).patch == (32, 16, 16)
    flat = replace(spec, patch=(16, 64, 16))
    assert _try_out(("key", 2), flat.patch, 1, _Held(flat)).patch == (16, 32, 16)


def test_the_number_of_classes_counts() -> None:
    many = replace(SPEC, classes=tuple(str(n) for n in range(60)))
    assert activation_bytes(many) > activation_bytes(SPEC)


@pytest.mark.parametrize("architecture", ["unet3d", "monai-unet"])
def test_every_architecture_has_an_estimate(architecture: str) -> None:
    spec = replace(SPEC, architecture=architecture, params={})
    assert activation_bytes(spec) > 0
