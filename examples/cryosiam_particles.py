"""From denoised tomograms to particles in a STAR file, with CryoSiam's yaml and checkpoint.

python examples/cryosiam_particles.py --output particles
python examples/cryosiam_particles.py --output particles --tomograms denoised --model particles.ckpt

Without a model a tiny one is trained on a phantom, in seconds, and written as CryoSiam writes it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pandas as pd
import torch
import yaml
from scipy.ndimage import gaussian_filter

from volproc.cli.main import run
from volproc.models.cryosiam_networks import SEMANTIC
from volproc.models.networks import build

CONFIG = Path(__file__).parents[1] / "configs" / "cryosiam-particles.yaml"

NETWORK: dict[str, Any] = {
    "block_type": "basic", "num_layers": [1, 1, 1, 1], "num_filters": [4, 4, 4, 4],
    "fpn_channels": 4, "no_max_pool": True, "dense_dim": 4, "spatial_dims": 3, "in_channels": 1,
}  # fmt: skip
"""Settings of the network, as CryoSiam's pretraining has them, all but the widths as published."""

RADII = {1: 5.0, 2: 3.0}
"""Radius of each class of the phantom, voxels."""


def main() -> None:
    """Predict, find the centres, write them for RELION 5."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tomograms", type=Path, help="folder of denoised .mrc files")
    parser.add_argument("--model", type=Path, help="CryoSiam's checkpoint of a particle model")
    parser.add_argument("--steps", type=int, default=60, help="of training, without a model")
    parser.add_argument("--num-classes", type=int, default=len(RADII), help="without background")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    tomograms = options.tomograms or make_tomogram(options.output / "denoised")
    model = options.model or train_model(options.output / "tiny.ckpt", options.steps)
    settings = yaml.safe_load(CONFIG.read_text())
    del settings["mask_folder"]  # whole tomograms
    settings |= {
        "data_folder": str(tomograms),
        "prediction_folder": str(options.output / "predictions"),
        "trained_model": str(model),
        "save_internal_files": True,  # for the scores
    }
    settings["parameters"]["network"] |= {"out_channels": options.num_classes + 1, "min_voxels": 10}
    config = options.output / "particles.yaml"
    config.write_text(yaml.safe_dump(settings))

    command = ["cryosiam", "semantic-predict", "-q", "--config_file", str(config)]
    if run(command):
        raise SystemExit(1)
    star = options.output / "particles.star"
    command = ["cryosiam", "semantic-to-centers", "-q", "--config_file", str(config)]
    if run([*command, "--relion", str(star), "--overwrite"]):
        raise SystemExit(1)
    table = pd.read_csv(options.output / "predictions" / "particles.csv")
    print(f"{len(table)} particles in {star}")


def make_tomogram(folder: Path) -> Path:
    """Write one phantom as a denoised tomogram."""
    folder.mkdir(exist_ok=True)
    tomogram, _ = make_phantom(seed=1)
    mrcfile.write(folder / "phantom.mrc", tomogram, voxel_size=10.0, overwrite=True)
    return folder


def make_phantom(*, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Balls of two sizes in 0..1, white on black, and their classes."""
    random = np.random.default_rng(seed)
    classes = np.zeros((32, 64, 64), np.int64)
    grid = np.moveaxis(np.indices(classes.shape), 0, -1)
    places = [(z, y, x) for z in (8, 24) for y in (8, 24, 40, 56) for x in (8, 24, 40, 56)]
    for place in places:
        value = int(random.integers(1, 3))
        shifted = np.array(place) + random.uniform(-2, 2, 3)
        classes[np.linalg.norm(grid - shifted, axis=-1) <= RADII[value]] = value
    levels = np.array([0.2, 0.9, 0.6])[classes] + random.normal(0, 0.05, classes.shape)
    return np.clip(gaussian_filter(levels, 0.7), 0, 1).astype(np.float32), classes


def train_model(path: Path, num_steps: int) -> Path:
    """Train a tiny network, and write it as CryoSiam's training does."""
    torch.manual_seed(0)
    widths = {key: NETWORK[key] for key in ("num_layers", "num_filters", "fpn_channels")}
    network = build(
        SEMANTIC,
        **widths,
        projector=[4, 4, NETWORK["dense_dim"]],
        head_widths=[8, 8],
        head_kernels=[3, 3, 3],
        num_classes=len(RADII) + 1,
        activation="softmax",
        heads=["semantic", "distance"],
    )
    tomogram, classes = make_phantom(seed=2)
    batch = torch.from_numpy(tomogram)[None, None]
    target = torch.from_numpy(classes)[None]
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    weights = torch.tensor([1.0, 3.0, 10.0])
    network.train()
    for _ in range(num_steps):
        logits = network(batch[:, :, :16, :32, :32])[:, : len(weights)]
        loss = torch.nn.functional.cross_entropy(logits, target[:, :16, :32, :32], weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    state = {
        f"{'_model.' if '_head.' in name else '_model_backbone.'}{name}": value
        for name, value in network.state_dict().items()
    }
    data = {"patch_size": [32, 32, 32], "min": 0, "max": 1, "mean": 0, "std": 1}
    settings = {"data": data, "network": {"out_channels": len(RADII) + 1, "spatial_dims": 3}}
    parameters = {
        "config": {"parameters": settings},
        "backbone_config": {"parameters": {"network": NETWORK}},
    }
    torch.save({"state_dict": state, "hyper_parameters": parameters}, path)
    return path


if __name__ == "__main__":
    main()
