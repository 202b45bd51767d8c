"""``volproc train semantic``: a model from a config."""

from __future__ import annotations

from typing import Any

import click

from volproc.cli.main import LazyGroup
from volproc.cli.options import overwrite_option, quiet_option, watch_options, write_results


@click.group(
    cls=LazyGroup,
    lazy={
        "semantic": ("volproc.cli.train:semantic", "A small 3-D network, from volumes or phantoms.")
    },
)
def train() -> None:
    """Train a model."""


@click.command()
@click.option("--config", required=True, type=click.Path(), help="YAML file: data and schedule.")
@click.option("-o", "--output", required=True, help="Folder for the model and its history.")
@click.option("--epochs", type=int, help="Epochs; wins over the file.")
@click.option("--seed", type=int, help="Seed; wins over the file.")
@click.option("--device", help="auto, cpu, cuda or cuda:N; wins over the file.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@overwrite_option
@quiet_option
def semantic(config: str, output: str, resume: bool, overwrite: bool, **options: Any) -> None:
    """Train a network that gives every voxel a class.

    The best model by validation score is kept in the output folder, with the history of the
    epochs. Paths in the config are relative to where the command runs.
    """
    from volproc.config.loading import resolve
    from volproc.config.training import TrainConfig
    from volproc.training.semantic import train_semantic
    from volproc.training.settings import TrainingSettings

    flags = {name: options.pop(name) for name in ("epochs", "seed", "device")}
    values = resolve(TrainConfig, path=config, flags=flags)
    with watch_options(options) as observe:
        best = train_semantic(
            TrainingSettings.from_json(values.to_training()),
            output=output,
            observe=observe,
            resume=resume,
            overwrite=overwrite,
        )
    write_results({"model": best})
