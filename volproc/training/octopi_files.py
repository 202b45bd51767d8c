"""The trained model as Octopi keeps one: ``model_config.yaml`` and ``best_model.pth``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from volproc.models.octopi_saving import WORDS, save_octopi_model
from volproc.training.settings import CopickData, TrainingSettings

LOSS_NAMES = {
    "dice-cross-entropy": "DiceCELoss",
    "tversky": "TverskyLoss",
    "focal": "FocalLoss",
    "focal-tversky": "WeightedFocalTverskyLoss",
}
"""What Octopi calls the losses."""


def has_octopi_form(settings: TrainingSettings) -> bool:
    """Whether Octopi has the network, with a cube as its window."""
    is_plain = settings.params.get("norm", "INSTANCE") == "INSTANCE"
    return (
        settings.architecture in WORDS
        and is_plain
        and settings.normalization == "zscore"
        and len(set(settings.patch)) == 1
    )


def write_octopi_files(
    folder: Path, settings: TrainingSettings, weights: Mapping[str, torch.Tensor]
) -> list[Path]:
    """Write the two files, each whole, where Octopi has such a network.

    Parameters
    ----------
    folder : Path
        Where they go.
    settings : TrainingSettings
        What the model is.
    weights : mapping of str to tensor
        Its weights.

    Returns
    -------
    paths : list of Path
        The files; none where Octopi has no such network.
    """
    if not has_octopi_form(settings):
        return []
    return list(
        save_octopi_model(
            folder,
            settings.describe(),
            weights,
            optimizer=_optimizer(settings),
            dataloader=_dataloader(settings),
        )
    )


def _optimizer(settings: TrainingSettings) -> dict[str, Any]:
    values: dict[str, Any] = {
        "my_num_samples": settings.batch_size,
        "val_interval": settings.validate_every,
        "lr": settings.learning_rate,
        "optimizer": "AdamW",
        "metrics_function": "picks" if settings.metric == "picks" else "ConfusionMatrixMetric",
        "loss_function": LOSS_NAMES[settings.loss],
    }
    if settings.loss in ("tversky", "focal-tversky"):
        values["alpha"] = settings.tversky_alpha
    if settings.loss in ("focal", "focal-tversky"):
        values["gamma"] = settings.focal_gamma
    return values


def _dataloader(settings: TrainingSettings) -> dict[str, Any]:
    """Where the data came from, of a copick project."""
    train = [data for data in settings.train if isinstance(data, CopickData)]
    if not train:
        return {}
    held_out = [data for data in settings.validate if isinstance(data, CopickData)]
    name, _, owner = train[0].targets.partition(":")
    user, _, session = owner.partition("/")
    configs = list(dict.fromkeys(data.config for data in train))
    sizes = sorted({data.voxel_size for data in train})
    return {
        "target_info": [name, user, session],
        "voxel_size": sizes[0] if len(sizes) == 1 else sizes,
        "tomo_algorithm": ",".join(dict.fromkeys(data.tomogram for data in train)),
        "background_ratio": round(1 - settings.foreground, 6),
        "config": configs[0] if len(configs) == 1 else configs,
        "trainRunIDs": _runs(train),
        "valRunIDs": _runs(held_out),
    }


def _runs(data: list[CopickData]) -> list[str]:
    return list(dict.fromkeys(run for item in data for run in item.runs))
