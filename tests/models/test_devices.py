"""Devices and precision follow the hardware."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from volproc.core.errors import ModelError
from volproc.models import devices

HAS_GPU = torch.cuda.is_available()


def test_the_cpu_computes_in_single_precision() -> None:
    device = devices.choose_device("cpu")
    assert devices.choose_precision(device) == torch.float32
    assert isinstance(devices.precision_context(device, torch.float32), nullcontext)


def test_auto_takes_a_gpu_only_if_there_is_one() -> None:
    assert devices.choose_device("auto").type == ("cuda" if HAS_GPU else "cpu")


@pytest.mark.skipif(HAS_GPU, reason="asks for a GPU that is not there")
@pytest.mark.parametrize("wanted", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_a_clear_error(wanted: str) -> None:
    with pytest.raises(ModelError, match=r"finds 0 CUDA devices\. Use cpu or auto"):
        devices.choose_device(wanted)


@pytest.mark.parametrize("wanted", ["gpu", "", "meta", "cuda:x"])
def test_what_names_no_device_is_refused(wanted: str) -> None:
    with pytest.raises(ModelError, match="is not a device for networks"):
        devices.choose_device(wanted)


@pytest.mark.parametrize(
    ("has_bfloat16", "expected"), [(True, torch.bfloat16), (False, torch.float16)]
)
def test_a_gpu_computes_in_bfloat16_where_it_can(monkeypatch, has_bfloat16, expected) -> None:
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bfloat16)
    assert devices.choose_precision(torch.device("cuda")) == expected


def test_reduced_precision_holds_inside_its_context_only() -> None:
    layer, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
    with devices.precision_context(torch.device("cpu"), torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer(x).dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")
def test_a_network_on_a_gpu_is_channels_last_and_repeats_its_bits() -> None:
    devices.make_deterministic()
    device = devices.choose_device("cuda")
    network = devices.place_network(torch.nn.Conv3d(4, 4, 3, padding=1), device)
    assert network.weight.is_contiguous(memory_format=torch.channels_last_3d)
    x = torch.randn(1, 4, 16, 16, 16, device=device)
    with torch.no_grad(), devices.precision_context(device, devices.choose_precision(device)):
        assert torch.equal(network(x), network(x))
