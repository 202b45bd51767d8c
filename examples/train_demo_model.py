"""Make the embedded model again: train on phantoms, halve the precision, score on unseen phantoms.

    python examples/train_demo_model.py --output phantom-unet
    python examples/train_demo_model.py --output scores --model phantom-unet

The second form only scores a model that is there, here the embedded one. Figures go to
``OUTPUT/figures.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from volproc.config.loading import load
from volproc.config.training import TrainConfig
from volproc.core.events import Event
from volproc.graph.predict import Settings
from volproc.metrics.points import to_json
from volproc.models.loading import read_spec, save_model
from volproc.training.semantic import train_semantic
from volproc.training.settings import TrainingSettings
from volproc.workflows.demo import DemoTask, demo

CONFIG = Path(__file__).parents[1] / "configs" / "train-phantoms.yaml"
UNSEEN_SEEDS = (5000, 5001, 5002, 5003)
NOISE_LEVELS = (0.5, 1.0)
SHAPE = (96, 128, 128)


def main() -> None:
    """Train unless a model is given, then score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", help="score this model instead of training one")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--tta", default="none", help="views of test-time augmentation")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = options.model or str(_train(options.output, resume=options.resume))
    figures = {}
    for noise in NOISE_LEVELS:
        begun = time.process_time()
        task = DemoTask(
            output=str(options.output / f"noise-{noise:g}"),
            shape=SHAPE,
            noise=noise,
            seeds=UNSEEN_SEEDS,
            model=model,
            settings=Settings(tta=options.tta, overlap=0.25),
            overwrite=True,
        )
        scores = to_json(demo(task).table)
        figures[f"noise {noise:g}"] = scores
        print(f"noise {noise:g}: {time.process_time() - begun:.0f} CPU s")
        for name, row in scores.items():
            print(
                f"  {name:14s} precision {row['precision']} recall {row['recall']} F1 {row['f1']}"
            )
    (options.output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")


def _train(output: Path, *, resume: bool) -> Path:
    settings = TrainingSettings.from_json(load(CONFIG, TrainConfig).to_training())
    best = train_semantic(settings, output=output / "training", observe=_show, resume=resume)
    weights = torch.load(best, weights_only=True)["state_dict"]
    model = output / "phantom-unet.pt"
    save_model(model, read_spec(best), {name: value.half() for name, value in weights.items()})
    return model


def _show(event: Event) -> None:
    if event.kind == "epoch":
        facts = {k: f"{v:.3g}" for k, v in event.facts.items()}
        print(f"{time.process_time() / 60:.1f} CPU min", facts, flush=True)


if __name__ == "__main__":
    main()
