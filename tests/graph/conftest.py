"""A small network and small volumes, made on the fly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from volproc.core.model import ModelSpec
from volproc.models.loading import read_spec, save_model
from volproc.models.networks import build

SHAPE = (9, 13, 11)


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
def voxels() -> np.ndarray:
    """Noise of distinct values, float32, (9, 13, 11)."""
    return np.random.default_rng(7).normal(40, 9, SHAPE).astype(np.float32)


@pytest.fixture(scope="session")
def volume_path(tmp_path_factory: pytest.TempPathFactory, voxels: np.ndarray) -> Path:
    """The same as a file."""
    path = tmp_path_factory.mktemp("volume") / "noise.npy"
    np.save(path, voxels)
    return path
