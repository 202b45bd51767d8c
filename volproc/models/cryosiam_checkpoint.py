"""Checkpoints of CryoSiam: what is in the file, and what each of its parts is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import torch

from volproc.core.errors import MissingFileError, ModelError
from volproc.core.types import ZYX
from volproc.models.weights import check_state, describe_content, load_safely

Kind = Literal["semantic", "denoiser"]

BACKBONE = "_model_backbone."
HEADS = "_model."
"""What the names of weights begin with."""

GET = "It is damaged, or from a version of CryoSiam that this volproc does not know"

INTENSITY = {"min": 0.0, "max": 1.0, "mean": 0.0, "std": 1.0}
"""What CryoSiam's published models were trained with; taken where a checkpoint does not say it."""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A checkpoint of a network with heads, read but not checked against the network."""

    path: Path
    """The file."""

    kind: Kind
    """By its heads."""

    state: Mapping[str, torch.Tensor]
    """Weights by name; the prefixes of backbone and heads are taken off."""

    task: Mapping[str, Any]
    """Configuration of the training of the heads."""

    backbone: Mapping[str, Any]
    """Configuration of the training of the backbone."""

    def weight(self, name: str) -> torch.Tensor:
        """Return one weight of a convolution.

        Raises
        ------
        ModelError
            If it is missing, or of a network of other than three dimensions.
        """
        if name not in self.state:
            msg = f"{self.path} lacks the weight {full_name(name)}. {GET}."
            raise ModelError(msg)
        value = self.state[name]
        if value.ndim != 5 or not value.numel():
            msg = (
                f"{full_name(name)} in {self.path} has shape {tuple(value.shape)}, a convolution "
                "of a network in three dimensions has five sizes. Use a model trained in 3-D."
            )
            raise ModelError(msg)
        return value

    def most(self) -> int:
        """Return a number that no count of layers or channels of this file is above."""
        sides = (side for value in self.state.values() for side in value.shape)
        return max([len(self.state), *sides])


def open_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in it is run.

    Parameters
    ----------
    path : Path
        A ``.ckpt`` of Lightning, as CryoSiam's training writes it.

    Raises
    ------
    MissingFileError
        If there is no such file.
    ModelError
        If it is damaged, holds Python objects, or is of another program, of CryoSiam's pretraining
        or of its model of instances.

    Notes
    -----
    The state of the training's optimizer is read with it, about three times the weights, and
    dropped.
    """
    if not path.is_file():
        msg = f"there is no checkpoint {path}. Give the .ckpt file of a trained model of CryoSiam."
        raise MissingFileError(msg)

    def refuse(why: str, error: Exception) -> ModelError:
        return ModelError(
            f"{path} cannot be read as a checkpoint: {why}. If it holds Python objects beside "
            "tensors and plain values, loading it would run whatever its author put in; save "
            "state_dict and hyper_parameters alone. Else it is damaged: get the original."
        )

    content = load_safely(path, refuse)
    tables = ("state_dict", "hyper_parameters")
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), Mapping) and content[name] for name in tables
    ):
        msg = (
            f"{path} holds {describe_content(content)}, and no checkpoint of CryoSiam, which has "
            f"the tables {' and '.join(tables)}. Give the .ckpt of a trained model."
        )
        raise ModelError(msg)
    check_state(content["state_dict"], path)
    settings = content["hyper_parameters"]
    kind = _find_kind(content["state_dict"], settings, path)
    configs = {name: settings.get(name) for name in ("config", "backbone_config")}
    for name, config in configs.items():
        if not isinstance(config, Mapping):
            msg = f"{path} lacks hyper_parameters.{name}, which says what the network is. {GET}."
            raise ModelError(msg)
    state = _strip(content["state_dict"])
    return Checkpoint(path, kind, state, configs["config"], configs["backbone_config"])


def full_name(name: str) -> str:
    """Put back what the name of a weight begins with in the file.

    >>> full_name("semantic_head.0.weight"), full_name("encoder.conv1.weight")
    ('_model.semantic_head.0.weight', '_model_backbone.encoder.conv1.weight')
    """
    return f"{HEADS if name.partition('.')[0].endswith('_head') else BACKBONE}{name}"


def read_patch(checkpoint: Checkpoint) -> ZYX[int]:
    """Return the patch that the heads were trained on, voxels (z, y, x).

    Raises
    ------
    ModelError
        If it is missing or impossible.
    """
    size = look_up(checkpoint.task, "parameters.data.patch_size")
    sides = [size] * 3 if isinstance(size, int) else size
    if not _are_counts(sides, 3, 2**16):
        got = "is missing" if size is None else f"is {str(size)[:80]}"
        msg = (
            f"parameters.data.patch_size in {checkpoint.path} {got}; three whole numbers of voxels "
            f"are due. {GET}."
        )
        raise ModelError(msg)
    z, y, x = sides
    return z, y, x


def read_intensity(checkpoint: Checkpoint) -> list[float]:
    """Return minimum, maximum, mean and standard deviation of the training.

    Raises
    ------
    ModelError
        If they are no numbers, or the range or the deviation is not positive.
    """
    found = {
        name: look_up(checkpoint.task, f"parameters.data.{name}", usual)
        for name, usual in INTENSITY.items()
    }
    check_intensity(found, f"parameters.data in {checkpoint.path}")
    return [float(value) for value in found.values()]


def check_intensity(found: Mapping[str, Any], place: str) -> None:
    """Refuse an intensity step that cannot be.

    Parameters
    ----------
    found : mapping of str
        Values of min, max, mean and std.
    place : str
        Where they stand, for the message.

    Raises
    ------
    ModelError
        If they are no numbers, or the range or the deviation is not positive.
    """
    are_numbers = all(
        isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        for value in found.values()
    )
    if not are_numbers or found["max"] <= found["min"] or found["std"] <= 0:
        msg = (
            f"{place} says {', '.join(f'{k} {v}' for k, v in found.items())}: max is above min, "
            "and std above 0. Correct them."
        )
        raise ModelError(msg)


def read_counts(checkpoint: Checkpoint, key: str, num: int = 0) -> Any:
    """Return a whole number of the backbone's network, or several.

    Parameters
    ----------
    checkpoint : Checkpoint
        The file.
    key : str
        Key of ``backbone_config.parameters.network``.
    num : int
        How many there are; 0 for a single one, not in a list.

    Raises
    ------
    ModelError
        If it is missing, or another one than a network of this file can have.
    """
    value = look_up(checkpoint.backbone, f"parameters.network.{key}")
    most = checkpoint.most()
    if not _are_counts(value if num else [value], num or 1, most):
        got = "is missing" if value is None else f"is {str(value)[:80]}"
        due = f"{num} whole numbers" if num else "a whole number"
        msg = (
            f"backbone_config.parameters.network.{key} in {checkpoint.path} {got}; {due} from 1 to "
            f"{most} {'are' if num else 'is'} due, which no side of its tensors is above. {GET}."
        )
        raise ModelError(msg)
    return list(value) if num else value


def look_up(config: Mapping[str, Any], address: str, usual: Any = None) -> Any:
    """Return a value of nested tables by its dotted address, or what is usual.

    >>> look_up({"data": {"min": 0}}, "data.min"), look_up({"data": 1}, "data.max", 1)
    (0, 1)
    """
    value: Any = config
    for key in address.split("."):
        if not isinstance(value, Mapping) or value.get(key) is None:
            return usual
        value = value[key]
    return value


def _are_counts(values: Any, num: int, most: int) -> bool:
    return (
        isinstance(values, Sequence)
        and not isinstance(values, str)
        and len(values) == num
        and all(
            isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
            for value in values
        )
    )


def _find_kind(state: Mapping[str, torch.Tensor], settings: Mapping[str, Any], path: Path) -> Kind:
    """Tell a model by its heads, and refuse those that give no classes or intensities."""
    parts = {name.removeprefix(HEADS).partition(".")[0] for name in state if name.startswith(HEADS)}
    kinds: dict[str, Kind] = {"semantic_head": "semantic", "cnn_head": "denoiser"}
    if parts & {"foreground_head", "boundary_head"}:
        msg = (
            f"{path} is CryoSiam's model of instances, whose heads are foreground, distance and "
            "boundary. Give a semantic or lamella model, or a denoiser."
        )
        raise ModelError(msg)
    for head, kind in kinds.items():
        if head in parts:
            return kind
    if "config" in settings and any("encoder." in name for name in state):
        msg = (
            f"{path} is a checkpoint of CryoSiam's pretraining: it has a backbone and no head, and "
            "gives no classes. Give the .ckpt of a model that was trained on it."
        )
        raise ModelError(msg)
    msg = (
        f"{path} is a checkpoint of another program: no weight is called {HEADS}semantic_head, the "
        f"first is {next(iter(state))}. Give the .ckpt of a trained model of CryoSiam."
    )
    raise ModelError(msg)


def _strip(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of backbone and heads without their prefixes; losses and the like are dropped."""
    plain = {
        name.removeprefix(BACKBONE): value
        for name, value in state.items()
        if name.startswith(BACKBONE)
    }
    heads = {name.removeprefix(HEADS): v for name, v in state.items() if name.startswith(HEADS)}
    return plain | {n: v for n, v in heads.items() if n.partition(".")[0].endswith("_head")}
