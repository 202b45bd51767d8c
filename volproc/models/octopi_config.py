"""``model_config.yaml`` of Octopi: what network the weights beside it belong to."""

from __future__ import annotations

import json
import logging
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from volproc.core.errors import MissingFileError, ModelError, nearest
from volproc.core.types import ZYX
from volproc.models.networks import ARCHITECTURES
from volproc.models.octopi_networks import NAMES

logger = logging.getLogger(__name__)

MOST_BYTES = 2**20
"""A longer file is taken for another one."""

MOST_ITEMS = 64
"""A network has fewer levels than this."""

MOST_CLASSES = 4096
"""A network has fewer channels than this."""

ELSEWHERE = {"architecture", "num_classes", "dim_in"}
"""Keys of the model block that are no arguments of a builder."""

STRIDES = ("strides", "upsample_kernel_size")
LEVELS = (*STRIDES, "channels", "filters", "blocks_down", "blocks_up", "depths", "num_heads")
"""Keys with an entry a level; those of strides may be (z, y, x) each."""

HOW_TO_NAME = "labels: {ribosome: 1, membrane: 2} in the file, or --labels ribosome=1,membrane=2"


@dataclass(frozen=True, slots=True)
class OctopiConfig:
    """What a configuration says, with Octopi's defaults filled in."""

    architecture: str
    """Registered name."""

    params: dict[str, Any]
    """All arguments of its builder but the channels in and out."""

    patch: ZYX[int]
    """Window, voxels."""

    classes: tuple[str, ...]
    """Names by channel, the background first."""

    voxel_size: float | None
    """Å per voxel of the training, where it is said."""


def read_config(path: Path, labels: Mapping[str, int] | None = None) -> OctopiConfig:
    """Read a configuration.

    Parameters
    ----------
    path : Path
        The YAML file.
    labels : mapping of str to int or None
        Channel of each class by name; taken instead of what the file says.

    Raises
    ------
    MissingFileError
        If there is no such file.
    ModelError
        If it is no YAML file, or says too little or something impossible; the key is named.
    """
    content = _read_yaml(path)
    block = _model_block(content, path)
    word = block.get("architecture")
    if not isinstance(word, str) or word not in NAMES:
        shown = _shown(word)
        near = nearest(shown.strip("'"), NAMES)
        msg = f"{path} asks for the architecture {shown}, which Octopi never could load: {near}"
        raise ModelError(msg)
    num_classes = _count(block, "num_classes", path, most=MOST_CLASSES)
    if num_classes < 2:
        msg = f"num_classes in {path} counts the background too, got 1. Correct it to 2 or more."
        raise ModelError(msg)
    given = content.get("labels") if labels is None else labels
    return OctopiConfig(
        NAMES[word],
        _params(block, word, path),
        _patch(block, path),
        name_channels(given, num_classes, path),
        _voxel_size(content),
    )


def name_channels(labels: object, num_classes: int, path: Path) -> tuple[str, ...]:
    """Names of all channels, from labels by name.

    Parameters
    ----------
    labels : mapping of str to int
        As the file or the command line has them; anything else is refused.
    num_classes : int
        Channels, the background included.
    path : Path
        Configuration, for the message.

    Returns
    -------
    classes : tuple of str
        ``background``, then the names by channel; a channel without one is ``class-3``.

    Raises
    ------
    ModelError
        If there are no labels, or they do not fit the channels.
    """
    if labels is None or labels == {}:
        msg = (
            f"{path} has no labels, so that nothing says which class a channel is: Octopi writes "
            f"them when a training ends. Give them: {HOW_TO_NAME}."
        )
        raise ModelError(msg)
    if not isinstance(labels, Mapping) or not all(
        isinstance(name, str) and name and isinstance(value, int) and not isinstance(value, bool)
        for name, value in labels.items()
    ):
        msg = (
            f"labels in {path} give a whole number to each name, got {_shown(labels)}. Write "
            f"{HOW_TO_NAME}."
        )
        raise ModelError(msg)
    names = {0: "background"}
    for name, value in labels.items():
        if (value, name) != (0, "background") and not 1 <= value < num_classes:
            msg = (
                f"{path} has {num_classes} classes with the background, so that labels are 1 to "
                f"{num_classes - 1}, got {name}: {value}. Labels are channels of the network, not "
                f"those of the copick project: number them in that order, {HOW_TO_NAME}."
            )
            raise ModelError(msg)
        if names.get(value, name) != name or (value and name == "background"):
            msg = (
                f"{path} gives the label {value} to {names.get(value, 'background')} and {name}. "
                f"Give each class its own: {HOW_TO_NAME}."
            )
            raise ModelError(msg)
        names[value] = name
    for channel in range(num_classes):
        name = f"class-{channel}"
        while channel not in names and name in names.values():
            name += "'"
        names.setdefault(channel, name)
    return tuple(names[channel] for channel in range(num_classes))


def parse_labels(text: str) -> dict[str, int]:
    """Read labels of a command line.

    Raises
    ------
    ModelError
        If it is something else.

    Examples
    --------
    >>> parse_labels("ribosome=1, membrane=2")
    {'ribosome': 1, 'membrane': 2}
    """
    labels: dict[str, int] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.rpartition("="))
        if not equals or not name or not value.isdecimal() or name in labels:
            msg = (
                f'labels are names with a channel each, every name once, got "{text}". '
                "Write ribosome=1,membrane=2."
            )
            raise ModelError(msg)
        labels[name] = int(value)
    return labels


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            msg = f"it has {path.stat().st_size} bytes"
            raise ValueError(msg)
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"there is no model configuration {path}. Give the model_config.yaml of the training."
        raise MissingFileError(msg) from None
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        why = " ".join(str(error).split())[:200]
        msg = (
            f"{path} is not a model configuration of Octopi: {why}. Give the model_config.yaml of "
            "the training."
        )
        raise ModelError(msg) from error
    if not isinstance(content, dict):
        msg = (
            f"{path} holds a {type(content).__name__}, not a model configuration of Octopi. Give "
            "the model_config.yaml of the training."
        )
        raise ModelError(msg)
    return content


def _model_block(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    block = content.get("model")
    if not isinstance(block, dict):
        msg = (
            f"{path} does not describe the network: the model block is missing, as Octopi up to "
            "1.4 left it out of an AttentionUnet. Add the settings of the training: model: "
            "{architecture: AttentionUnet, num_classes: 4, channels: [32, 64, 96, 96], "
            "strides: [2, 2, 1], dim_in: 96}."
        )
        raise ModelError(msg)
    return block


def _params(block: Mapping[str, Any], word: str, path: Path) -> dict[str, Any]:
    """Arguments of the builder: those given, and the defaults of those that are not."""
    known = {
        name: parameter.default
        for name, parameter in signature(ARCHITECTURES[NAMES[word]].build).parameters.items()
        if name not in ("in_channels", "num_classes")
    }
    if block.get("preprocess") is not None:
        msg = (
            f"{path} names a function that prepares the input (preprocess), which no file can "
            "hold. Train without one."
        )
        raise ModelError(msg)
    unused = sorted(map(str, set(block) - set(known) - ELSEWHERE))
    if unused:
        logger.info("%s: a %s takes no %s; Octopi passes over them too", path, word, unused)
    given = {name: block[name] for name in known if block.get(name) is not None}
    lacking = [n for n, value in known.items() if value is Parameter.empty and n not in given]
    if lacking:
        msg = (
            f"{path} describes a {word} without {', '.join(lacking)}, which nothing else tells. "
            "Add to its model block what the training was given."
        )
        raise ModelError(msg)
    params = {name: given.get(name, default) for name, default in known.items()}
    for name, value in params.items():
        _check_value(value, name, path)
        if name in LEVELS and value is not None:
            _check_levels(value, name, path)
    plain: dict[str, Any] = json.loads(json.dumps(params))
    return plain


def _check_levels(value: object, name: str, path: Path) -> None:
    """Refuse what is no list of numbers, one a level; strides may be three each."""
    entries = value if isinstance(value, list | tuple) else []
    least = 1 if name in STRIDES else 0
    for entry in entries:
        sides = entry if name in STRIDES and isinstance(entry, list) else [entry]
        if len(sides) not in (1, 3) or not all(type(n) is int and n >= least for n in sides):
            entries = []
    if not entries:
        msg = (
            f"{name} in {path} is a list with one whole number a level, got {_shown(value)}. "
            "Correct it."
        )
        raise ModelError(msg)


def _check_value(value: object, name: str, path: Path, depth: int = 0) -> None:
    """Refuse what a network cannot be described with, or is out of all proportion."""
    if isinstance(value, list | tuple) and len(value) <= MOST_ITEMS and depth < 3:
        for item in value:
            _check_value(item, name, path, depth + 1)
    elif isinstance(value, dict) and len(value) <= MOST_ITEMS and depth < 3:
        for item in (*value, *value.values()):
            _check_value(item, name, path, depth + 1)
    elif not (
        value is None
        or isinstance(value, bool)
        or (isinstance(value, str) and len(value) < 100)
        or (isinstance(value, int | float) and isfinite(value) and 0 <= value < 2**16)
    ):
        shown = _shown(value)
        msg = (
            f"{name} in {path} holds {shown}, which describes no network. Give the "
            "model_config.yaml of the training as Octopi wrote it."
        )
        raise ModelError(msg)


def _shown(value: object) -> str:
    """A value in few characters, also where aliases make a short file unfold without end."""
    short = reprlib.Repr()
    short.maxlevel = 2
    return short.repr(value)


def _patch(block: Mapping[str, Any], path: Path) -> ZYX[int]:
    edge = block.get("dim_in")
    if isinstance(edge, list) and len(edge) == 3:
        z, y, x = (_count({"dim_in": side}, "dim_in", path) for side in edge)
        return z, y, x
    side = _count(block, "dim_in", path)
    return side, side, side


def _count(block: Mapping[str, Any], key: str, path: Path, most: int = 2**16) -> int:
    value = block.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        got = "is missing" if value is None else f"is {_shown(value)}"
        what = {
            "dim_in": "the edge of its window in voxels, which was that of the crops in training",
            "num_classes": "how many classes it has, the background included",
        }[key]
        msg = (
            f"{path} does not say {what}: {key} {got}. Add it to the model block, a whole number "
            f"from 1 to {most}."
        )
        raise ModelError(msg)
    return value


def _voxel_size(content: Mapping[str, Any]) -> float | None:
    """Å per voxel of the training; several voxel sizes are none."""
    loader = content.get("dataloader")
    size = loader.get("voxel_size") if isinstance(loader, dict) else None
    if isinstance(size, bool) or not isinstance(size, int | float):
        return None
    return float(size) if isfinite(size) and size > 0 else None
