"""A small network and small volumes, made on the fly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from volproc.core.model import ModelSpec
from volproc.models.cryosiam_networks import SEMANTIC
from volproc.models.loading import read_spec, save_model
from volproc.models.networks import build

SHAPE = (9, 13, 11)

SIAM: dict[str, Any] = {
    "num_layers": [1, 1, 1, 1], "num_filters": [2, 2, 2, 3], "fpn_channels": 2,
    "projector": [2, 2, 2], "head_widths": [2], "head_kernels": [3, 3],
    "activation": "softmax", "intensity": [0, 1, 0.5, 0.25],
}  # fmt: skip


@pytest.fixture(scope="session")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """Two levels, three classes, a patch that is no cube."""
    params = {"widths": [2, 4]}
    torch.manual_seed(5)
    network = build("unet3d", num_classes=3, **params)
    with torch.no_grad():  # all classes shall occur, with all sorts of probabilities
        network.head.weight *= 6
        network.head.bias.zero_()
    path = tmp_path_factory.mktemp("model") / "model.pt"
    spec = ModelSpec(
        architecture="unet3d",
        weights="",
        patch=(4, 8, 6),
        classes=("background", "ribosome", "membrane"),
        params=params,
    )
    save_model(path, spec, network.state_dict())
    return read_spec(path)


@pytest.fixture(scope="session")
def siam(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """A tiny network of CryoSiam with its normalisation adapted to noise."""
    torch.manual_seed(1)
    network = build(SEMANTIC, **SIAM, num_classes=3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = None
    with torch.no_grad():
        network(torch.rand(1, 1, 16, 64, 16))
    path = tmp_path_factory.mktemp("model") / "siam.pt"
    names = ("background", "a", "b")
    save_model(path, ModelSpec(SEMANTIC, "", (16, 16, 16), names, SIAM), network.state_dict())
    return read_spec(path)


@pytest.fixture(scope="session")
def voxels() -> np.ndarray:
    """Noise of distinct values, float32, (9, 13, 11)."""
    return np.random.default_rng(7).normal(40, 9, SHAPE).astype(np.float32)


@pytest.fixture(scope="session")
def volume_path(tmp_path_factory: pytest.TempPathFactory, voxels: np.ndarray) -> Path:
    """The same as a file."""
    path = tmp_path_factory.mktemp("volume") / "noise.npy"
    np.save(path, voxels)
    return path
