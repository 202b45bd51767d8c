"""Make the embedded network for nuclei again: train on phantoms, halve the precision, score it.

    python examples/train_demo_cells.py --output phantom-nuclei
    python examples/train_demo_cells.py --output scores --model phantom-nuclei

A network of Cellpose 3 with a quarter of the usual widths, trained by Cellpose's own code in about
four minutes of one processor. The second form only scores a network that is there, here the
embedded one. Figures of slices that training has not seen go to ``OUTPUT/figures.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from cellpose import models, train

from volproc.metrics import contingency_table, score_matches
from volproc.models.cellpose_networks import AnyWidthCPnet, load_cellpose
from volproc.models.weights import save_whole
from volproc.phantoms.cells import CellSpec, make_cells

WIDTHS = [2, 8, 16, 32, 64]
NUM_STACKS = {"train": 40, "unseen": 8}
SLICES = 4
SIDE, QUICK_SIDE = 192, 64
EPOCHS = 16

Slices = list[npt.NDArray[np.float32]]
Masks = list[npt.NDArray[np.uint16]]


def main() -> None:
    """Train unless a network is given, then score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", help="score this network instead of training one")
    parser.add_argument("--quick", action="store_true", help="seconds; learns nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    name = options.model or str(train_network(options.output, is_quick=options.quick))
    model = load_cellpose(name, torch.device("cpu"))
    num_stacks, side = (1, QUICK_SIDE) if options.quick else (NUM_STACKS["unseen"], SIDE)
    figures = score(model, *make_slices(num_stacks, 900, side))
    (options.output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))


def make_slices(num_stacks: int, seed: int, side: int = SIDE) -> tuple[Slices, Masks]:
    """Slices of stacks of all sorts: sizes, spacings, crowding and noise vary."""
    rng = np.random.default_rng(seed)
    images, masks = [], []
    for number in range(num_stacks):
        least = rng.uniform(5.0, 9.0)
        spec = CellSpec(
            (SLICES, side, side),
            seed=seed + number,
            z_step=rng.uniform(4.0, 12.0),
            radius=(least, least * rng.uniform(1.2, 1.8)),
            closeness=rng.uniform(0.8, 1.0),
            fill=rng.uniform(0.15, 0.45),
            noise=rng.uniform(0.02, 0.4),
            blur=rng.uniform(0.6, 1.6),
        )
        image, labels = make_cells(spec)
        images.extend(image)
        masks.extend(labels.astype(np.uint16))
    return images, masks


def train_network(output: Path, *, is_quick: bool) -> Path:
    """Train with Cellpose's own code, and keep half precision."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - Cellpose draws its patches from there
    begun = time.process_time()
    num_stacks, side = (1, QUICK_SIDE) if is_quick else (NUM_STACKS["train"], SIDE)
    images, masks = make_slices(num_stacks, 0, side)
    network = AnyWidthCPnet(WIDTHS, 3, sz=3, max_pool=True, diam_mean=30.0)
    weights, losses, _ = train.train_seg(
        network,
        train_data=images,
        train_labels=masks,
        channels=[0, 0],
        batch_size=8,
        n_epochs=1 if is_quick else EPOCHS,
        learning_rate=0.005,
        weight_decay=1e-5,
        SGD=False,
        save_path=output,
        model_name="trained",
        bsize=160,
        min_train_masks=1,
        rescale=True,
    )
    print(f"{(time.process_time() - begun) / 60:.1f} CPU min, last loss {losses[-1]:.3f}")
    state = torch.load(weights, map_location="cpu", weights_only=True)
    halved = {
        key: value.half() if value.is_floating_point() and value.numel() > 1 else value
        for key, value in state.items()
    }
    path = output / "phantom-nuclei.pt"
    save_whole(path, halved)
    return path


def score(model: models.CellposeModel, images: Slices, masks: Masks) -> dict[str, float]:
    """Average precision over slices, Cellpose's own definition."""
    scores = [
        score_matches(
            contingency_table(truth, model.eval(image, channels=[0, 0])[0]), thresholds=(0.5, 0.75)
        )["average_precision"]
        for image, truth in zip(images, masks, strict=True)
    ]
    half, high = np.mean(scores, axis=0)
    return {"num_slices": len(images), "ap50": round(float(half), 4), "ap75": round(float(high), 4)}


if __name__ == "__main__":
    main()
