"""Class maps of Octopi's other networks: chunked, they are MONAI's of the whole volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference

import volproc
from volproc.core.model import ModelSpec
from volproc.graph.settings import Settings
from volproc.io.open import open_
from volproc.models.loading import read_spec
from volproc.models.networks import build
from volproc.models.octopi_saving import save_octopi_model

NETWORKS: dict[str, dict[str, Any]] = {
    "octopi-attentionunet": {"channels": [4, 8], "strides": [2]},
    "octopi-dynunet": {
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 1],
        "upsample_kernel_size": [2, 1],
        "filters": [4, 8, 8],
        "deep_supervision": True,
    },
    "octopi-segresnet": {"init_filters": 4, "blocks_down": [1, 1, 1], "dsdepth": 2},
    "octopi-mednext": {"init_filters": 4, "blocks_down": [1], "blocks_up": [1]},
}


@pytest.mark.parametrize("architecture", NETWORKS)
def test_labels_are_those_of_the_whole_volume(tmp_path: Path, architecture: str) -> None:
    torch.manual_seed(1)
    network = build(architecture, num_classes=3, **NETWORKS[architecture]).eval()
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):  # as a training leaves them
            buffer.normal_(0, 0.3)
    classes = ("background", "a", "b")
    spec = ModelSpec(architecture, "", (8, 8, 8), classes, NETWORKS[architecture])
    save_octopi_model(tmp_path / "model", spec, network.state_dict())
    voxels = np.random.default_rng(2).normal(3, 2, (11, 14, 21)).astype(np.float32)
    scaled = torch.from_numpy((voxels - voxels.mean()) / voxels.std())[None, None]
    with torch.no_grad():
        logits = sliding_window_inference(scaled, (8, 8, 8), 4, network, 0.5)
        turned = sliding_window_inference(scaled.rot90(2, (3, 4)), (8, 8, 8), 4, network, 0.5)
        expected = ((logits + turned.rot90(-2, (3, 4))) / 2)[0].argmax(0).numpy()
    assert len(np.unique(expected)) > 1
    np.save(tmp_path / "volume.npy", voxels)
    lazy = volproc.predict(
        open_(tmp_path / "volume.npy", voxel_size=10.0),
        read_spec(tmp_path / "model"),
        settings=Settings.preset("octopi").changed({"tta": "octopi2"}),
        chunks=(5, 9, 13),
        scratch=tmp_path,
    )
    np.testing.assert_array_equal(np.asarray(lazy.data.compute(scheduler="sync")), expected)
