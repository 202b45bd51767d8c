"""Models written as Octopi writes them, so that it loads them."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import yaml

from volproc.core.errors import ModelError
from volproc.core.model import ModelSpec
from volproc.models.networks import ARCHITECTURES, check_patch
from volproc.models.octopi import CONFIGS, WEIGHTS
from volproc.models.octopi_networks import NAMES
from volproc.models.weights import build_arguments, due_shapes, save_whole, write_whole

WORDS = {name: word for word, name in NAMES.items()} | {"monai-unet": "Unet"}
"""Registered name → Octopi's word."""


def save_octopi_model(
    folder: str | Path,
    spec: ModelSpec,
    state_dict: Mapping[str, torch.Tensor],
    *,
    optimizer: Mapping[str, Any] | None = None,
    dataloader: Mapping[str, Any] | None = None,
) -> tuple[Path, Path]:
    """Write ``model_config.yaml`` and ``best_model.pth``.

    Parameters
    ----------
    folder : str or Path
        Where to; it is made, and what has these names in it is replaced.
    spec : ModelSpec
        A network of Octopi, or a ``monai-unet`` that is the same as Octopi's. Radii have no place
        in such files; Octopi takes them from the copick project.
    state_dict : mapping of str to tensor
        Weights.
    optimizer, dataloader : mapping or None
        What the configuration says of the training, for people; plain values. By default only the
        voxel size, where it is known.

    Returns
    -------
    config, weights : Path
        The two files.

    Raises
    ------
    ModelError
        If Octopi could not load or run the model: another architecture, several input channels, a
        normalisation other than by mean and standard deviation, a patch that is no cube, names
        that are not unique, or weights of another network. Nothing is written then.

    Notes
    -----
    Each file appears when it is whole. A configuration of another model goes before its weights
    are replaced, so that a killed run leaves no pair that does not belong together.
    """
    _check_network(spec)
    _check_weights(spec, state_dict)
    text = _config_text(spec, optimizer, dataloader)
    config, weights = Path(folder) / CONFIGS[0], Path(folder) / WEIGHTS[0]
    is_same = config.is_file() and config.read_bytes() == text.encode()
    if not is_same:
        config.unlink(missing_ok=True)
    save_whole(weights, {k: v.detach().cpu().contiguous() for k, v in state_dict.items()})
    if not is_same:
        write_whole(config, lambda temporary: _write(temporary, text))
    return config, weights


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _check_network(spec: ModelSpec) -> None:
    """Refuse what Octopi has no words for."""
    is_other_unet = (
        spec.architecture == "monai-unet" and spec.params.get("norm", "INSTANCE") != "INSTANCE"
    )
    if spec.architecture not in WORDS or is_other_unet:
        msg = (
            f"Octopi has no {spec.architecture} with {spec.params}. Train one of "
            f"{', '.join(sorted(WORDS))}; a monai-unet with instance norm."
        )
        raise ModelError(msg)
    found = [
        ("input channels", spec.channels, 1),
        ("normalization", spec.normalization, "zscore"),
        ("sides of the patch", spec.patch, (spec.patch[0],) * 3),
    ]
    for what, got, due in found:
        if got != due:
            msg = f"Octopi takes only {what} {due}, the model has {got}. Train with {due}."
            raise ModelError(msg)
    if len(set(spec.classes)) < spec.num_classes:
        msg = (
            f"labels of Octopi are found by name, got the classes {', '.join(spec.classes)}. Give "
            "each a name of its own."
        )
        raise ModelError(msg)


def _check_weights(spec: ModelSpec, state: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights that Octopi's strict loading would refuse."""
    due = due_shapes(spec)
    wrong = [n for n, shape in due.items() if n not in state or state[n].shape != shape]
    wrong += [name for name in state if name not in due]
    if wrong:
        msg = (
            f"{wrong[0]} is missing in the weights or does not belong to {spec.architecture} with "
            f"{spec.params}. Give the weights of the described network."
        )
        raise ModelError(msg)
    check_patch(spec.architecture, spec.params, spec.patch)


def _config_text(
    spec: ModelSpec, optimizer: Mapping[str, Any] | None, dataloader: Mapping[str, Any] | None
) -> str:
    """The configuration, laid out as Octopi lays it out."""
    word = WORDS[spec.architecture]
    given = build_arguments(spec)
    settings = {
        name: given.get(name, parameter.default)
        for name, parameter in signature(ARCHITECTURES[NAMES[word]].build).parameters.items()
        if name not in ("in_channels", "num_classes")
    }
    if spec.architecture == "monai-unet":  # its defaults are others than those of Octopi's
        own = signature(ARCHITECTURES["monai-unet"].build).parameters
        settings = {name: given.get(name, own[name].default) for name in settings}
    content: dict[str, Any] = {
        "model": {
            "architecture": word,
            "num_classes": spec.num_classes,
            **settings,
            "dim_in": spec.patch[0],
        },
        "labels": {name: label for label, name in enumerate(spec.classes) if label},
    }
    if optimizer:
        content["optimizer"] = dict(optimizer)
    known = {} if spec.voxel_size is None else {"voxel_size": spec.voxel_size}
    if loader := {**known, **(dataloader or {})}:
        content["dataloader"] = loader
    try:
        text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    except yaml.YAMLError as error:
        msg = f"the configuration holds a value that YAML has no words for: {error}. Make it plain."
        raise ModelError(msg) from error
    return text


class _Dumper(yaml.SafeDumper):
    """Writes lists of plain values on one line, and each value out where it stands."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_list(dumper: yaml.SafeDumper, values: list[Any] | tuple[Any, ...]) -> yaml.Node:
    is_plain = not any(isinstance(value, list | tuple | dict) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=is_plain)


for _kind in (list, tuple):
    _Dumper.add_representer(_kind, _represent_list)
