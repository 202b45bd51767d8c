"""``volproc train semantic``: a model from a config, or from the targets of copick projects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from volproc.cli.main import LazyGroup
from volproc.cli.options import overwrite_option, quiet_option, watch_options, write_results
from volproc.cli.train_options import OCTOPI, OWN, make_settings, project_options

if TYPE_CHECKING:
    from volproc.training.settings import TrainingSettings


@click.group(
    cls=LazyGroup,
    lazy={
        "semantic": (
            "volproc.cli.train:semantic",
            "A small 3-D network, from copick projects, volumes or phantoms.",
        )
    },
)
def train() -> None:
    """Train a model."""


_seed = click.option("--seed", type=int, help="Seed of weights, patches and the split of runs.")
_device = click.option("--device", help="auto, cpu, cuda or cuda:N.")
_resume = click.option("--resume", is_flag=True, help="Go on with the run in the folder.")


@click.command()
@click.option(
    "-c",
    "--config",
    "configs",
    required=True,
    multiple=True,
    metavar="FILE",
    help="YAML file with data and schedule; or a copick project's JSON file, or several, each as "
    "SESSION,FILE.",
)
@click.option("-o", "--output", required=True, help="Folder for the model and its history.")
@click.option("--epochs", type=click.IntRange(min=1), help="As --num-epochs; wins over the file.")
@project_options(OWN)
@_seed
@_device
@_resume
@overwrite_option
@quiet_option
def semantic(
    configs: tuple[str, ...], output: str, resume: bool, overwrite: bool, **options: Any
) -> None:
    """Train a network that gives every voxel a class.

    On a copick project it learns the targets that "volproc create-targets" painted, and the best
    model is the one whose localized particles are best on the runs that are held out. It is kept
    in the output folder, as best.pt and as Octopi's model_config.yaml and best_model.pth, with
    the history of the epochs. With a YAML file, paths in it are relative to where the command
    runs.
    """
    watch = _take(options, "quiet", "log_json")
    notes: list[str] = []
    if len(configs) == 1 and configs[0].endswith((".yaml", ".yml")):
        settings = _settings_of_file(configs[0], options)
    else:
        epochs = options.pop("epochs")
        options["num_epochs"] = options["num_epochs"] or epochs
        settings, notes = make_settings(configs, options, OWN)
    _train(settings, notes, watch, output=output, resume=resume, overwrite=overwrite)


@click.command("train")
@click.option(
    "-c",
    "--config",
    "configs",
    required=True,
    multiple=True,
    metavar="FILE",
    help="The project's copick.json; of several projects each as SESSION,FILE.",
)
@click.option("-o", "--output", default="results", show_default=True, help="Folder for the model.")
@project_options(OCTOPI)
@_seed
@_device
@_resume
@overwrite_option
@quiet_option
def octopi_train(
    configs: tuple[str, ...], output: str, resume: bool, overwrite: bool, **options: Any
) -> None:
    """Train as Octopi does, with its defaults: a GPU is needed.

    The files model_config.yaml and best_model.pth are Octopi's, and are there from the first
    validation on. "volproc train semantic" has defaults that a processor can do.
    """
    watch = _take(options, "quiet", "log_json")
    settings, notes = make_settings(configs, options, OCTOPI)
    _train(settings, notes, watch, output=output, resume=resume, overwrite=overwrite)


def _take(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: options.pop(name) for name in names}


def _settings_of_file(path: str, options: dict[str, Any]) -> TrainingSettings:
    """Settings of a YAML file; of the options only those that it has too."""
    from volproc.config.loading import resolve
    from volproc.config.training import TrainConfig
    from volproc.training.settings import TrainingSettings

    flags = _take(options, "epochs", "seed", "device")
    others = sorted(name for name, value in options.items() if value not in (None, ()))
    if others:
        flag = others[0].replace("uris", "uri").replace("_", "-")
        msg = (
            f"--{flag} is for copick projects, and {path} is a config of its own. Set it in the "
            "file."
        )
        raise click.UsageError(msg)
    values = resolve(TrainConfig, path=path, flags=flags)
    return TrainingSettings.from_json(values.to_training())


def _train(settings: TrainingSettings, notes: list[str], watch: dict[str, Any], **how: Any) -> None:
    from pathlib import Path

    from volproc.training.semantic import train_semantic

    for note in notes:
        click.echo(f"note: {note}", err=True)
    with watch_options(watch) as observe:
        best = train_semantic(settings, observe=observe, **how)
    results: dict[str, object] = {"model": best}
    for name in ("model_config.yaml", "best_model.pth"):
        path = Path(best).parent / name
        results[name.partition(".")[0]] = path if path.exists() else ""
    write_results(results)
