"""Options of a training on copick projects: Octopi's names, and two sets of defaults."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from volproc.cli.copick_options import SegmentationName, SegmentationUri, TomogramUri, Words
from volproc.cli.number_options import Numbers
from volproc.cli.train_projects import one_of, projects_of, split_of

if TYPE_CHECKING:
    from volproc.training.settings import TrainingSettings

F = TypeVar("F", bound=Callable[..., Any])

OWN: dict[str, Any] = {
    "channels": (16, 32, 64, 64),
    "strides": (2, 2, 1),
    "res_units": 1,
    "dim_in": 32,
    "num_epochs": 30,
    "steps_per_epoch": 50,
    "val_interval": 3,
    "batch_size": 6,
    "lr": 5e-3,
    "loss": "dice-cross-entropy",
    "tversky_alpha": 0.3,
    "background_ratio": 0.1,
    "best_metric": "picks",
    "ema_decay": 0.99,
    "patience": 0,
}
"""Defaults of ``volproc train semantic``: a small network that a processor trains in minutes."""

OCTOPI: dict[str, Any] = {
    "channels": (32, 64, 96, 96),
    "strides": (2, 2, 1),
    "res_units": 1,
    "dim_in": 96,
    "num_epochs": 1000,
    "steps_per_epoch": None,
    "val_interval": 10,
    "batch_size": 16,
    "lr": 1e-3,
    "loss": "tversky",
    "tversky_alpha": 0.3,
    "background_ratio": 0.0,
    "best_metric": "avg_f1",
    "ema_decay": 0.995,
    "patience": 30,
}
"""Defaults of ``volproc octopi train``: Octopi's, for a GPU."""

AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "own": {"affine": 0.2, "contrast": 0.1},
    "octopi": {
        "affine": 0.3,
        "scale": 0.15,
        "shift": 0.15,
        "contrast": 0.15,
        "noise": 0.5,
        "chance": 0.3,
    },
}
"""Random changes of patches, beside flips and quarter turns."""

OCTOPI_WARMUP_EPOCHS = 5

OCTOPI_LAST_RATE = 1e-6


class BestMetric(click.ParamType):
    """What the best model is chosen by."""

    name = "METRIC"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float, int]:
        """Kind, beta, and number of the class; 0 for the mean of all."""
        if not isinstance(value, str):
            return value
        found = re.fullmatch(
            r"(?:avg_)?(picks|voxels|f1|fbeta(\d+(?:\.\d+)?))(?:_class(\d+))?", value, re.IGNORECASE
        )
        if found is None or float(found[2] or 1) <= 0 or found[3] == "0":
            self.fail(
                f'"{value}" is no metric. Choose picks (F4 of localized particles), voxels, '
                "avg_f1, fBeta4, or one class: f1_class2, fBeta4_class2, picks_class2.",
                param,
                ctx,
            )
        kind = "picks" if found[1].lower() == "picks" else "voxels"
        beta = float(found[2]) if found[2] else 4.0 if kind == "picks" else 1.0
        return kind, beta, int(found[3] or 0)


def project_options(defaults: dict[str, Any]) -> Callable[[F], F]:
    """Add the options of a training on copick projects, with one of the sets of defaults."""

    def option(*names: str, kind: Any, help_text: str) -> Callable[[F], F]:
        key = names[-1].lstrip("-").replace("-", "_")
        default = defaults.get(key)
        text = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
        return click.option(
            *names,
            type=kind,
            help=help_text if default is None else f"{help_text}  [default: {text}]",
        )

    count = click.IntRange(min=1)
    positive = click.FloatRange(min=0, min_open=True)
    part = click.FloatRange(0, 1)
    widths = Numbers(int, name="N,N,...", example="32,64,96")

    def add(function: F) -> F:
        for one in reversed(
            (
                option(
                    "-vs",
                    "--voxel-size",
                    kind=Numbers(name="Å[,Å...]", example="10, or 10,7.84"),
                    help_text="Å per voxel of the tomograms, one for all projects or one each. "
                    "Mixed sizes are not rescaled.  [default: 10]",
                ),
                option(
                    "-alg",
                    "--tomo-alg",
                    kind=Words(),
                    help_text="Type of the tomograms; of several, a run is seen in each.  "
                    "[default: wbp]",
                ),
                click.option(
                    "-uri",
                    "--tomo-uri",
                    "tomo_uris",
                    multiple=True,
                    type=TomogramUri(),
                    help="Type and voxel spacing of the tomograms, as wbp@10, instead of both "
                    "flags; given several times, a run is seen in each.",
                ),
                option(
                    "-tinfo",
                    "--target-info",
                    kind=SegmentationName(),
                    help_text="Targets that volproc create-targets made.  "
                    "[default: targets,octopi,1]",
                ),
                option(
                    "-turi",
                    "--target-uri",
                    kind=SegmentationUri(),
                    help_text="The same as --target-info.",
                ),
                option(
                    "-truns",
                    "--train-run-ids",
                    "--trainRunIDs",
                    kind=Words(),
                    help_text="Runs to train on, as RUN or SESSION:RUN; the others are held out.",
                ),
                option(
                    "-vruns",
                    "--validate-run-ids",
                    "--validateRunIDs",
                    kind=Words(),
                    help_text="Runs to validate on; the others are trained on.",
                ),
                option(
                    "-split",
                    "--data-split",
                    kind=Numbers(name="PART[,PART]", example="0.8, or 0.7,0.1"),
                    help_text="Part of the runs to train on, where none are named, and part to "
                    "hold out; all others if not said.  [default: 0.8]",
                ),
                option(
                    "-mc",
                    "--model-config",
                    kind=click.Path(),
                    help_text="model_config.yaml of a model to go on from: its network is kept.",
                ),
                option(
                    "-mw", "--model-weights", kind=click.Path(), help_text="best_model.pth of it."
                ),
                option("-ch", "--channels", kind=widths, help_text="Widths of the levels."),
                option("-s", "--strides", kind=widths, help_text="Strides between the levels."),
                option(
                    "--res-units", kind=click.IntRange(min=0), help_text="Residual units a level."
                ),
                option("-dim", "--dim-in", kind=count, help_text="Side of a patch, voxels."),
                option("-nepochs", "--num-epochs", kind=count, help_text="Epochs."),
                option(
                    "--steps-per-epoch",
                    kind=count,
                    help_text="Batches an epoch; one a training run if not said.",
                ),
                option("--val-interval", kind=count, help_text="Epochs between validations."),
                option(
                    "-ncache",
                    "--ncache-tomos",
                    kind=count,
                    help_text="Of Octopi, and without effect: volumes are read by block through "
                    "a cache of fixed size.",
                ),
                option(
                    "-metric",
                    "--best-metric",
                    kind=BestMetric(),
                    help_text="What the best model is chosen by: picks (F4 of localized "
                    "particles), or voxels: avg_f1, fBetaN, f1_classK, fBetaN_classK.",
                ),
                option("-bs", "--batch-size", kind=count, help_text="Patches a step."),
                option("-lr", "--lr", kind=positive, help_text="Highest learning rate of AdamW."),
                option(
                    "--loss",
                    kind=click.Choice(["dice-cross-entropy", "tversky", "focal", "focal-tversky"]),
                    help_text="What is made small.",
                ),
                option(
                    "-ta",
                    "--tversky-alpha",
                    kind=part,
                    help_text="Weight of false positives in the Tversky loss.",
                ),
                option(
                    "-bgr",
                    "--background-ratio",
                    kind=part,
                    help_text="Part of the patches that lie anywhere; the others hold a class, "
                    "classes taking turns. 0: as many as of each class.",
                ),
                option("--ema-decay", kind=part, help_text="Decay of the mean of the weights."),
                option(
                    "--patience",
                    kind=click.IntRange(min=0),
                    help_text="Validations without a better score after which it stops; 0: never.",
                ),
            )
        ):
            function = one(function)
        return function

    return add


def make_settings(
    configs: tuple[str, ...], options: dict[str, Any], defaults: dict[str, Any]
) -> tuple[TrainingSettings, list[str]]:
    """Turn options of the command line into the settings of a training, with notes.

    Parameters
    ----------
    configs : tuple of str
        Projects, as PATH or SESSION,PATH.
    options : dict
        What was said; None where nothing was.
    defaults : dict
        `OWN` or `OCTOPI`.

    Raises
    ------
    click.UsageError
        If options do not go together.
    VolprocError
        As `volproc.training.projects.settings_of`.
    """
    from dataclasses import replace

    from volproc.training.augment import Augmentation
    from volproc.training.projects import ProjectData, continue_from, cube, settings_of

    said = {key: value for key, value in options.items() if value not in (None, ())}
    chosen = {**defaults, **said}
    if ("model_config" in said) != ("model_weights" in said):
        msg = "--model-config and --model-weights belong together: give both or none."
        raise click.UsageError(msg)
    targets = one_of(said, "target_uri", "target_info") or ("targets", "octopi", "1")
    is_octopi = defaults is OCTOPI
    kind, beta, number = BestMetric().convert(chosen["best_metric"], None, None)
    epochs, steps = chosen["num_epochs"], chosen["steps_per_epoch"] or 1
    settings, notes = settings_of(
        ProjectData(
            projects_of(configs, said),
            chosen.get("tomo_alg", ("wbp",)),
            targets,
            chosen.get("train_run_ids", ()),
            chosen.get("validate_run_ids", ()),
            *split_of(chosen.get("data_split", (0.8,))),
            chosen.get("seed", 0),
        ),
        architecture="octopi-unet",
        params={
            "channels": list(chosen["channels"]),
            "strides": list(chosen["strides"]),
            "num_res_units": chosen["res_units"],
            "dropout": 0.1 if is_octopi else 0.0,
        },
        patch=cube(chosen["dim_in"]),
        epochs=epochs,
        steps_per_epoch=steps,
        validate_every=chosen["val_interval"],
        batch_size=chosen["batch_size"],
        learning_rate=chosen["lr"],
        weight_decay=1e-3,
        loss=chosen["loss"],
        tversky_alpha=chosen["tversky_alpha"],
        ema_decay=chosen["ema_decay"],
        patience=chosen["patience"],
        validation_overlap=0.5 if is_octopi else 0.25,
        metric=kind,
        beta=beta,
        augmentation=Augmentation(**AUGMENTATIONS["octopi" if is_octopi else "own"]),
        seed=chosen.get("seed", 0),
        device=chosen.get("device", "auto"),
    )
    if not chosen["steps_per_epoch"]:
        steps = sum(len(getattr(data, "runs", ())) for data in settings.train)
    names = settings.classes
    if number >= len(names):
        msg = f"there is no class {number}: the classes are {', '.join(names[1:])}."
        raise click.UsageError(msg)
    ratio = chosen["background_ratio"] or 1 / len(names)
    settings = replace(
        settings,
        steps_per_epoch=steps,
        foreground=1 - ratio,
        metric_class=names[number] if number else "",
        warmup_steps=OCTOPI_WARMUP_EPOCHS * steps if is_octopi else min(50, epochs * steps // 10),
        final_rate=min(1.0, OCTOPI_LAST_RATE / settings.learning_rate) if is_octopi else 0.01,
    )
    if "model_config" in said:
        settings = continue_from(settings, said["model_config"], said["model_weights"])
    return settings, notes
