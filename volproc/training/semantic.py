"""Training of a semantic segmentation network, epoch by epoch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, isfinite, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from volproc.core.errors import ModelError
from volproc.core.events import Event, Observer, ignore
from volproc.models.devices import (
    choose_device,
    choose_precision,
    make_deterministic,
    order_channels_last,
    precision_context,
)
from volproc.models.loading import read_weights, save_model
from volproc.models.networks import build
from volproc.training.checkpoint import (
    BEST,
    prepare_folder,
    read_state,
    refuse_run,
    write_config,
    write_history,
    write_state,
)
from volproc.training.data import load_data
from volproc.training.labelled import LabelledVolume, choose_volume
from volproc.training.losses import dice_cross_entropy
from volproc.training.settings import TrainingSettings
from volproc.training.validation import Scores, validate

STAGE = "train"


def train_semantic(
    settings: TrainingSettings,
    *,
    output: str | Path,
    observe: Observer = ignore,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Train a network to tell classes apart, voxel by voxel.

    Parameters
    ----------
    settings : TrainingSettings
        Model, data and schedule.
    output : str or Path
        Folder for ``best.pt`` (the model file), ``last-state.pt`` (to resume from),
        ``history.csv`` and ``training.json`` (settings and versions).
    observe : callable
        Takes an event of kind ``epoch`` after each, with loss and scores in its facts.
    resume : bool
        Go on with the run in ``output``; it ends with the bits of a run that was never stopped
        (on the CPU with the same number of threads).
    overwrite : bool
        Replace a run that is there.

    Returns
    -------
    best : Path
        Model file of the epoch with the best validation score.

    Raises
    ------
    ExistsError
        If a run is there, and neither ``resume`` nor ``overwrite`` is given.
    ResumeError
        If the run there was begun with other settings.
    ModelError
        If the loss is not finite any more; what was saved before is kept.

    Notes
    -----
    Chance depends on the seed, the epoch and the step alone. Memory is that of the volumes, if
    they are smaller than ``settings.memory_bytes`` together, and of one batch.
    """
    folder = Path(output)
    if not (resume or overwrite):
        refuse_run(folder)
    trainer = _Trainer(settings, choose_device(settings.device))
    state = read_state(folder, settings) if resume else None
    if state is not None:
        trainer.restore(state)
    if trainer.epoch < settings.epochs:
        trainer.volumes = load_data(settings, settings.train)
        trainer.held_out = load_data(settings, settings.validate) or trainer.volumes
    # Nothing is made or removed before model and data are known to be right.
    prepare_folder(folder, keep=resume)
    write_config(folder, settings)
    observe(Event("stage", STAGE, total=settings.epochs))
    for _ in range(trainer.epoch):
        observe(Event("skip", STAGE))
    while trainer.epoch < settings.epochs:
        facts, is_best = trainer.run_epoch()
        if is_best:
            save_model(folder / BEST, settings.describe(), trainer.weights())
        write_state(folder, settings, trainer.state())
        write_history(folder, trainer.history)
        observe(Event("epoch", STAGE, facts=facts))
    observe(Event("done", STAGE, facts={"best_score": trainer.best}))
    return folder / BEST


@dataclass(slots=True)
class _Progress:
    """Where a run stands."""

    epoch: int = 0
    best: float = -1.0


class _Trainer:
    """Network, optimiser and running mean, and how they change in an epoch."""

    def __init__(self, settings: TrainingSettings, device: torch.device) -> None:
        self.settings, self.device = settings, device
        self.progress = _Progress()
        self.history: list[dict[str, float]] = []
        self.volumes: Sequence[LabelledVolume] = ()
        self.held_out: Sequence[LabelledVolume] = ()
        make_deterministic()
        spec = settings.describe()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            params = {"in_channels": spec.channels, "num_classes": spec.num_classes}
            network = build(spec.architecture, **{**params, **spec.params})
        if settings.start_from:
            _take_over(network, settings.start_from)
        # Channels last is also the faster order for training on the CPU: 0.41 s against 0.59 s
        # a step of the small U-Net.
        self.network = order_channels_last(network.to(device))
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=settings.learning_rate,
            betas=(0.9, 0.999),
            weight_decay=settings.weight_decay,
        )
        self.class_weights = (
            torch.tensor(settings.class_weights, device=device) if settings.class_weights else None
        )

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return self.progress.epoch

    @property
    def best(self) -> float:
        """Best validation score so far."""
        return self.progress.best

    def weights(self) -> dict[str, torch.Tensor]:
        """Weights to validate and to save."""
        return self.average if self.settings.ema_decay else self.network.state_dict()

    def state(self) -> dict[str, Any]:
        """All that the next epoch needs."""
        return {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "best": self.best,
            "history": self.history,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.network.load_state_dict(state["network"])
        self.average = {k: v.to(self.device) for k, v in state["average"].items()}
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = _Progress(state["epoch"], state["best"])
        self.history = list(state["history"])

    def run_epoch(self) -> tuple[dict[str, Any], bool]:
        """Train and validate once; returns what happened and whether it is the best so far."""
        begun = time.perf_counter()
        self.network.train()
        losses = [self._step(step) for step in range(self.settings.steps_per_epoch)]
        scores = self._validate()
        is_best = scores.overall > self.best
        self.progress = _Progress(self.epoch + 1, max(self.best, scores.overall))
        row: dict[str, float] = {
            "epoch": self.epoch,
            "loss": float(np.mean(losses)),
            "fbeta": scores.overall,
            **{f"fbeta {name}": value for name, value in scores.by_class.items()},
            "learning_rate": self._rate(self.epoch * self.settings.steps_per_epoch - 1),
        }
        self.history.append(row)
        seconds = time.perf_counter() - begun
        return {**row, "best": self.best, "seconds_s": seconds}, is_best

    def _rate(self, step: int) -> float:
        """Learning rate: a linear rise, then a cosine down to a hundredth."""
        settings = self.settings
        total = settings.epochs * settings.steps_per_epoch
        rise = min(1.0, (step + 1) / max(settings.warmup_steps, 1))
        fall = 0.01 + 0.99 * 0.5 * (1 + cos(pi * step / total))
        return settings.learning_rate * rise * fall

    def _step(self, step: int) -> float:
        settings, number = self.settings, self.epoch * self.settings.steps_per_epoch + step
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(number)
        images, classes = self._batch(number)
        with precision_context(self.device, self._training_precision()):
            logits = self.network(images)
        loss = dice_cross_entropy(logits.float(), classes, class_weights=self.class_weights)
        value = float(loss.item())
        if not isfinite(value):
            msg = (
                f"the loss is {value} in epoch {self.epoch + 1}, step {step + 1}: training has "
                f"diverged. Lower learning_rate, {settings.learning_rate} now, or look for "
                "extreme voxels in the data; finished epochs are kept."
            )
            raise ModelError(msg)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self._average(number)
        return value

    def _training_precision(self) -> torch.dtype:
        """bfloat16 where the GPU has it; float16 would need its gradients scaled."""
        precision = choose_precision(self.device)
        return torch.float32 if precision == torch.float16 else precision

    def _batch(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        settings = self.settings
        rng = np.random.default_rng((settings.seed, number))
        images, classes = [], []
        for i in range(settings.batch_size):
            turn = number * settings.batch_size + i
            volume, around = choose_volume(self.volumes, rng, settings.foreground, turn)
            start = volume.draw_start(rng, settings.patch, around=around)
            image, truth = settings.augmentation(*volume.patch(start, settings.patch, rng), rng)
            images.append(image)
            classes.append(truth)
        return (
            torch.from_numpy(np.stack(images)[:, None]).to(self.device),
            torch.from_numpy(np.stack(classes).astype(np.int64)).to(self.device),
        )

    @torch.no_grad()
    def _average(self, number: int) -> None:
        if not self.settings.ema_decay:
            return
        # Early on the mean follows quickly, or it would remember the first random weights.
        decay = min(self.settings.ema_decay, (1 + number) / (10 + number))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def _validate(self) -> Scores:
        settings = self.settings
        current = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.weights())
        self.network.eval()
        with torch.inference_mode():
            scores = validate(
                lambda batch: self.network(batch).float(),
                self.held_out,
                patch=settings.patch,
                classes=settings.classes,
                beta=settings.beta,
                most_patches=settings.validation_patches,
                device=self.device,
            )
        self.network.load_state_dict(current)
        return scores


def _take_over(network: nn.Module, address: str) -> None:
    """Copy the layers of another model that have the same names and sizes."""
    own, given = network.state_dict(), read_weights(address)
    same = {k: v for k, v in given.items() if k in own and own[k].shape == v.shape}
    if not same:
        msg = (
            f"no layer of {address} fits the network that is to be trained. Start from a model "
            "of the same architecture and widths, or leave start_from out."
        )
        raise ModelError(msg)
    network.load_state_dict({**own, **same})
